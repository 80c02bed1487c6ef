"""Always the same coordinates: a compressor that is additive, and of no use but to theory and tests."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field as Checked

from fewbits.compressors.base import (
    Compressed,
    Compressor,
    require_finite,
    size,
    spoil,
    through_wire,
)
from fewbits.compressors.forms import received
from fewbits.compressors.message import Field, Message, from_bytes, payload_bits
from fewbits.lazy import torch
from fewbits.registry import plugin


@plugin
class FixedCoordinates(Compressor):
    """Keep the first k coordinates, zero the others.

    C(x + y) = C(x) + C(y), for which EF14 and EF21 are the same method (arXiv 2106.05203, section 3). Not
    contractive: a vector that lives on the other coordinates is lost. k above d means k = d.
    """

    name: ClassVar[str] = "fixed"
    codec: ClassVar[int] = 100
    length: ClassVar[str] = "k w"
    source: ClassVar[str] = "Richtarik, Sokolov, Fatkhullin 2021, arXiv 2106.05203"
    instead: ClassVar[None] = None
    random: ClassVar[bool] = False
    knob: ClassVar[str] = "k"

    k: Annotated[int, Checked(ge=1)]
    wire: Literal["float32", "float64"] = "float32"

    @classmethod
    def examples(cls, d):
        return [{"k": 1}, {"k": d, "wire": "float64"}]

    @classmethod
    def sizes(cls, given, shape):
        return range(1, size(shape) + 1)

    def payload(self, shape):
        layout = self._layout(size(shape))
        return payload_bits(layout, layout[0].count)

    def compress(self, x, shape, keys=None):
        d = size(shape)
        flat = x.reshape(*x.shape[: x.dim() - len(shape)], d)
        value = torch.zeros_like(flat)
        value[..., : self.k] = through_wire(flat[..., : self.k], self.wire)
        return Compressed(spoil(value, flat).reshape(x.shape), self.payload(shape))

    def encode(self, x, where="update", key=0):
        require_finite(x, where, self.wire)
        layout = self._layout(x.numel())
        count = layout[0].count
        values = x.detach().cpu().reshape(-1)[:count].to(getattr(torch, self.wire)).numpy()
        return Message(self.codec, 0, count, layout, (values,))

    def decode(self, message, shape, dtype):
        out = torch.zeros(size(shape), dtype=dtype)
        out[: message.count] = received(message.sections[0], dtype)
        return out.reshape(shape)

    def from_bytes(self, data, shape):
        expected = self._layout(size(shape))

        def layouts(form: int, count: int) -> tuple[Field, ...]:
            if form != 0 or count != expected[0].count:
                raise ValueError(f"expected {expected[0].count} entries in form 0")
            return expected

        return from_bytes(data, self.codec, size(shape), layouts)

    def _layout(self, d: int) -> tuple[Field, ...]:
        return (Field("values", self.wire, min(self.k, d)),)
