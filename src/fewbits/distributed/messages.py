"""The network between processes: messages as real bytes through a server, or dense ones added up on the way."""

from __future__ import annotations

import numpy as np

from fewbits.algorithms.base import Round
from fewbits.compressors.base import Compressed
from fewbits.compressors.identity import Identity
from fewbits.compressors.message import Bits
from fewbits.distributed.drafts import NOTHING, Draft, Way
from fewbits.distributed.group import Group
from fewbits.federation.network import Network
from fewbits.lazy import torch


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
