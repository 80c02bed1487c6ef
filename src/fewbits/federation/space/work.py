"""Local work inside a space: any local solver, given f_i(x + E_i z) as an objective of z that starts at 0."""

from __future__ import annotations

import numpy as np

from fewbits.federation import sampling
from fewbits.federation.local.base import Local
from fewbits.federation.objective import Objective
from fewbits.federation.space.base import Frame, Frames
from fewbits.lazy import torch


class Within(Local):
    """The local solver `inner`, whose clients train u and make the update E u.

    What a solver would keep between rounds (AdamW's moments) begins anew in each: the next space is another one.
    """

    def __init__(self, inner: Local, frames: Frames) -> None:
        self.inner, self.frames = inner, frames

    def updates(
        self, objective, x, cohort, keys, round=1, correction=None, statistics=None, held=None
    ):
        who = (sampling.everyone(x, objective) if cohort is None else cohort).numpy()
        together = self.frames.of(sampling.round_seeds(keys, who), x.dtype)
        lanes, clients = [], who.shape[1]
        for lane in range(len(x)):
            one = slice(lane, lane + 1)
            frame = together.of(slice(lane * clients, (lane + 1) * clients))
            start = x.new_zeros(1, self.frames.size)
            inside = Inside(objective, x[lane], who[lane], frame)
            extra = None if correction is None else frame.gather(correction[lane])[None]
            moved = None if statistics is None else statistics[one]
            u = self.inner.updates(
                inside, start, torch.from_numpy(who[one]), keys[one], round, extra, moved
            )
            lanes.append(frame.spread(u[0]))
        return torch.stack(lanes)

    def work(self, sizes, round=1):
        return self.inner.work(sizes, round)

    def travel(self, sizes, round):
        return self.inner.travel(sizes, round)


class Inside:
    """f_i(x + E_i z) of z (n,), for local solvers; what is not of models is f_i's own. who (m,): the clients that `frame` has
    maps of, increasing."""

    walk = None  # f's is of its own gradients

    def __init__(
        self, objective: Objective, x: torch.Tensor, who: np.ndarray, frame: Frame
    ) -> None:
        self.objective, self.x, self.who, self.frame = objective, x, who, frame

    def __getattr__(self, name: str):
        return getattr(self.objective, name)

    def client_gradients(self, z, who, positions, weights, statistics=None, slope=None):
        frame = self._of(who)
        y = self.x + frame.spread(z)
        found = self.objective.client_gradients(y, who, positions, weights, statistics, slope)
        return frame.gather(found)

    def representations(self, who, z, statistics=None):
        return self.objective.representations(who, self.x + self._of(who).spread(z), statistics)

    def _of(self, who: np.ndarray) -> Frame:
        return self.frame.of(np.searchsorted(self.who, who))
