"""The coordinate-wise trimmed mean (Yin, Chen, Ramchandran, Bartlett 2018, arXiv 1803.01498, Algorithm 1, option II)."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from fewbits.federation.aggregation.base import Aggregation
from fewbits.registry import plugin


@plugin
class TrimmedMean(Aggregation):
    """Of every coordinate the mean without the round(share m) largest and as many smallest of m values (one value at least is
    left, two of an even cohort)."""

    name: ClassVar[str] = "trimmed_mean"
    label: ClassVar[str] = "trimmed mean"
    cite: ClassVar[str] = "yin2018"

    share: Annotated[float, Field(ge=0, lt=0.5)] = 0.2

    def combine(self, x):
        clients = x.shape[1]
        cut = min(round(self.share * clients), (clients - 1) // 2)
        return x.sort(dim=1).values[:, cut : clients - cut].mean(dim=1)
