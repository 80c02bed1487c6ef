"""What a local solver is: it turns the model that a client received into the update that it wants to send."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, NamedTuple

import numpy as np

from fewbits.federation.objective import Objective
from fewbits.lazy import torch

# coupling(y, at): what is added to the gradients of some clients of a lane at their models y (g, *shape). Of anything that is
# held as (lanes, cohort, ...), held[at] is their part.
Coupling = Callable[["torch.Tensor", tuple], "torch.Tensor"]


class Jump(NamedTuple):
    """What clients add to their models amid local work: `by` (lanes, m, *shape), after so many steps."""

    after: int
    by: torch.Tensor


class Work(NamedTuple):
    """What a round costs each of some clients: local steps, and rows of which a gradient is taken, float64."""

    steps: np.ndarray
    rows: np.ndarray


def rows_of_a_step(sizes: np.ndarray, batch: int | None) -> np.ndarray:
    """Rows that each client takes a gradient of at once: (clients,) float64. batch None: all of its rows."""
    return np.minimum(1.0 * sizes, batch or np.inf)


class Local:
    """`updates` gives the gradient at x, or, after local work that ends in y, the difference x - y.

    Either way a step of the server goes against it: x - step * update.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    exact: ClassVar[bool] = False  # whether updates are gradients, of which theory knows

    def updates(
        self,
        objective: Objective,
        x: torch.Tensor,
        cohort: torch.Tensor | None,
        keys: np.ndarray,
        round: int = 1,
        correction: torch.Tensor | None = None,
        statistics: torch.Tensor | None = None,
        held: dict[str, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """x (lanes, *shape) -> (lanes, cohort, *shape).

        `keys` (lanes,) uint64 are the lanes' streams in this round; all randomness comes from them. correction (lanes,
        cohort, *shape): what each client adds to every gradient that it takes. statistics (lanes, cohort, S): the clients'
        running statistics, moved in place (federation/statistics.py). held: the cohort's part of what `initial` gave, (lanes,
        cohort, *shape) each, to be replaced by what the clients keep for the next time.
        """
        raise NotImplementedError

    def initial(
        self, x: torch.Tensor, clients: int, statistics: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """What every client keeps between rounds, before the first, (lanes, clients, ...) each: x (lanes, *shape) and
        statistics (lanes, S) are what the server begins with."""
        return {}

    def solve(
        self,
        objective: Objective,
        start: torch.Tensor,
        who: torch.Tensor,
        keys: np.ndarray,
        round: int = 1,
        coupling: Coupling | None = None,
        statistics: torch.Tensor | None = None,
        held: dict[str, torch.Tensor] | None = None,
        jump: Jump | None = None,
    ) -> torch.Tensor:
        """What clients end with that start from models of their own: start (lanes, m, *shape) -> the same.

        who (lanes, m): the clients. coupling: added to every gradient. statistics, held: as above, but
        `held` stays as it is. jump: after fewer steps than every client takes. Only local work has an end; a gradient has none.
        """
        raise NotImplementedError

    def work(self, sizes: np.ndarray, round: int = 1) -> Work:
        """What that round costs clients of so many rows: arrays like `sizes`."""
        raise NotImplementedError

    def travel(self, sizes: np.ndarray, round: int) -> np.ndarray:
        """The sum of such clients' step sizes in that round: the update of a constant gradient, over it."""
        raise NotImplementedError
