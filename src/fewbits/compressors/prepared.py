"""What compressors share that prepare a vector in a way that a seed tells, and leave the rest to another compressor."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass

import numpy as np
from pydantic import ValidationError

from fewbits import registry, rng
from fewbits.compressors.base import (
    Compressed,
    Compressor,
    require_finite,
    size,
    spoil,
    through_wire,
)
from fewbits.compressors.forms import DENSE, FORMS, received
from fewbits.compressors.hadamard import computed, message_seeds
from fewbits.compressors.message import Bits, Field, Message, MessageError, from_bytes, payload_bits
from fewbits.lazy import torch

SEED = (Field("metadata", "uint32", 1),)


class Prepared(Compressor):
    """C(x) = back(Q(prepare(x))), Q being the compressor of the block `of`, a field of every subclass.

    A message: 32-bit seed, Q's whole payload. Where that has the same length for every x and is not shorter than the
    array of all entries, that array is sent: x itself, up to the wire's float format. What Q would keep from message to message
    is not kept, since the seed is another one each time.
    """

    of: dict

    def numbers(self, d: int) -> int:
        """Length of the vector that Q is given."""
        raise NotImplementedError

    def prepare(self, rows: torch.Tensor, seeds: np.ndarray) -> torch.Tensor:
        """Rows (n, d) as Q is given them, by the messages' seeds (n,)."""
        raise NotImplementedError

    def back(self, sent: torch.Tensor, seeds: np.ndarray, d: int) -> torch.Tensor:
        """What Q's receiver has, as rows (n, d)."""
        raise NotImplementedError

    @property
    def inner(self) -> Compressor:
        """Q"""
        return inner_of(json.dumps(self.of))

    @property
    def wire(self) -> str:
        """Float format where entries are sent as they are: Q's."""
        return getattr(self.inner, "wire", "float32")

    def payload(self, shape):
        d = size(shape)
        if self._dense(shape):
            return payload_bits(self._floats(d), d)
        inner = self.inner.payload(self._inside(shape))
        return None if inner is None else with_seed(inner, d)

    def mean_payload(self, shape):
        if self._dense(shape):
            return self.payload(shape)
        inner = self.inner.mean_payload(self._inside(shape))
        return None if inner is None else with_seed(inner, size(shape))

    def compress(self, x, shape, keys=None):
        d = size(shape)
        if self._dense(shape):
            return Compressed(through_wire(x, self.wire), payload_bits(self._floats(d), d))
        rows = computed(x).reshape(-1, d)
        keys = np.zeros(len(rows), np.uint64) if keys is None else np.asarray(keys).reshape(-1)
        given = self.prepare(rows, message_seeds(keys))
        sent = self.inner.compress(given, self._inside(shape), rng.fold(keys, 1))
        value = self.back(sent.value, message_seeds(keys), d)
        batch = x.shape[: x.dim() - len(shape)]
        value = spoil(value, rows).to(x.device, x.dtype).reshape(x.shape)
        return Compressed(value, with_seed(_reshape(sent.bits, batch), d))

    def encode(self, x, where="update", key=0):
        dense = self._dense((x.numel(),))
        require_finite(x, where, self.wire if dense else None)
        d, row = x.numel(), computed(x).reshape(1, -1)
        if dense:
            values = row[0].to(getattr(torch, self.wire)).numpy()
            form = DENSE + FORMS.index(self.wire)
            return Message(self.codec, form, d, self._floats(d), (values,))
        keys = np.array([key], np.uint64)
        given = self.prepare(row, message_seeds(keys))[0]
        inner = self.inner.encode(given, where, int(rng.fold(keys, 1)[0]))
        return Wrapping(
            self.codec, 0, d, SEED, (message_seeds(keys).astype(np.int64),), inner=inner
        )

    def decode(self, message, shape, dtype):
        if message.form >= DENSE:
            return received(message.sections[0], dtype).reshape(shape)
        kind = dtype if dtype in (torch.float32, torch.float64) else torch.float32
        sent = self.inner.decode(message.inner, self._inside(shape), kind).reshape(1, -1)
        seeds = message.sections[0].astype(np.uint64)
        value = self.back(sent, seeds, size(shape))
        if not bool(torch.isfinite(value).all()):  # sums of hostile numbers
            value = torch.nan_to_num_(value, nan=0.0)
        return value.to(dtype).reshape(shape)

    def from_bytes(self, data, shape):
        d = size(shape)
        dense = self._dense(shape)
        form = DENSE + FORMS.index(self.wire) if dense else 0
        layout = self._floats(d) if dense else SEED

        def layouts(found: int, count: int) -> tuple[Field, ...]:
            if (found, count) != (form, d):
                raise ValueError(f"expected {d} entries in form {form}")
            return layout

        end = len(data) if dense else payload_bits(SEED, d).total // 8
        outer = from_bytes(data[:end], self.codec, d, layouts)
        if outer.flag:
            raise MessageError("the flag has no meaning here")
        if dense:
            return outer
        inner = self.inner.from_bytes(data[end:], self._inside(shape))
        return Wrapping(self.codec, 0, d, SEED, outer.sections, inner=inner)

    def _inside(self, shape) -> tuple[int]:
        return (self.numbers(size(shape)),)

    def _floats(self, d: int) -> tuple[Field, ...]:
        return (Field("values", self.wire, d),)

    def _dense(self, shape) -> bool:
        """Whether entries of this shape are sent as they are: never where Q's size depends on x or on chance."""
        return _dense(json.dumps(self.of), self.wire, size(shape), self._inside(shape))


@dataclass(frozen=True)
class Wrapping(Message):
    """A message whose last section is another message, whole."""

    inner: Message | None = None

    def to_bytes(self) -> bytes:
        return super().to_bytes() + self.inner.to_bytes()

    @property
    def bits(self) -> Bits:
        return with_seed(self.inner.bits, self.count)


def with_seed(bits: Bits, d: int) -> Bits:
    """With the seed and the outer header."""
    return Bits(bits.values, bits.indices, bits.metadata + payload_bits(SEED, d).total)


def _reshape(bits: Bits, batch: tuple[int, ...]) -> Bits:
    parts = (bits.values, bits.indices, bits.metadata)
    return Bits(*(b.reshape(batch) if torch.is_tensor(b) and b.dim() else b for b in parts))


@functools.cache
def inner_of(of: str) -> Compressor:
    """Q of a block as JSON. Raises ValueError."""
    block = json.loads(of)
    if "name" not in block:
        raise ValueError("a compressor's block in `of`: {name: ..., parameters}")
    try:
        return registry.make("compressor", block)
    except (
        ValidationError
    ) as error:  # raised as it is, it would speak of the outer one's parameters
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or block["name"]
        text = f"a compressor's block in `of` ({place}: {first['msg'].lower()})"
        raise ValueError(text) from None


@functools.cache
def _dense(of: str, wire: str, d: int, inner_shape: tuple[int]) -> bool:
    bits = inner_of(of).payload(inner_shape)
    return (
        bits is not None
        and payload_bits((Field("values", wire, d),), d).total <= with_seed(bits, d).total
    )
