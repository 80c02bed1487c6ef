"""What batch normalisation keeps beside the model: sent, counted and averaged, and no business of methods.

Running means and variances (Ioffe and Szegedy 2015) have no gradient. So no compressor, error feedback or server
optimiser sees them: the server sends them whole to the cohort that works on a model; forward passes of the work move
them; the cohort sends them back as float32, and the server goes on with their mean, weighted by rows. That is what
FedAvg's implementations do with them, as those that keep them at home instead recall (Li et al. 2021, FedBN, arXiv
2102.07623). The mean of clients' variances is less than the variance of all their rows; it is what is averaged.
"""

from __future__ import annotations

from collections.abc import Callable

from fewbits.federation.network import Network
from fewbits.federation.objective import Objective
from fewbits.lazy import torch

KEY = "statistics"  # in a batch's state


class Statistics:
    """Those of one round: `held` (lanes, B) by the server, and a copy for each client that works."""

    def __init__(self, held: torch.Tensor, network: Network) -> None:
        self.held, self.network, self.shape = held, network, tuple(held.shape[1:])
        self._clients: torch.Tensor | None = None

    def of(self, cohort: int) -> torch.Tensor:
        """Each client's own, which its work changes in place: (lanes, cohort, B). Sent down at the first call; a second
        one in the round goes on from what the first left."""
        if self._clients is None:
            received = self.network.down(self.network.uncompressed(self.held, shape=self.shape))
            self._clients = received[:, None].repeat(1, cohort, 1)
        return self._clients

    def averaged(self, mean: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """What the server goes on with, (lanes, B): the cohort sends its own up; `held` where nobody worked."""
        if self._clients is None:
            return self.held
        return mean(
            self.network.up(self.network.uncompressed(self._clients, "float32", self.shape))
        )


def initial(objective: Objective, lanes: int) -> dict[str, torch.Tensor]:
    """The part of the state that every lane begins with."""
    if objective.statistics is None:
        return {}
    return {KEY: torch.from_numpy(objective.statistics).repeat(lanes, 1)}


def of_round(state: dict[str, torch.Tensor], network: Network) -> Statistics | None:
    """Those of a round that begins with this state, None where it has none."""
    return Statistics(state[KEY], network) if KEY in state else None
