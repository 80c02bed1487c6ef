"""What is minimised: f(x) = (1/n) sum_i f_i(x) over n clients, for many independent models ("lanes") at once.

A lane is one run of a batch: same problem and method, other step size or seed. Everything here has the
lane as its first dimension, and **a lane's numbers never depend on the other lanes**, bit for bit, so a
run gives the same bytes alone, in any company, and after a resume with fewer lanes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

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


class Objective(Protocol):
    clients: int
    shape: tuple[int, ...]  # of one model
    smoothness: Smoothness

    def gradients(self, x: torch.Tensor) -> torch.Tensor:
        """Every client's full gradient: x (lanes, *shape) -> (lanes, clients, *shape)."""

    def loss(self, x: torch.Tensor) -> torch.Tensor:
        """f at each lane's model: (lanes,)."""

    def metrics(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Further numbers to record, each (lanes,)."""

    def start(self, dataset: str, seed: int):
        """A starting point as a NumPy array of `shape`."""
