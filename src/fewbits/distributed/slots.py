"""The engine's slots over a group of processes.

Every process runs the same algorithm file on tensors of the same shapes, and **what a process cannot know is NaN in them**: the
updates and memories of clients that it does not hold, and at a client what the server keeps to itself. Only messages bring
anything across, so a method that used what was never sent would end in NaN. Process 0 is the server.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fewbits.algorithms.base import Round
from fewbits.compressors.base import Compressed
from fewbits.compressors.identity import Identity
from fewbits.compressors.message import Bits
from fewbits.distributed.drafts import NOTHING, Draft, Way
from fewbits.distributed.group import Group
from fewbits.federation.engine import Setting
from fewbits.federation.local.base import Local
from fewbits.federation.network import Network
from fewbits.federation.sampling import everyone
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

    def models(self, state):
        mine = self.group.owner(self.objective.clients) == self.group.rank
        pooled = {}
        for name, x in super().models(state).items():
            where = np.broadcast_to(mine, x.shape[:2]).reshape(*x.shape[:2], *[1] * (x.dim() - 2))
            pooled[name] = torch.from_numpy(self.group.pool(x.numpy(), where))
        return pooled


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


class Wrapped:
    """Something with a few of its methods replaced."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str):
        return getattr(self.inner, name)


class Evaluated(Wrapped):
    """The objective as the engine records it: evaluated on all rows at the server, which tells the others."""

    def __init__(self, inner, group: Group) -> None:
        super().__init__(inner)
        self.group = group

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

    def gradients(self, x, cohort=None):
        def of_some(x, cohort, keep):
            return self.inner.gradients(x, cohort)

        return _of_held(self, self.held, x, cohort, of_some)


class HeldWork(Wrapped, Local):
    """Local work of the clients that a process holds, NaN of the others."""

    def __init__(self, inner: Local, held: np.ndarray) -> None:
        super().__init__(inner)
        self.held, self.exact = held, inner.exact

    def updates(
        self, objective, x, cohort, keys, round=1, correction=None, statistics=None, held=None
    ):
        left = {name: value.clone() for name, value in (held or {}).items()}

        def of_some(x, cohort, keep):
            extra, moved = (None if a is None else a[keep] for a in (correction, statistics))
            own = {name: value[keep] for name, value in left.items()}
            made = self.inner.updates(
                objective.inner, x, cohort, keys[keep[0]], round, extra, moved, own
            )
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
        previous=None,
        jump=None,
    ):
        """Of methods with one model and replicas of it: nothing but start and jump."""
        ends = torch.full_like(start, torch.nan)
        for lane in range(len(start)):
            keep = slice(lane, lane + 1), np.flatnonzero(self.held[who[lane].numpy()])
            leap = None if jump is None else jump._replace(by=jump.by[keep])
            place = objective.inner, start[keep], who[keep], keys[keep[0]]
            ends[keep] = self.inner.solve(*place, round, jump=leap)
        return ends

    def work(self, sizes, round=1):
        return self.inner.work(sizes, round)

    def travel(self, sizes, round):
        return self.inner.travel(sizes, round)


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


class Messages(Network):
    """Uplink and downlink as real bytes, through the server. What is counted there is what was sent: every message's bytes
    are held against its bits."""

    def __init__(self, group: Group, held: np.ndarray, *slots) -> None:
        super().__init__(*slots)
        self.group, self.held = group, held

    def mine(self, lanes: int, cohort: int) -> np.ndarray:
        """Which of the cohort's clients this process holds: (lanes, cohort)."""
        if self._cohort is not None:
            return self.held[self._cohort]
        return np.tile(self.held, (lanes, 1))

    def _make(self, compressor, x, shape, keys=None, kept=None):
        draft = Draft((Way(compressor, tuple(shape), x, keys, kept=kept),))
        value, bits = torch.full_like(x, torch.nan), Bits(0, 0, 0)
        now = None if kept is None else torch.full_like(kept, torch.nan)
        batch = x.shape[: x.dim() - len(shape)]
        mine = np.full(batch, self.group.is_server) if len(batch) == 1 else self.mine(*batch)
        if mine.any():
            own, past = (None if a is None else a[mine] for a in (keys, kept))
            made, moved = super()._make(compressor, x[mine], shape, own, past)
            value[mine] = made.value
            if now is not None:
                now[mine] = moved
            parts = (made.bits.values, made.bits.indices, made.bits.metadata)
            bits = Bits(*(_at(mine, part) for part in parts))
        return Compressed(value, bits, draft), now

    def errors(self, lanes):
        if self._errors is not None:
            mine = self.mine(*self._errors.shape)
            self._errors = torch.from_numpy(self.group.pool(self._errors.numpy(), mine))
        return super().errors(lanes)

    def up(self, message):
        if message.draft is None:  # nothing is sent: all know it
            return super().up(message)
        batch = tuple(message.value.shape[:2])
        may = self.may(*batch).numpy()
        mine = list(zip(*(self.mine(*batch) & may).nonzero(), strict=True))
        payloads = [message.draft.encode(place) for place in mine]
        bits = _bits_of(message.bits, batch)
        for place, payload in zip(mine, payloads, strict=True):
            _hold(payload, bits[place])
        frames = self.group.gather(payloads, np.array([bits[place] for place in mine]))
        if frames is None:
            return message.value
        value = torch.full_like(message.value, torch.nan)
        counted = np.zeros((*batch, 3))
        owner = self.group.owner(len(self.held))
        queues = [iter(zip(*frame, strict=True)) for frame in frames]
        for place in zip(*may.nonzero(), strict=True):
            client = place[1] if self._cohort is None else self._cohort[place]
            payload, counted[place] = next(queues[owner[client]])
            value[place] = message.draft.decode(place, payload)
        parts = (torch.from_numpy(counted[..., i]) for i in range(3))
        return super().up(Compressed(value, Bits(*parts)))

    def down(self, x):
        message = x if isinstance(x, Compressed) else self.uncompressed(x, shape=tuple(x.shape[1:]))
        lanes = range(len(message.value))
        payloads = []
        if self.group.is_server:
            payloads = [message.draft.encode((lane,)) for lane in lanes]
            for lane, payload in zip(lanes, payloads, strict=True):
                _hold(payload, _bits_of(message.bits, (len(lanes),))[lane])
            super().down(message)
        payloads = self.group.broadcast(payloads, len(lanes))
        value = [message.draft.decode((n,), p) for n, p in zip(lanes, payloads, strict=True)]
        return torch.stack(value)


