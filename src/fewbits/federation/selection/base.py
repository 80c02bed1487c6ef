"""What a selection is: it names the cohort of a round, or judges after local work who of it uploads."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fewbits.lazy import torch


class Selection:
    """`cohort` gives the clients that take part in a round; `judge` may let only some of them upload what they made.

    A client that is not let through is, to the method, one that was not in the cohort: the server does not hear of it, and it
    keeps what it held. But it worked, and sent what the judgement needs.
    """

    name: ClassVar[str]

    def share(self, clients: int) -> float | None:
        """The probability with which each client takes part; None where it is not the same for all."""
        return None

    def cohort(self, keys: np.ndarray, clients: int) -> torch.Tensor | None:
        """(lanes, m) client numbers, increasing; None for everyone. keys (lanes,) uint64: the round's streams."""
        raise NotImplementedError

    def initial(self, x: torch.Tensor, clients: int) -> dict[str, torch.Tensor]:
        """What it keeps from round to round, in the run's memory. x (lanes, *shape): the starting points."""
        return {}

    def judge(self, run, x: torch.Tensor, updates: torch.Tensor) -> torch.Tensor | None:
        """Places in the cohort of those that upload, (lanes, q) increasing; None for all.

        run: the Round (algorithms/base.py), through which the judgement's own messages go; x (lanes, *shape): the model
        that was sent; updates (lanes, m, *shape): what the cohort made of it.
        """
        return None

    def measure(self, memory: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """What to record of its memory, each (lanes,)."""
        return {}
