"""What is minimised: f(x) = (1/n) sum_i f_i(x) over n clients, for many independent models ("lanes") at once.

A lane is one run of a batch: same problem and method, other step size or seed. Everything here has the
lane as its first dimension, and **a lane's numbers never depend on the other lanes**, bit for bit, so a
run gives the same bytes alone, in any company, and after a resume with fewer lanes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from fewbits.lazy import torch


@dataclass(frozen=True)
class Smoothness:
    """Lipschitz constants of the gradients: L of the pooled f, of each f_i; `mu` is the PL constant or None."""

    L: float
    L_i: tuple[float, ...]
    mu: float | None = None

    @property
    def L_tilde(self) -> float:
        """Root of the mean of the squared L_i (EF21's L-tilde)."""
        return (sum(value**2 for value in self.L_i) / len(self.L_i)) ** 0.5

    def summary(self) -> dict[str, float]:
        """The constants as plain numbers, for a run's summary."""
        numbers = {"L": self.L, "L_tilde": self.L_tilde, "L_mean": sum(self.L_i) / len(self.L_i)}
        numbers["L_max"] = max(self.L_i)
        return numbers | ({} if self.mu is None else {"mu": self.mu})


class Layer(NamedTuple):
    """A block of a model's numbers, in their order: `name` for messages to people, its own `shape`."""

    name: str
    shape: tuple[int, ...]


class OwnTests(Protocol):
    def __call__(self, models: torch.Tensor, who: np.ndarray | None = None) -> torch.Tensor:
        """Accuracy of all clients, or of these (m,): models (lanes, *shape), or each its own (lanes, m, *shape) -> (lanes, m)
        float64."""


class Objective(Protocol):
    clients: int
    sizes: np.ndarray  # (clients,) rows that each client holds
    shape: tuple[int, ...]  # of one model; (D,) for a network, whose parts `layers` names
    layers: tuple[Layer, ...]
    precision: str  # "float32" or "float64", of all its numbers
    at_once: int  # clients whose local work is best done in one computation
    smoothness: Smoothness | None  # None: not known
    statistics: np.ndarray | None  # (S,) running statistics to begin with, None where it keeps none
    walk: Any  # a faster way to end plain local steps (models/objectives/walk.py), None where it has none
    own_tests: OwnTests | None  # clients' models on test rows of their own; None: not asked for

    def gradients(self, x, cohort=None, rows=None, statistics=None) -> torch.Tensor:
        """Gradients of the cohort's f_i at the same model: x (lanes, *shape) -> (lanes, m, *shape).

        cohort: (lanes, m) client numbers, None for all. rows: `sampling.Rows` to use of each, None for all.
        statistics: (lanes, m, S), moved in place by what the rows show; None: not kept.
        """

    def client_gradients(
        self, y, who, positions, weights, statistics=None, slope=None
    ) -> torch.Tensor:
        """Gradients of some clients at models of their own, on some of their rows: y (m, *shape) -> the same.

        who: (m,) client numbers; positions, weights: (m, B) as of `sampling.Rows`; statistics: (m, S), as above; slope: what
        terms of the local objective add (federation/local/terms/pull.py), for models whose rows have representations.
        """

    def losses(self, x, statistics=None) -> torch.Tensor:
        """f_i at the same model, of all clients: x (lanes, *shape) -> (lanes, clients). statistics as of `measure`."""

    def measure(self, x, statistics=None) -> dict[str, torch.Tensor]:
        """What to record at each lane's model, each (lanes,): `loss` first, `grad_sq` where it is known, ...

        statistics (lanes, S): the running ones, used in place of those of the rows.
        """

    def start(self, dataset: str, seed: int) -> np.ndarray:
        """A starting point of `shape`, in the precision that the model computes in."""


def square(x: torch.Tensor) -> torch.Tensor:
    """|x|^2 of every lane."""
    return (x * x).flatten(1).sum(dim=1)


def square_of_clients(x: torch.Tensor) -> torch.Tensor:
    """|x_i|^2 of every client's tensor: (lanes, clients)."""
    return (x * x).flatten(2).sum(dim=-1)
