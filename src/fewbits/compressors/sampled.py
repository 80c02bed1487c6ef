"""Any compressor on a random share of the numbers: `{"name": "sampled", "fraction": 0.0625, "of": {"name": "uniform", "bits": 2}}`.

Konecny, McMahan, Yu, Richtarik, Suresh, Bacon (arXiv 1610.05492, section 3), who subsample, then quantise what is kept.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar

from pydantic import Field as Checked

from fewbits.compressors.base import Shares, size
from fewbits.compressors.prepared import Prepared, inner_of
from fewbits.compressors.subsample import chosen, kept
from fewbits.lazy import torch
from fewbits.registry import plugin


@plugin
class Sampled(Prepared):
    """k = fraction x d entries (rounded, at least one), drawn without replacement, go through the compressor `of`, Q; what
    arrives is taken times d/k, and the others are zero.

    With an unbiased Q it is unbiased, omega = (1 + omega_Q) d/k - 1. After `hadamard` the three steps of the paper are
    together, as they are in `rotated`, which takes its range block by block.
    """

    name: ClassVar[str] = "sampled"
    codec: ClassVar[int] = 46
    length: ClassVar[str] = "that of `of` for fraction d numbers, and 56"
    source: ClassVar[str] = "Konecny et al. 2016, arXiv 1610.05492"
    shown: ClassVar[tuple[dict, ...]] = ({"of": {"name": "uniform", "bits": 2}},)
    knob: ClassVar[str] = "fraction"

    of: dict[str, Any]
    fraction: Annotated[float, Checked(gt=0, le=1)]

    def __post_init__(self):
        inner_of(json.dumps(self.of))

    @classmethod
    def examples(cls, d):
        return [
            {"fraction": 0.25, "of": {"name": "uniform", "bits": 2}},
            {"fraction": 0.5, "of": {"name": "identity", "wire": "float64"}},
            {"fraction": 0.3, "of": {"name": "eden", "bits": 1}},
        ]

    @classmethod
    def sizes(cls, given, shape):
        return Shares(size(shape))

    def numbers(self, d):
        return kept(self.fraction, d)

    def prepare(self, rows, seeds):
        return rows.gather(1, self._places(seeds, rows.shape[1]))

    def back(self, sent, seeds, d):
        largest = torch.finfo(sent.dtype).max
        values = (sent * (d / sent.shape[1])).clamp(-largest, largest)
        return sent.new_zeros(len(sent), d).scatter_(1, self._places(seeds, d), values)

    def _places(self, seeds, d: int) -> torch.Tensor:
        return torch.from_numpy(chosen(seeds, d, kept(self.fraction, d)))

    def variance(self, shape):
        if self._dense(shape):
            return 0.0
        omega = self.inner.variance(self._inside(shape))
        d = size(shape)
        return None if omega is None else (1 + omega) * d / self.numbers(d) - 1
