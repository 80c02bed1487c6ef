"""What a clock is: it says when, in simulated time, the server has everything of a round."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import numpy as np

from fewbits import rng
from fewbits.federation.local.base import Work
from fewbits.lazy import torch

CLIENT = rng.stream("speed of a client")

Memory = "dict[str, torch.Tensor]"  # float64, each with the lane as its first dimension


class Happened(NamedTuple):
    """What the cohort did in a round.

    keys (lanes,): the runs' streams; number: of the round, 0 for the start, at which nobody works yet; who (lanes, m): the
    cohort; work: (lanes, m) each; up, down: bits of each client, numbers or (lanes, m). late: how many rounds, and steps of
    the round after them, clients go on before they need the model that a round goes out with; (0, 0): they wait for it.
    """

    keys: np.ndarray
    number: int
    who: torch.Tensor
    work: Work
    up: Any
    down: Any
    late: tuple[int, int] = (0, 0)


class Clock:
    """`memory` is what it keeps between rounds, part of the run's state; `seconds` of it, (lanes,), is the time at which the
    server has all messages of the last round. `shows`: what of it is recorded."""

    name: ClassVar[str]
    shows: ClassVar[tuple[str, ...]] = ("seconds",)

    def initial(self, lanes: int, clients: int, late: tuple[int, int]) -> Memory:
        """The memory before anything has happened."""
        return {"seconds": torch.zeros(lanes, dtype=torch.float64)}

    def advance(self, memory: Memory, happened: Happened) -> Memory:
        """The memory after a round."""
        raise NotImplementedError


def speeds(keys: np.ndarray, who: torch.Tensor, spread: float) -> np.ndarray | float:
    """How many times longer than the median client each one works, log-normal, the same in all rounds: (lanes, m), or 1."""
    if not spread:
        return 1.0
    streams = rng.fold(rng.fold(keys, CLIENT)[:, None], who.numpy())
    return np.exp(spread * rng.normals(streams, 1)[..., 0])
