"""The coordinate-wise median (Yin, Chen, Ramchandran, Bartlett 2018, arXiv 1803.01498, Algorithm 1, option I)."""

from __future__ import annotations

from typing import ClassVar

from fewbits.federation.aggregation.base import Aggregation
from fewbits.registry import plugin


@plugin
class Median(Aggregation):
    """Of every coordinate the middle value, the mean of the two middle ones of an even cohort."""

    name: ClassVar[str] = "median"
    label: ClassVar[str] = "median"
    cite: ClassVar[str] = "yin2018"

    def combine(self, x):
        ordered, half = x.sort(dim=1).values, x.shape[1] // 2
        if x.shape[1] % 2:
            return ordered[:, half]
        return (ordered[:, half - 1] + ordered[:, half]) / 2
