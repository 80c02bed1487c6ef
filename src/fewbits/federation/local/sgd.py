"""Local SGD: several steps on the client's own rows (McMahan et al. 2017, arXiv 1602.05629, ClientUpdate)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from fewbits import aligned, rng
from fewbits.federation import sampling
from fewbits.federation.local.base import Local, Work, rows_of_a_step
from fewbits.federation.local.terms.pull import Pull, made, misfit
from fewbits.lazy import torch
from fewbits.registry import plugin


@plugin
class LocalSGD(Local):
    """y <- x; for every batch b of the local rows: y <- y - s (grad f_i(y; b) + proximal (y - x)); sends x - y.

    In round t = 1, 2, ... the step s is step * decay^(t - 1).

    `terms` of the local objective, by name (federation/local/terms/): {feddecorr: {coefficient: 0.1, loss_scale: code}} adds
    that to every f_i.

    `epochs` passes over the rows, each a new permutation cut into batches of `batch` (absent: all rows), or
    `steps` steps. momentum: heavy ball, begun anew each round. proximal: the mu of FedProx (Li et al. 2020, arXiv
    1812.06127); 0 is plain local SGD.
    """

    name: ClassVar[str] = "sgd"
    label: ClassVar[str] = "local SGD"

    step: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    epochs: Annotated[int, Field(ge=1)] | None = None
    steps: Annotated[int, Field(ge=1)] | None = None
    batch: Annotated[int, Field(ge=1)] | None = None
    decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    proximal: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    terms: dict[str, dict[str, Any]] = Field(default_factory=dict)

    def check(self, model: Any = None, sequence: bool = False) -> str | None:
        """Why this cannot be used with the model, or None."""
        if (self.epochs is None) == (self.steps is None):
            return "local work needs one of epochs and steps"
        return misfit(self.terms, model, sequence, self.batch)

    def initial(self, x, clients, statistics=None):
        if all("previous" not in term.anchors for term in made(self.terms)):
            return {}
        kept = {"previous": x} | ({} if statistics is None else {"statistics": statistics})
        return {k: v[:, None].repeat(1, clients, *[1] * (v.dim() - 1)) for k, v in kept.items()}

    def updates(
        self, objective, x, cohort, keys, round=1, correction=None, statistics=None, held=None
    ):
        who = sampling.everyone(x, objective) if cohort is None else cohort
        start = x[:, None].expand(-1, who.shape[1], *x.shape[1:])
        added = None if correction is None else lambda y, at: correction[at]
        ends = self.solve(objective, start, who, keys, round, added, statistics, held)
        if held:
            held["previous"] = ends
            held |= {} if statistics is None else {"statistics": statistics.clone()}
            return start - ends
        return torch.sub(start, ends, out=ends)

    def solve(
        self, objective, start, who, keys, round=1, coupling=None, statistics=None, held=None, jump=None
    ):  # fmt: skip
        ends = torch.empty_like(start, memory_format=torch.contiguous_format)
        added = coupling, jump
        for lane, key in enumerate(keys):
            own = None if statistics is None else statistics[lane]
            kept = {name: value[lane] for name, value in (held or {}).items()}
            self._lane(
                objective, round, start, who[lane].numpy(), lane, key, added, own, kept, ends
            )
        return ends

    def work(self, sizes, round=1):
        width = rows_of_a_step(sizes, self.batch)
        if self.steps is None:
            return Work(self.epochs * np.ceil(sizes / width), 1.0 * self.epochs * sizes)
        return Work(np.full(sizes.shape, float(self.steps)), self.steps * width)

    def travel(self, sizes, round):
        return self._step(round) * self.work(sizes).steps

    def _step(self, round: int) -> float:
        return self.step * self.decay ** (round - 1)

    def _lane(self, objective, round, start, who, lane, key, added, statistics, kept, ends) -> None:
        """Write into `ends` what every client of one lane ends with."""
        streams = rng.fold(rng.fold(key, sampling.WORK), who)
        plans = [
            sampling.schedule(stream, int(objective.sizes[i]), self.batch, self.epochs, self.steps)
            for stream, i in zip(streams, who, strict=True)
        ]
        for group in sampling.groups(plans, objective.at_once):
            held = None if statistics is None else statistics[group]
            chosen = [plans[i] for i in group]
            before = {name: value[group] for name, value in kept.items()}
            pull = self._pull(objective, start[lane], group, who[group], held, before)
            ends[lane, group] = self._end(
                objective, round, start, who[group], chosen, (lane, group), added, held, pull
            )
            if statistics is not None:
                statistics[group] = held

    def _pull(self, objective, start, group, who, statistics, kept) -> Pull | None:
        """The terms of these clients' objectives."""
        if not self.terms:
            return None
        previous = kept.get("previous"), kept.get("statistics")
        anchors = {"received": (start[group], statistics), "previous": previous}
        return Pull(made(self.terms), objective, who, anchors)

    def _end(
        self, objective, round, start, who, plans, at, added, statistics, pull
    ) -> torch.Tensor:
        """The models that the clients `at` end with, those with most steps first. added: coupling and jump."""
        coupling, jump = added
        (lane, group), step = at, self._step(round)
        begin = _of(start[lane], group)
        if objective.walk is not None and not (self.proximal or coupling or jump):
            return objective.walk.ends(begin, who, plans, step, self.momentum, pull, statistics)
        y = aligned.copy(begin)
        velocity = torch.zeros_like(y) if self.momentum else None
        counts = np.array([len(positions) for positions, _ in plans])
        for number in range(counts[0]):
            if jump is not None and number == jump.after:
                begin, y = begin + jump.by[at], y + jump.by[at]
            active = int((counts > number).sum())
            places, weights = sampling.batch_of(plans[:active], number)
            going = y[:active]
            held = None if statistics is None else statistics[:active]
            slope = pull and pull.on(places, weights)
            change = objective.client_gradients(going, who[:active], places, weights, held, slope)
            if coupling is not None:
                change = change + coupling(going, (at[0], at[1][:active]))
            if self.proximal:
                change = change + self.proximal * (going - begin[:active])
            if velocity is not None:
                change = velocity[:active].mul_(self.momentum).add_(change)
            going.sub_(change, alpha=step)
        return y


def _of(x: torch.Tensor, who: np.ndarray) -> torch.Tensor:
    """Models (m, ...) of these clients, not copied where all are one."""
    if x.stride(0) == 0:
        return x[: len(who)]
    return x.index_select(0, torch.from_numpy(who).to(x.device))  # by whole rows, which is faster
