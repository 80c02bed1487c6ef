"""What records are made with, beside a method's state."""

from __future__ import annotations

from dataclasses import dataclass

from fewbits.federation.objective import Objective
from fewbits.lazy import torch


@dataclass(frozen=True)
class Evaluation:
    """Nothing of it is sent, and no method goes on with it. Over processes, each of which has a part of the state, it brings
    together what a record needs (distributed/slots.py)."""

    objective: Objective

    def pooled(self, held: torch.Tensor, cohort: torch.Tensor | None = None) -> torch.Tensor:
        """What clients keep to themselves, put together: held (lanes, m, ...), of all clients or of this cohort (lanes, m)."""
        return held

    def told(self, x: torch.Tensor) -> torch.Tensor:
        """What the server keeps to itself, to be seen by all."""
        return x
