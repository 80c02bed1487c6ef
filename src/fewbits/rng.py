"""Randomness from named counters: the same names give the same numbers, whatever else was drawn before.

    generator("start", "breast_cancer", seed)          # the starting point of a run
    generator("cohort", run_seed, round)               # who takes part in a round

There is no global generator and no state to save in a checkpoint. Where every message of a batch needs
random numbers of its own, keys and numbers are made as arrays (`fold`, `uniforms`): a row depends on its key
alone, not on how many rows there are.
"""

from __future__ import annotations

import functools
import hashlib
import json

import numpy as np


def key(*names: str | int | float) -> int:
    """A 128-bit integer that depends on every name and their order."""
    text = json.dumps(names, separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")


def generator(*names: str | int | float) -> np.random.Generator:
    """A NumPy generator (Philox, counter based) for the stream called by these names."""
    return np.random.Generator(np.random.Philox(key=key(*names)))


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(z: np.ndarray) -> np.ndarray:
    """SplitMix64's output function (Steele, Lea, Flood 2014): a bijection of 64-bit numbers."""
    z = z ^ (z >> np.uint64(30))
    z *= np.uint64(0xBF58476D1CE4E5B9)  # in place: two thirds of the time
    z ^= z >> np.uint64(27)
    z *= np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return z


def stream(*names: str | int | float) -> np.uint64:
    """A 64-bit key for a stream, for `fold` and `uniforms`."""
    return np.uint64(key(*names) & (2**64 - 1))


def fold(keys, counters) -> np.ndarray:
    """New keys from keys and counters (non-negative integers), broadcast against each other: uint64."""
    keys, counters = np.asarray(keys, np.uint64), np.asarray(counters, np.uint64)
    with np.errstate(over="ignore"):  # arithmetic modulo 2^64 is meant
        return _mix(_mix(keys + _GOLDEN) + (counters + np.uint64(1)) * _GOLDEN)


def integers(keys, count: int | np.ndarray) -> np.ndarray:
    """`count` random 64-bit numbers for each key, or those at the places `count` alone: (*keys.shape, count) uint64."""
    keys = np.asarray(keys, np.uint64)
    if isinstance(count, np.ndarray):
        counters = (count + 1).astype(np.uint64)
    else:
        counters = np.arange(1, count + 1, dtype=np.uint64)
    counters *= _GOLDEN
    return _mix(keys[..., None] + counters)


def uniforms(keys, count: int | np.ndarray) -> np.ndarray:
    """`count` numbers uniform on [0, 1) for each key: (*keys.shape, count) float64, 53 random bits each."""
    bits = integers(keys, count)
    bits >>= np.uint64(11)
    return bits * 2.0**-53


def normals(keys, count: int | np.ndarray) -> np.ndarray:
    """`count` standard normal numbers for each key: (*keys.shape, count) float64."""
    shares = uniforms(keys, count)
    shares += 2.0**-54
    return _ndtri()(shares, out=shares)


@functools.cache
def _ndtri():
    """SciPy's inverse of the normal distribution function, found once: an import statement takes as long as 300 numbers."""
    from scipy.special import ndtri

    return ndtri
