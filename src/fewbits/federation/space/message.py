"""What a client in a space sends: the seed of its E, and C of the u that it has trained."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fewbits import rng
from fewbits.compressors.base import Compressed, Compressor, require_finite, size
from fewbits.compressors.message import from_bytes, payload_bits
from fewbits.compressors.prepared import SEED, Wrapping, with_seed
from fewbits.federation.space.base import Frames
from fewbits.lazy import torch

HALF = np.uint64(32)  # of a key, before which stands the seed (sampling.seeded)


class Seeded(Compressor):
    """C(E u) = E C'(u), `inner` being C'. Of what is E u for no u (EF21's residual), the nearest such point is sent.

    A message: 32-bit seed, from which the receiver draws E again, and the whole message of u.
    """

    codec: ClassVar[int] = 120
    seeded: ClassVar[bool] = True
    instead: ClassVar[None] = None

    def __init__(self, inner: Compressor, frames: Frames) -> None:
        self.inner, self.frames, self.name = inner, frames, inner.name

    def payload(self, shape):
        inner = self.inner.payload(self._inside)
        return None if inner is None else with_seed(inner, self.frames.size)

    def mean_payload(self, shape):
        inner = self.inner.mean_payload(self._inside)
        return None if inner is None else with_seed(inner, self.frames.size)

    def compress(self, x, shape, keys=None):
        batch, d = x.shape[: x.dim() - len(shape)], size(shape)
        keys = np.zeros(batch, np.uint64) if keys is None else np.asarray(keys)
        frame = self.frames.of(keys >> HALF, x.dtype)
        u = frame.solve(x.reshape(-1, d)).reshape(*batch, -1)
        sent = self.inner.compress(u, self._inside, rng.fold(keys, 1))
        value = frame.spread(sent.value.reshape(-1, self.frames.size))
        return Compressed(value.reshape(x.shape), with_seed(sent.bits, self.frames.size))

    def encode(self, x, where="update", key=0):
        require_finite(x, where)
        seed = np.array([key], np.uint64) >> HALF
        u = self.frames.of(seed, x.dtype).solve(x.reshape(1, -1))[0]
        inner = self.inner.encode(u, where, int(rng.fold(key, 1)))
        return Wrapping(
            self.codec, 0, self.frames.size, SEED, (seed.astype(np.int64),), inner=inner
        )

    def decode(self, message, shape, dtype):
        frame = self.frames.of(message.sections[0].astype(np.uint64), dtype)
        u = self.inner.decode(message.inner, self._inside, dtype)
        value = frame.spread(u.reshape(1, -1))
        if not bool(torch.isfinite(value).all()):  # sums of hostile numbers
            value = torch.nan_to_num_(value, nan=0.0)
        return value.reshape(shape)

    def from_bytes(self, data, shape):
        n = self.frames.size

        def layouts(form: int, count: int):
            if (form, count) != (0, n):
                raise ValueError(f"expected {n} numbers in form 0")
            return SEED

        end = payload_bits(SEED, n).total // 8
        outer = from_bytes(data[:end], self.codec, n, layouts)
        inner = self.inner.from_bytes(data[end:], self._inside)
        return Wrapping(self.codec, 0, n, SEED, outer.sections, outer.flag, inner=inner)

    @property
    def _inside(self) -> tuple[int]:
        return (self.frames.size,)
