"""What an aggregation is: it takes the place of a method's mean over the cohort."""

from __future__ import annotations

from typing import ClassVar

from fewbits.lazy import torch


class Aggregation:
    """`combine` makes one update of the cohort's, without weights for their numbers of rows."""

    name: ClassVar[str]
    label: ClassVar[str]
    cite: ClassVar[str]

    def least(self) -> int:
        """How many clients a round needs at least."""
        return 1

    def check(self, algorithm, partition, selection, sending) -> str | None:
        """Why this cannot be used with these slots, or None."""
        if not getattr(algorithm, "averages", True):
            return f"{algorithm.label} does not go on with an average of its cohort's updates alone"
        if not getattr(sending, "whole", True):
            return "what clients send is not about the same numbers, so leave sending out"
        clients = getattr(partition, "clients", None)
        if clients is None or (selection is not None and selection.share(clients) is None):
            return None
        cohort = clients if selection is None else round(clients * selection.share(clients))
        if cohort < self.least():
            return f"{self.name} needs {self.least()} clients in a round, there are {cohort}"
        return None

    def combine(self, x: torch.Tensor) -> torch.Tensor:
        """(lanes, cohort, *shape) -> (lanes, *shape), each lane by itself."""
        raise NotImplementedError