class Summed(Messages):
    """For messages that may be added up on the way (dense ones): nothing goes to a server, means are all-reduces, and every process
    takes the server's steps by itself. Headers do not travel; sums are made in the message's float format, in an order of the back end's own."""

    def up(self, message):
        if message.draft is None:
            return super().up(message)
        way = message.draft.ways[0]
        if len(message.draft.ways) > 1 or not isinstance(way.compressor, Identity):
            name = message.draft.ways[-1].compressor.name
            raise ValueError(
                f"all_reduce: found messages of {name}, which cannot be added up on the way; allowed: dense ones"
            )
        self.wire = getattr(torch, way.compressor.wire)
        Network.up(self, Compressed(message.value, way.compressor.payload(way.shape)))
        return message.value

    def down(self, x):
        """The second half of an all-reduce: all have it already."""
        shape = x.draft.ways[0].shape if isinstance(x, Compressed) else self.shape
        whole = x.draft.ways[0].compressor if isinstance(x, Compressed) else self.whole
        value = x.draft.ways[0].x if isinstance(x, Compressed) else x
        return Network.down(self, whole.compress(value, shape))

    def added(self, x: torch.Tensor) -> torch.Tensor:
        """The sum over the cohort: (lanes, cohort, *any) -> (lanes, *any)."""
        mine = torch.from_numpy(self.mine(*x.shape[:2]))
        mine = mine.reshape(*mine.shape, *[1] * (x.dim() - 2))
        own = torch.where(mine, x, 0).sum(dim=1).to(self.wire)
        self.group.traffic.up += own.numel() * own.element_size()
        return self.group.sum(own).to(x.dtype)


class SummedRound(Round):
    """A round whose means are all-reduces."""

    def mean(self, x):
        return self.network.added(x) / x.shape[1]

    def mean_where(self, x, where):
        raise ValueError(
            "all_reduce: found a mean of each number over some of the clients, which are not the same for all; "
            "allowed: --form messages"
        )

    def mean_of_all(self, x):
        return self.network.added(x) / self.objective.clients

    def weighted_mean(self, x):
        sizes = torch.as_tensor(self.sizes(x), dtype=x.dtype)
        weights = sizes / sizes.sum(dim=1, keepdim=True)
        return self.network.added(x * weights.reshape(*weights.shape, *[1] * (x.dim() - 2)))


def _at(mine: np.ndarray, part):
    """Bits of the messages at `mine` as bits of all: a number stays one."""
    if not torch.is_tensor(part) or not part.dim():
        return part
    out = torch.zeros(mine.shape, dtype=torch.float64)
    out[torch.from_numpy(mine.copy())] = part.double()
    return out


def _bits_of(bits: Bits, batch: tuple[int, ...]) -> np.ndarray:
    """(*batch, 3)."""
    parts = (bits.values, bits.indices, bits.metadata)
    return np.stack([np.broadcast_to(np.asarray(p, float), batch) for p in parts], axis=-1)


def _hold(payload: bytes, bits: np.ndarray) -> None:
    """Raise RuntimeError unless so many bits are counted for a message as it has."""
    if payload != NOTHING and 8 * len(payload) != bits.sum():
        raise RuntimeError(f"a message of {8 * len(payload)} bits is counted as {bits.sum():.0f}")
