"""Thresholds: every entry that is large enough, where "enough" is a number, or is guessed from a sample.

Hard threshold: Strom 2015; Sahu et al. 2021 (arXiv 2108.00951). Sampled threshold: Lin et al. 2018, Deep Gradient
Compression (arXiv 1712.01887).
"""

from __future__ import annotations

import functools
from math import ceil
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field as Checked

from fewbits import rng
from fewbits.compressors.base import size
from fewbits.compressors.sparsifier import Sparsifier
from fewbits.compressors.topk import largest
from fewbits.lazy import torch
from fewbits.registry import plugin


@plugin
class Threshold(Sparsifier):
    """Every entry with |x_i| >= t (`threshold`, in the units of x), as it is; ties are no question.

    The squared error is below d t^2, an absolute bound. There is no alpha_C > 0: what lies below t
    altogether becomes 0. The number of entries sent depends on x.
    """

    name: ClassVar[str] = "threshold"
    codec: ClassVar[int] = 4
    what: ClassVar[str] = "Every entry that is at least as large as a given number."
    length: ClassVar[str] = "n (w + ceil(log2 d)), n entries found"
    source: ClassVar[str] = "Strom 2015; Sahu et al. 2021, arXiv 2108.00951"
    shown: ClassVar[tuple[dict, ...]] = ({"threshold": 1.0},)
    instead: ClassVar[str] = "topk"

    threshold: Annotated[float, Checked(gt=0, allow_inf_nan=False)]
    wire: Literal["float32", "float64"] = "float32"

    @classmethod
    def examples(cls, d):
        return [{"threshold": 1.5}, {"threshold": 1e-3, "wire": "float64"}]

    def choose(self, rows, peak, keys):
        return np.abs(rows) >= self.threshold


@plugin
class SampledTopK(Sparsifier):
    """The entries that reach the k_S-th largest magnitude of a random sample; of these the k largest at most.

    The sample holds S = max(`least`, ceil(`share` d)) entries drawn with replacement (at most d), and k_S is S k / d rounded
    to nearest, at least 1. What is sent are the m largest entries with m = min(k, rank of that magnitude), which
    gives alpha_C = E min(k, rank) / d with P(rank > r) = P(Binomial(S, r/d) < k_S): met with equality in the limit of
    equal magnitudes without ties, and about 12 % below Top-k's k/d for k_S = 10. Ties: lowest index.
    """

    name: ClassVar[str] = "topk_sampled"
    codec: ClassVar[int] = 5
    what: ClassVar[str] = "Top-k by a threshold that is guessed from a sample."
    length: ClassVar[str] = "n (w + ceil(log2 d)), n <= k"
    source: ClassVar[str] = "Lin et al. 2018, arXiv 1712.01887"
    knob: ClassVar[str] = "k"

    k: Annotated[int, Checked(ge=1)]
    share: Annotated[float, Checked(gt=0, le=1)] = 0.01
    least: Annotated[int, Checked(ge=1)] = 256
    wire: Literal["float32", "float64"] = "float32"

    @classmethod
    def examples(cls, d):
        return [
            {"k": 1},
            {"k": max(1, d // 4), "least": max(1, d // 5)},
            {"k": d, "wire": "float64"},
        ]

    @classmethod
    def sizes(cls, given, shape):
        return range(1, size(shape) + 1)

    def check(self, features: int | None = None) -> str | None:
        """Why this cannot be used on `features` numbers, or None."""
        if features is not None and self.k > features:
            return f"k = {self.k} is larger than the {features} features of the data set"
        return None

    def contraction(self, shape):
        d = size(shape)
        return _mean_kept(min(self.k, d), d, *self._sample(d)) / d

    def mean_payload(self, shape):
        """Of a message with the mean number of entries, where no magnitudes are equal."""
        d = size(shape)
        return self.form(round(self.contraction(shape) * d), d).bits

    def admits(self, count, d):
        return count <= min(self.k, d)

    def _sample(self, d: int) -> tuple[int, int]:
        """S and k_S."""
        sample = min(d, max(self.least, ceil(self.share * d)))
        return sample, max(1, round(sample * min(self.k, d) / d))

    def choose(self, rows, peak, keys):
        d = rows.shape[1]
        k, (sample, rank) = min(self.k, d), self._sample(d)
        magnitude = np.abs(rows)
        places = np.minimum((rng.uniforms(keys, sample) * d).astype(np.int64), d - 1)
        seen = np.take_along_axis(magnitude, places, axis=-1)
        threshold = np.partition(seen, sample - rank, axis=-1)[:, sample - rank, None]
        mask = magnitude >= threshold
        for i in np.flatnonzero(mask.sum(axis=-1) > k):
            found = np.flatnonzero(mask[i])
            mask[i, found] = largest(torch.from_numpy(magnitude[i, found]), k).numpy()
        return mask


@functools.cache
def _mean_kept(k: int, d: int, sample: int, rank: int) -> float:
    """E min(k, rank in the whole of the sample's rank-th largest) = sum over r < k of P(rank > r)."""
    # The binomial's distribution function, from here since scipy.stats takes long to load.
    from scipy.special import bdtr

    return float(bdtr(rank - 1, sample, np.arange(k) / d).sum())
