"""A few numbers that a selection's judgement needs, in messages of their own: they are metadata."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fewbits.compressors.base import Compressed, Compressor, require_finite, size
from fewbits.compressors.message import Field, Message, from_bytes, payload_bits
from fewbits.lazy import torch


class Notes(Compressor):
    """Numbers as float32, or, `flags`, as a bit each."""

    codec: ClassVar[int] = 111
    name: ClassVar[str] = "notes"
    random: ClassVar[bool] = False

    def __init__(self, flags: bool = False) -> None:
        self.kind = "uint1" if flags else "float32"

    def payload(self, shape):
        return payload_bits(self._layout(size(shape)), size(shape))

    def compress(self, x, shape, keys=None):
        return Compressed(x if self.kind == "uint1" else x.float().to(x.dtype), self.payload(shape))

    def encode(self, x, where="notes", key=0):
        require_finite(x, where)
        numbers = x.reshape(-1).numpy().astype(np.uint8 if self.kind == "uint1" else np.float32)
        return Message(self.codec, 0, x.numel(), self._layout(x.numel()), (numbers,))

    def decode(self, message, shape, dtype):
        return torch.from_numpy(message.sections[0]).to(dtype).reshape(shape)

    def from_bytes(self, data, shape):
        return from_bytes(data, self.codec, size(shape), lambda form, count: self._layout(count))

    def _layout(self, count: int) -> tuple[Field, ...]:
        return (Field("metadata", self.kind, count),)
