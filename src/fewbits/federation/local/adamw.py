"""Local AdamW: Adam with weight decay beside the gradient (Loshchilov, Hutter 2019, arXiv 1711.05101, Algorithm 2), in the
place that DiLoCo gives it (Douillard et al. 2023, arXiv 2311.08105, Algorithm 1)."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from fewbits import rng
from fewbits.federation import sampling
from fewbits.federation.local.base import Local, Work, rows_of_a_step
from fewbits.lazy import torch
from fewbits.registry import plugin


@plugin
class LocalAdamW(Local):
    """y <- x; `steps` times, g the gradient on a batch of the local rows and t the steps that the client has taken in all:

        m <- beta1 m + (1 - beta1) g         v <- beta2 v + (1 - beta2) g^2
        y <- y - step (m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps) + weight_decay y)

    and sends x - y. A client keeps m, v and t between rounds; they are not averaged. `batch` absent: all rows. With
    methods whose clients keep models of their own, m, v and t begin anew each time.
    """

    name: ClassVar[str] = "adamw"
    label: ClassVar[str] = "local AdamW"

    step: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    steps: Annotated[int, Field(ge=1)]
    batch: Annotated[int, Field(ge=1)] | None = None
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    eps: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-8
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.01

    @property
    def momentum(self) -> float:
        """For methods that local momentum does not fit."""
        return self.beta1

    def initial(self, x, clients, statistics=None):
        zero = x.new_zeros(len(x), clients, *x.shape[1:])
        return {"m": zero, "v": zero.clone(), "t": x.new_zeros(len(x), clients)}

    def updates(
        self, objective, x, cohort, keys, round=1, correction=None, statistics=None, held=None
    ):
        who = sampling.everyone(x, objective) if cohort is None else cohort
        start = x[:, None].expand(-1, who.shape[1], *x.shape[1:])
        coupling = None if correction is None else lambda y, at: correction[at]
        kept = {name: value.clone() for name, value in (held or self._fresh(start)).items()}
        found = start - self._work(objective, start, who, keys, coupling, statistics, kept)
        if held is not None:
            held.update(kept)
        return found

    def solve(
        self, objective, start, who, keys, round=1, coupling=None, statistics=None, held=None, jump=None
    ):  # fmt: skip
        kept = self._fresh(start)
        return self._work(objective, start, who, keys, coupling, statistics, kept, jump)

    def work(self, sizes, round=1):
        width = rows_of_a_step(sizes, self.batch)
        return Work(np.full(sizes.shape, float(self.steps)), self.steps * width)

    def travel(self, sizes, round):
        return np.full(sizes.shape, self.steps * self.step)

    def _fresh(self, start) -> dict:
        return self.initial(start[:, 0], start.shape[1])

    def _work(self, objective, start, who, keys, coupling, statistics, kept, jump=None):
        """What clients end with; `kept` is brought up to date."""
        ends = start.clone(memory_format=torch.contiguous_format)
        streams = rng.fold(rng.fold(keys, sampling.WORK)[:, None], who.numpy())
        for lane, cohort in enumerate(who.numpy()):
            plans = [
                sampling.schedule(key, int(objective.sizes[i]), self.batch, None, self.steps)
                for key, i in zip(streams[lane], cohort, strict=True)
            ]
            for group in sampling.groups(plans, objective.at_once):
                at, own = (lane, group), {name: value[lane, group] for name, value in kept.items()}
                moved = None if statistics is None else statistics[at]
                batches = [
                    sampling.batch_of([plans[i] for i in group], n) for n in range(self.steps)
                ]
                of = objective, cohort[group], batches, at
                ends[at] = self._end(*of, ends[at], own, coupling, moved, jump)
                for name, value in own.items():
                    kept[name][at] = value
                if moved is not None:
                    statistics[at] = moved
        return ends

    def _end(self, objective, cohort, batches, at, y, own, coupling, moved, jump) -> torch.Tensor:
        """What clients `at` that begin with y end with; `own` and `moved` are brought up to date."""
        for number, batch in enumerate(batches):
            if jump is not None and number == jump.after:
                y = y + jump.by[at]
            g = objective.client_gradients(y, cohort, *batch, moved)
            y = self._step(y, g if coupling is None else g + coupling(y, at), own)
        return y

    def _step(self, y, g, own: dict):
        """One step of clients' models y (m, *shape); `own` is brought up to date."""
        own["t"] = own["t"] + 1
        t = own["t"].reshape(-1, *[1] * (y.dim() - 1))
        own["m"] = self.beta1 * own["m"] + (1 - self.beta1) * g
        own["v"] = self.beta2 * own["v"] + (1 - self.beta2) * g * g
        m, v = own["m"] / (1 - self.beta1**t), own["v"] / (1 - self.beta2**t)
        return y - self.step * (m / (v.sqrt() + self.eps) + self.weight_decay * y)
