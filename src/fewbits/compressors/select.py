"""The k largest of very many numbers, exactly: guess a threshold from a sample, then look at what exceeds it.

A selection over all numbers moves each of them several times. A threshold that slightly more than k numbers reach,
found from a random sample, leaves one pass of comparisons; only the few candidates are then selected from. A
guess that lets too few through is noticed by counting and replaced by the exact k-th magnitude, so
the result never depends on the sample.
"""

from __future__ import annotations

import functools

import numpy as np

from fewbits import rng
from fewbits.lazy import torch

CHUNK = 1 << 15  # numbers compared at once: they and the results stay in the cache
SAMPLE = 1 << 15  # at most; an eighth of fewer numbers
FEWEST = 1 << 15  # below this many numbers plain selection is as fast


def largest_of_many(x: torch.Tensor, k: int) -> torch.Tensor:
    """Indices of the k entries of `x` (d,) of largest magnitude, increasing: (k,) int64.

    Equal magnitudes: lowest index first. `x` is finite, float32 or float64, on the CPU; 1 <= k <= d.
    """
    values = x.detach().numpy()
    d = len(values)
    if k >= d:
        return torch.arange(d)
    places = _candidates(values, _threshold(values, k)) if d >= FEWEST and k <= d // 4 else None
    if places is None or len(places) < k:
        magnitude = np.abs(values)
        places = np.flatnonzero(magnitude >= np.partition(magnitude, d - k)[d - k])
    return torch.from_numpy(places[_largest(np.abs(values[places]), k)])


def _threshold(values: np.ndarray, k: int) -> np.floating:
    """A magnitude that at least k entries reach, almost surely, and few more (one with no guarantee at all)."""
    sample = np.abs(values[_sample(len(values))])
    expected = len(sample) * k / len(values)
    rank = min(len(sample), int(expected + 4 * expected**0.5) + 4)
    return np.partition(sample, len(sample) - rank)[len(sample) - rank]


@functools.lru_cache(maxsize=4)
def _sample(d: int) -> np.ndarray:
    """Random places, increasing (so that memory is read in order)."""
    random = rng.integers(rng.stream("sample of places"), min(SAMPLE, d // 8)) >> np.uint64(32)
    return np.sort((random * np.uint64(d) >> np.uint64(32)).astype(np.int64))


def _candidates(values: np.ndarray, threshold: np.floating) -> np.ndarray:
    """Places of all entries whose magnitude is at least `threshold`, increasing."""
    found, magnitude, above = [], np.empty(CHUNK, values.dtype), np.empty(CHUNK, bool)
    for start in range(0, len(values), CHUNK):
        part = values[start : start + CHUNK]
        np.abs(part, out=magnitude[: len(part)])
        np.greater_equal(magnitude[: len(part)], threshold, out=above[: len(part)])
        found.append(np.flatnonzero(above[: len(part)]) + start)
    return np.concatenate(found)


def _largest(magnitude: np.ndarray, k: int) -> np.ndarray:
    """Places of the k largest of `magnitude`, increasing; of equals those that come first."""
    kth = np.partition(magnitude, len(magnitude) - k)[len(magnitude) - k]
    above, equal = np.flatnonzero(magnitude > kth), np.flatnonzero(magnitude == kth)
    return np.sort(np.concatenate([above, equal[: k - len(above)]]))
