"""The engine's slots over a group of processes.

Every process runs the same algorithm file on tensors of the same shapes, and **what a process cannot know is NaN in them**: the
updates and memories of clients that it does not hold, and at a client what the server keeps to itself. Only messages bring
anything across, so a method that used what was never sent would end in NaN. Process 0 is the server.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import numpy as np

from fewbits.algorithms.base import Round
from fewbits.distributed.group import Group
from fewbits.distributed.messages import Messages, Summed, SummedRound
from fewbits.federation.engine import Setting
from fewbits.federation.evaluation import Evaluation
from fewbits.federation.local.base import Coupling, Local
from fewbits.federation.sampling import Rows, everyone
from fewbits.federation.wrapped import Wrapped, WrappedLocal
from fewbits.lazy import torch


@dataclass(frozen=True)
class Spanning(Setting):
    """A setting whose clients are spread over the group. `objective` evaluates; a round sees `Held` clients only."""

    group: Group | None = None

    def open(self, batch, cohort, watch=False):
        opened = super().open(batch, cohort, watch)
        held = self.group.owner(self.objective.clients) == self.group.rank
        own = {"objective": Held(self.objective.inner, held), "local": HeldWork(self.local, held)}
        if isinstance(self.network, Summed):
            fields = {key: getattr(opened, key) for key in Round.__dataclass_fields__}
            return SummedRound(**fields | own)
        return replace(opened, **own)

    def evaluation(self):
        held = self.group.owner(self.objective.clients) == self.group.rank
        return BroughtTogether(Held(self.objective.inner, held), self.group)


@dataclass(frozen=True)
class BroughtTogether(Evaluation):
    """For records, what single processes know. `objective` is of the clients held; the traffic is counted apart."""

    group: Group

    def pooled(self, held, cohort=None):
        mine = self.objective.held
        mine = np.broadcast_to(mine, held.shape[:2]) if cohort is None else mine[cohort.numpy()]
        where = mine.reshape(*mine.shape, *[1] * (held.dim() - 2))
        return torch.from_numpy(self.group.pool(held.numpy(), where))

    def told(self, x):
        return torch.from_numpy(self.group.pool(x.numpy(), np.array(self.group.is_server)))


def spanning(setting: Setting, group: Group, form: str) -> Spanning:
    """The setting over a group. form: "messages", through a server, or "all_reduce" (Summed)."""
    net, f = setting.network, setting.objective
    held = group.owner(f.clients) == group.rank
    kind = {"messages": Messages, "all_reduce": Summed}[form]
    ends = net.compressor, net.downlink, net.whole, net.sending
    network = kind(group, held, net.shape, *ends)
    return Spanning(
        **{**vars(setting), "objective": Evaluated(f, group), "network": network}, group=group
    )


class Evaluated(Wrapped):
    """The objective as the engine records it: evaluated on all rows at the server, which tells the others. What clients get
    right of their own test rows is found where they are held."""

    def __init__(self, inner, group: Group) -> None:
        super().__init__(inner)
        self.group = group
        self.own_tests = inner.own_tests and self._own_tests

    def _own_tests(self, models):
        mine = self.group.owner(self.inner.clients) == self.group.rank
        found = torch.zeros(len(models), len(mine), dtype=torch.float64)
        if mine.any():
            own = models if models.dim() == 2 else models[:, mine]
            found[:, mine] = self.inner.own_tests(own, np.flatnonzero(mine))
        return torch.from_numpy(self.group.pool(found.numpy(), mine))

    def measure(self, x, statistics=None):
        if self.group.is_server:
            found = self.inner.measure(x, statistics)
            self.group.tell(json.dumps({k: v.tolist() for k, v in found.items()}).encode())
            return found
        told = json.loads(self.group.tell(None))
        return {name: torch.tensor(values).double() for name, values in told.items()}

    def gradients(self, x, cohort=None, rows=None, statistics=None):
        if self.group.is_server:
            return self.inner.gradients(x, cohort, rows)
        return x.new_full((len(x), self.inner.clients, *x.shape[1:]), torch.nan)


class Held(Wrapped):
    """The objective as a process has it: gradients of the clients that it holds, NaN of the others. held (clients,)."""

    def __init__(self, inner, held: np.ndarray) -> None:
        super().__init__(inner)
        self.held = held

    def losses(self, x, statistics=None):
        found = self.inner.losses(x, statistics)
        found[:, ~self.held] = torch.nan
        return found

    def gradients(self, x, cohort=None, rows=None, statistics=None):
        def of_some(x, cohort, keep):
            some = None if rows is None else Rows(rows.positions[keep], rows.weights[keep])
            moved = None if statistics is None else statistics[keep]
            made = self.inner.gradients(x, cohort, some, moved)
            if moved is not None:
                statistics[keep] = moved
            return made

        return _of_held(self, self.held, x, cohort, of_some)


class HeldWork(WrappedLocal):
    """Local work of the clients that a process holds, NaN of the others."""

    def __init__(self, inner: Local, held: np.ndarray) -> None:
        super().__init__(inner)
        self.held = held

    def updates(
        self, objective, x, cohort, keys, round=1, correction=None, statistics=None, held=None
    ):
        left = {name: value.clone() for name, value in (held or {}).items()}

        def of_some(x, cohort, keep):
            extra, moved = (None if a is None else a[keep] for a in (correction, statistics))
            own = {name: value[keep] for name, value in left.items()}
            key = keys[keep[0]]
            made = self.inner.updates(objective, x, cohort, key, round, extra, moved, own)
            if statistics is not None:
                statistics[keep] = moved
            for name, value in own.items():
                left[name][keep] = value
            return made

        found = _of_held(objective, self.held, x, cohort, of_some)
        (held or {}).update(left)
        return found

    def solve(
        self,
        objective,
        start,
        who,
        keys,
        round=1,
        coupling=None,
        statistics=None,
        held=None,
        jump=None,
    ):
        """statistics, held: none, since the models of clients' own have none (algorithms/personal.py)."""

        def of_some(x, cohort, keep):
            leap = None if jump is None else jump._replace(by=jump.by[keep])
            pull = None if coupling is None else _placed(coupling, keep)
            return self.inner.solve(
                objective, start[keep], cohort, keys[keep[0]], round, pull, jump=leap
            )

        return _of_held(objective, self.held, start[:, 0], who, of_some)


def _placed(coupling: Coupling, keep: tuple[slice, np.ndarray]) -> Coupling:
    """The coupling for the part `keep` of one lane's cohort."""
    lane, mine = keep
    return lambda y, at: coupling(y, (lane.start, mine[at[1]]))


def _of_held(objective, held, x, cohort, function):
    """`function` (of a lane's model, the part of its cohort that is held, and where that is) in a tensor (lanes, cohort, *shape)."""
    who = everyone(x, objective) if cohort is None else cohort
    out = x.new_full((*who.shape, *x.shape[1:]), torch.nan)
    for lane in range(len(x)):
        mine = np.flatnonzero(held[who[lane].numpy()])
        if len(mine):
            keep = slice(lane, lane + 1), mine
            out[lane, mine] = function(x[lane : lane + 1], who[keep], keep)[0]
    return out
