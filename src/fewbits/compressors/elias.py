"""Elias' gamma code of positive integers, as arrays of bits.

Elias 1975 (IEEE Trans. Inf. Theory 21): n is sent as N = floor(log2 n) zeros, a one, and the N bits below n's
leading one: 2 N + 1 bits. The two parts are kept in two streams here, `unary` and `rest`: the number of bits
is the same, and a stream is read with array operations rather than bit by bit.
"""

from __future__ import annotations

import numpy as np

MAX_BITS = 52  # numbers stay exact in float64


def lengths(numbers: np.ndarray) -> np.ndarray:
    """N + 1 = the bit length of each number."""
    return np.frexp(numbers.astype(np.float64))[1].astype(np.int64)


def encode(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Streams `unary` (sum of N + 1 bits) and `rest` (sum of N bits, least significant first), uint8."""
    bits = lengths(numbers)
    unary = np.zeros(bits.sum(), np.uint8)
    unary[np.cumsum(bits) - 1] = 1
    owner, place = _places(bits - 1)
    return unary, (numbers.astype(np.int64)[owner] >> place & 1).astype(np.uint8)


def decode(unary: np.ndarray, rest: np.ndarray, count: int) -> np.ndarray:
    """The `count` numbers in two streams. Raises ValueError unless the streams hold exactly these."""
    ends = np.flatnonzero(unary)
    if len(ends) != count or (len(unary) and not unary[-1]):
        raise ValueError(f"a stream of Elias codes does not hold {count} numbers")
    extra = np.diff(ends, prepend=-1) - 1
    if extra.max(initial=0) > MAX_BITS or extra.sum() != len(rest):
        raise ValueError("a stream of Elias codes holds numbers of impossible length")
    owner, place = _places(extra)
    low = np.bincount(owner, weights=np.ldexp(rest.astype(np.float64), place), minlength=count)
    return (1 << extra) + low.astype(np.int64)


def _places(bits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For every bit of a stream that gives number i bits[i] of them: which number, and which of its bits."""
    owner = np.repeat(np.arange(len(bits)), bits)
    return owner, np.arange(len(owner)) - np.repeat(np.cumsum(bits) - bits, bits)
