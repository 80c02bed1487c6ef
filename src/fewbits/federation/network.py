"""The network between clients and server: what is sent through it arrives decoded and is counted."""

from __future__ import annotations

from functools import partial

import numpy as np

from fewbits import rng
from fewbits.compressors.base import Compressed, Compressor
from fewbits.compressors.identity import Identity
from fewbits.compressors.message import Bits
from fewbits.federation.objective import square_of_clients
from fewbits.federation.sampling import round_keys, round_seeds, seeded
from fewbits.federation.sending.base import Sending
from fewbits.lazy import torch

COUNTERS = ("bits_up_values", "bits_up_indices", "bits_up_metadata", "bits_down")


class Network:
    """Uplink and downlink with a compressor each, and the bits of both.

    Counters are (lanes, 4) float64, cumulative, mean over all clients, those that do not take part included.
    What comes out of `up` and `down` is what the receiver decodes; nothing else crosses. `sent_up` and `sent_down` are the
    bits of each of the cohort's clients in this round. `senders` (lanes, q) are the places in the cohort of those who may still
    send, None for all (federation/selection). `kept` is what senders with a past keep (compressors/base.py), by direction: "up"
    (lanes, clients, K), "down" (lanes, K); part of the run's state. A method that compresses twice in a round has one past.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        compressor: Compressor,
        downlink: Compressor,
        whole: Compressor | None = None,
        sending: Sending | None = None,
    ) -> None:
        """`compressor` and `downlink` are C of the clients and of the server; `whole` carries what the server
        sends uncompressed (None: `downlink`); `sending` says what of a client's numbers C is given (None: all)."""
        self.shape, self.compressor, self.downlink = shape, compressor, downlink
        self.whole, self.sending = whole or downlink, sending or Sending()
        self.counters: torch.Tensor | None = None
        self.kept: dict[str, torch.Tensor] = {}
        self._keys = self._errors = None
        self._watch = False

    def nothing_kept(self, x: torch.Tensor, clients: int) -> dict[str, torch.Tensor]:
        """`kept` before the first message, {} where no sender keeps anything; x (lanes, *shape). Where a message is about
        other numbers each time there is no past."""
        up = self.compressor.keeps(self.shape) if self.sending.whole else 0
        down = self.downlink.keeps(self.shape)
        kept = {"up": x.new_zeros(len(x), clients, up), "down": x.new_zeros(len(x), down)}
        return {key: value for key, value in kept.items() if value.numel()}

    def open_round(
        self,
        counters: torch.Tensor,
        keys: np.ndarray,
        round: int,
        cohort: torch.Tensor | None = None,
        clients: int | None = None,
        watch: bool = False,
        kept: dict[str, torch.Tensor] | None = None,
    ) -> None:
        """Begin a round: counters to add to (lanes, 4), the lanes' keys (lanes,) uint64, the cohort (lanes, m)
        out of so many clients (None: all). `watch`: note the errors of its messages. `kept`: as the round before left it."""
        self.kept = dict(kept or {})
        self._watch, self._errors = watch, None
        self.senders, self.judged = None, False
        self.counters = counters
        self.sent_up = self.sent_down = 0.0
        self._keys, self._round, self._calls = keys, round, 0
        self._cohort = None if cohort is None else cohort.numpy()
        self._share = 1.0 if cohort is None else cohort.shape[1] / clients

    def compress(self, x: torch.Tensor) -> Compressed:
        """C of what each client sends of its tensor: x (lanes, cohort, *shape). Sends nothing yet.

        Each message has a random stream of its own, named by lane, round, call within it, and client.
        """
        keys, who = None, self._who(x)
        if self.compressor.random:
            keys = rng.fold(self._call()[:, None], who)
            if self.compressor.seeded:
                keys = seeded(round_seeds(round_keys(self._keys, self._round), who), keys)
        part = self.sending.take(x, who, self._round)
        shape = tuple(part.shape[2:])
        message = self._with_past("up", self.compressor, part, shape, keys, self._cohort)
        message = message.placed(
            partial(self.sending.put, round=self._round, shape=self.shape), who
        )
        if self._watch:
            wanted, left = square_of_clients(x), square_of_clients(x - message.value)
            self._errors = torch.where(wanted > 0, left / wanted, 0.0)
        return message

    def uncompressed(
        self, x: torch.Tensor, wire: str | None = None, shape: tuple[int, ...] | None = None
    ) -> Compressed:
        """What the server or each client holds, whole: x (lanes, *shape) or (lanes, cohort, *shape). Sends nothing yet.

        wire: its float format, None for that of the model; shape: None for the model's.
        """
        compressor = self.whole if wire is None else Identity(wire=wire)
        return self._make(compressor, x, self.shape if shape is None else shape)[0]

    def noted(self, x: torch.Tensor, notes: Compressor) -> Compressed:
        """Numbers beside the update, in messages of their own: x (lanes, n) or (lanes, cohort, n). Sends nothing yet."""
        return self._make(notes, x, tuple(x.shape[-1:]))[0]

    def _with_past(self, way: str, compressor: Compressor, x, shape, keys, who=None) -> Compressed:
        """C of x by senders who (lanes, m), None for all there are, with what they kept on this way, if anything."""
        if way not in self.kept:
            return self._make(compressor, x, shape, keys)[0]
        at = slice(None) if who is None else (np.arange(len(x))[:, None], who)
        before = self.kept[way][at]
        message, now = self._make(compressor, x, shape, keys, before)
        if (
            way == "up"
        ):  # who may not send keeps its past, since the receiver sees no message to move it by
            now = torch.where(self.may(*now.shape[:2])[..., None], now, before)
        self.kept[way] = self.kept[way].clone()
        self.kept[way][at] = now
        return message

    def _make(self, compressor: Compressor, x: torch.Tensor, shape, keys=None, kept=None):
        """C of x by senders that kept these numbers (None: that have no past): (Compressed, what they keep now)."""
        if kept is None:
            return compressor.compress(x, shape, keys), None
        return compressor.compress_on(x, shape, kept, keys)

    def about(self, like: torch.Tensor) -> torch.Tensor:
        """Of which numbers the clients' messages of this round are: (lanes, cohort, *shape) bool."""
        who = self._who(like)
        part = self.sending.take(torch.ones_like(like, dtype=torch.bool), who, self._round)
        return self.sending.put(part, who, self._round, self.shape)

    def _who(self, x: torch.Tensor) -> np.ndarray:
        """Numbers of the cohort's clients: (lanes, cohort)."""
        if self._cohort is not None:
            return self._cohort
        return np.broadcast_to(np.arange(x.shape[1]), (len(x), x.shape[1]))

    def errors(self, lanes: int) -> dict[str, torch.Tensor]:
        """Relative error |C(v) - v|^2 / |v|^2 of the last messages that clients compressed in a watched round:
        `message_error`, the mean over the cohort, and `message_error_max`, each (lanes,); zero where there were
        none, {} where everything is sent whole."""
        if isinstance(self.compressor, Identity):
            return {}
        found = torch.zeros(lanes, 1) if self._errors is None else self._errors
        return {"message_error": found.mean(dim=-1), "message_error_max": found.amax(dim=-1)}

    def compress_down(self, x: torch.Tensor) -> Compressed:
        """The server's C of one tensor: x (lanes, *shape). Sends nothing yet."""
        keys = self._call() if self.downlink.random else None
        return self._with_past("down", self.downlink, x, self.shape, keys)

    def _call(self) -> np.ndarray:
        key = rng.fold(rng.fold(self._keys, self._round), self._calls)
        self._calls += 1
        return key

    def up(self, message: Compressed) -> torch.Tensor:
        """Every client of the cohort that may send sends its message; returns what the server decodes, for those who may
        not what it would."""
        share, bits, sent = self._share, message.bits, message.bits.total
        if self.senders is not None:
            may = self.may(*message.value.shape[:2])
            share, sent = share * (self.senders.shape[1] / may.shape[1]), sent * may.double()
            bits = Bits(
                *(self.heard(p) if torch.is_tensor(p) and p.dim() else p for p in _parts(bits))
            )
        self.counters[:, :3] += share * _by_lane(bits)
        self.sent_up = self.sent_up + sent
        return message.value

    def may(self, lanes: int, cohort: int) -> torch.Tensor:
        """Which of the cohort's clients may send: (lanes, cohort) bool."""
        if self.senders is None:
            return torch.ones(lanes, cohort, dtype=torch.bool)
        return torch.zeros(lanes, cohort, dtype=torch.bool).scatter_(1, self.senders, True)

    def heard(self, held: torch.Tensor) -> torch.Tensor:
        """The part of those who may send of what the cohort holds: (lanes, cohort, ...) -> (lanes, q, ...)."""
        if self.senders is None:
            return held
        return held[torch.arange(len(held))[:, None], self.senders]

    def down(self, x: torch.Tensor | Compressed) -> torch.Tensor:
        """The server sends one tensor (lanes, *shape), whole, or one message, to each client of the cohort."""
        message = x if isinstance(x, Compressed) else self.uncompressed(x, shape=tuple(x.shape[1:]))
        self.counters[:, 3] += self._share * message.bits.total
        self.sent_down = self.sent_down + message.bits.total
        return message.value


def choose(first_where: torch.Tensor, first: Compressed, second: Compressed) -> Compressed:
    """`first` for the clients where the mask (lanes, clients) says so, `second` for the others."""
    extra = first.value.dim() - first_where.dim()
    mask = first_where.reshape(*first_where.shape, *[1] * extra)
    bits = [
        a if _same(a, b) else torch.where(first_where, torch.as_tensor(a), torch.as_tensor(b))
        for a, b in zip(_parts(first.bits), _parts(second.bits), strict=True)
    ]
    draft = first.draft and first.draft.choose(first_where, second.draft)
    return Compressed(torch.where(mask, first.value, second.value), Bits(*bits), draft)


def _parts(bits: Bits):
    return bits.values, bits.indices, bits.metadata


def _same(a, b) -> bool:
    return not torch.is_tensor(a) and not torch.is_tensor(b) and a == b


def _by_lane(bits: Bits):
    """Bits of every message, numbers or (lanes, clients), as mean over clients: (3,) or (lanes, 3)."""
    parts = [torch.as_tensor(part, dtype=torch.float64) for part in _parts(bits)]
    means = [p.mean(dim=-1) if p.dim() else p for p in parts]
    return torch.stack(torch.broadcast_tensors(*means), dim=-1)
