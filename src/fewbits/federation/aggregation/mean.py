"""The plain mean, every client the same weight."""

from __future__ import annotations

from typing import ClassVar

from fewbits.federation.aggregation.base import Aggregation
from fewbits.registry import plugin


@plugin
class Mean(Aggregation):
    """(1/m) sum_i x_i, also where the method itself weights clients by their rows, as FedAvg does."""

    name: ClassVar[str] = "mean"
    label: ClassVar[str] = "mean"
    cite: ClassVar[str] = "mcmahan2017"

    def combine(self, x):
        return x.mean(dim=1)
