"""Stochastic rounding from 32 random bits a number, in fixed point.

A share y in [0, 1] of `top` becomes floor(y top 2^p + r) >> p with r uniform on the integers of p bits: floor(y top)
or the next integer, y top on average (less than 2^-p below: it is cut to p bits after the point). Whole
numbers stay what they are with certainty. p is 32 for float64, and what 31 bits leave for float32.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fewbits.compressors.arrays import blocks, columns_at_once

MAX_TOP = 2**16 - 1  # so that p is at least 15
_STEP, _FIRST, _SECOND = (
    np.uint64(number) for number in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)
_SHIFTS = tuple(map(np.uint64, (30, 27, 31)))


def noise(keys: np.ndarray, d: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Random 32-bit numbers for each of d columns of each row, block by block: (columns, (n, columns) uint32).

    The numbers are those of `rng.integers(keys, ...)`, two of 32 bits from each of 64: a number depends on
    the row's key and the column alone. They lie in an array that the next block overwrites, and so may you.
    """
    step = columns_at_once(len(keys), d)
    with np.errstate(over="ignore"):
        steps = np.arange(1, step // 2 + 1, dtype=np.uint64) * _STEP
        words = np.empty((len(keys), step // 2), np.uint64)
        spare = np.empty_like(words)
        for columns in blocks(d, step):
            skip = np.uint64(columns.start // 2) * _STEP
            np.add((keys + skip)[:, None], steps, out=words)
            for shift, factor in zip(_SHIFTS, (_FIRST, _SECOND, None), strict=True):
                np.right_shift(words, shift, out=spare)
                np.bitwise_xor(words, spare, out=words)
                if factor is not None:
                    np.multiply(words, factor, out=words)
            halves = words.astype("<u8", copy=False).view("<u4")
            yield columns, halves[:, : columns.stop - columns.start]


class Rounder:
    """Rounds shares of `top` at random; holds its working array, so that blocks cost no allocation."""

    def __init__(self, top: int, dtype) -> None:
        self.single = dtype == np.float32
        self.point = 31 - int(top).bit_length() if self.single else 32
        self.scale = np.dtype(dtype).type(top * 2.0**self.point)
        self.fixed = np.empty(0, np.int32 if self.single else np.int64)

    def __call__(self, share: np.ndarray, random: np.ndarray) -> np.ndarray:
        """Integers in [0, top] for `share` (n, m) in [0, 1]. Overwrites both arguments and the last result."""
        if self.fixed.size < share.size:
            self.fixed = np.empty(share.size, self.fixed.dtype)
        fixed = self.fixed[: share.size].reshape(share.shape)
        share *= self.scale
        np.copyto(fixed, share, casting="unsafe")  # cuts off what is after the last bit
        if self.single:
            random >>= np.uint32(32 - self.point)
            fixed += random.view(np.int32)
        else:
            fixed += random
        fixed >>= self.point
        return fixed
