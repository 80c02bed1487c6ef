"""No compression: every entry is sent as a float."""

from __future__ import annotations

import functools
from typing import ClassVar, Literal

from fewbits.compressors.base import Compressed, Compressor, require_finite, size, through_wire
from fewbits.compressors.forms import FORMS, received
from fewbits.compressors.message import Bits, Field, Message, from_bytes, payload_bits
from fewbits.lazy import torch
from fewbits.registry import plugin


@plugin
class Identity(Compressor):
    """C(x) = x, up to the float format on the wire (alpha_C = 1, omega = 0)."""

    name: ClassVar[str] = "identity"
    codec: ClassVar[int] = 0
    length: ClassVar[str] = "d w"
    source: ClassVar[str] = ""
    random: ClassVar[bool] = False

    wire: Literal["float32", "float64"] = "float32"

    @classmethod
    def examples(cls, d):
        return [{"wire": wire} for wire in FORMS]

    def contraction(self, shape):
        return 1.0

    def variance(self, shape):
        return 0.0

    def payload(self, shape):
        return _bits(self.wire, size(shape))

    def compress(self, x, shape, keys=None):
        return Compressed(through_wire(x, self.wire), _bits(self.wire, size(shape)))

    def encode(self, x, where="update", key=0):
        require_finite(x, where, self.wire)
        d = x.numel()
        values = x.detach().cpu().reshape(-1).to(getattr(torch, self.wire)).numpy()
        return Message(self.codec, FORMS.index(self.wire), d, self._layout(d), (values,))

    def decode(self, message, shape, dtype):
        return received(message.sections[0], dtype).reshape(shape)

    def from_bytes(self, data, shape):
        d = size(shape)

        def layouts(form: int, count: int) -> tuple[Field, ...]:
            if form != FORMS.index(self.wire) or count != d:
                raise ValueError(f"expected {d} {self.wire} numbers")
            return self._layout(d)

        return from_bytes(data, self.codec, d, layouts)

    def _layout(self, d: int) -> tuple[Field, ...]:
        return _layout(self.wire, d)


def _layout(wire: str, d: int) -> tuple[Field, ...]:
    return (Field("values", wire, d),)


@functools.cache
def _bits(wire: str, d: int) -> Bits:
    return payload_bits(_layout(wire, d), d)
