"""Time of rounds event by event, where a client may work while its messages are on the way."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from fewbits import rng
from fewbits.federation.clock.base import Clock, Happened, speeds
from fewbits.federation.clock.presets import PRESETS
from fewbits.federation.clock.ring import all_reduce
from fewbits.lazy import torch
from fewbits.registry import plugin

JITTER = rng.stream("jitter of a step")

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@plugin
class Events(Clock):
    """Who waits for whom, client i of a cohort, round t, D steps of delay after K local steps (0: synchronous):

        model of round t at i   = max(server has round t-1, downlink of i is free) + bits down / downlink + latency
        work of round t at i    begins when the last has ended, and goes on after so many steps as
                                D is past a round's end only once the model is there that is due then
        message of round t      leaves i at max(its work has ended, uplink of i is free), + bits up / uplink + latency
        server has round t      when the last message has come; `seconds`

    These are the times of a discrete-event simulation with serial links, as recurrences: no event needs a queue, since a
    client's messages keep their order. Tests hold them equal to an event loop, and to closed forms where there are such.

    link: uplink, downlink (bit/s) and one-way latency (s) of a preset (presets.py); each may be given instead. step_seconds,
    row_seconds: of work, as in `links`; spread: of the clients' speeds, jitter: of each step's time, standard deviations of the
    logarithm. message_seconds: what a message takes of its client's own time, before it leaves. ring: in place of a server, a
    ring all-reduce of the uplink's messages (ring.py), one after the other; then nothing goes down. `busy`: the share of the time in which clients
    worked, mean of all. The server's own link is not modelled.
    """

    name: ClassVar[str] = "events"
    shows: ClassVar[tuple[str, ...]] = ("seconds", "busy")

    link: Literal["rack", "campus", "home", "ocean", "mobile", "stress"] | None = None
    uplink: Rate | None = None
    downlink: Rate | None = None
    latency: Seconds | None = None
    step_seconds: Seconds = 0.0
    row_seconds: Seconds = 0.0
    message_seconds: Seconds = 0.0
    spread: Seconds = 0.0
    jitter: Seconds = 0.0
    ring: bool = False

    def check(self, selection) -> str | None:
        """Why this cannot be used with that selection of clients, or None."""
        if self.link is None and (self.uplink is None or self.downlink is None):
            return "needs a link, or uplink and downlink"
        if self.ring and selection is not None:
            return "ring is of clients that all take part, so leave selection out"
        return None

    def initial(self, lanes, clients, late):
        zeros = torch.zeros(lanes, clients, dtype=torch.float64)
        names = ("free", "up_free", "down_free", "known", "worked")
        ready = zeros[:, None].repeat(1, late[0], 1)
        shown = {"seconds": zeros[:, 0].clone(), "busy": zeros[:, 0].clone()}
        return shown | {name: zeros.clone() for name in names} | {"ready": ready}

    def advance(self, memory, happened):
        own = {k: v.gather(-1, happened.who) for k, v in memory.items() if v.dim() == 2}
        ready = memory["ready"]
        gate, own["down_free"] = self._down(own, happened.down)
        if happened.number:  # the oldest model on the way is the one that is due
            ready = torch.cat([ready, gate[:, None]], dim=1) if ready.shape[1] else gate[:, None]
            gate, ready = ready[:, 0], ready[:, 1:]
        before, after = self._work(happened)
        end = torch.maximum(own["free"] + before, gate) + after
        own["worked"] = own["worked"] + before + after
        up = torch.as_tensor(happened.up, dtype=torch.float64).expand(end.shape)
        own["free"] = end + self.message_seconds * (up > 0)
        if self.ring:
            begin = torch.maximum(own["free"], own["known"])
            link = self._value("uplink"), self._value("latency")
            own["known"] = all_reduce(begin, up.amax(dim=1), *link)
            seconds = own["known"].amax(dim=1)
        else:
            seconds = self._up(own, up).amax(dim=1)
        after_it = {k: memory[k].scatter(-1, happened.who, v) for k, v in own.items()}
        if not self.ring:
            after_it["known"] = seconds[:, None].expand_as(memory["known"]).clone()
        share = after_it["worked"].mean(dim=1) / seconds
        busy = torch.where(seconds > 0, share, 0.0)
        return after_it | {"ready": ready.contiguous(), "seconds": seconds, "busy": busy}

    def _down(self, own, down):
        """When the model of this round is there, and the downlink free again."""
        down = torch.as_tensor(down, dtype=torch.float64).expand(own["known"].shape)
        if self.ring:
            return own["known"], own["down_free"]
        free = torch.maximum(own["known"], own["down_free"]) + down / self._value("downlink")
        arrives = free + self._value("latency")
        return torch.where(down > 0, arrives, own["known"]), torch.where(down > 0, free, own["down_free"])  # fmt: skip

    def _up(self, own, up):
        """When each client's message is at the server; brings up_free up to date."""
        free = torch.maximum(own["free"], own["up_free"]) + up / self._value("uplink")
        own["up_free"] = torch.where(up > 0, free, own["up_free"])
        return torch.where(up > 0, free + self._value("latency"), own["free"])

    def _work(self, happened: Happened):
        """Seconds of each client's work before and after the model arrives: (lanes, m) each."""
        steps, rows = happened.work
        busy = self.step_seconds * steps + self.row_seconds * rows
        each = busy / np.maximum(steps, 1) * speeds(happened.keys, happened.who, self.spread)
        early, late = np.minimum(steps, happened.late[1]), np.maximum(steps - happened.late[1], 0)
        if self.jitter and steps.size:
            streams = rng.fold(rng.fold(happened.keys, JITTER), happened.number)
            streams = rng.fold(streams[:, None], happened.who.numpy())
            factors = np.exp(self.jitter * rng.normals(streams, int(steps.max())))
            number = np.arange(factors.shape[-1])
            first, real = number < happened.late[1], number < steps[..., None]
            early = np.where(first & real, factors, 0).sum(axis=-1)
            late = np.where(~first & real, factors, 0).sum(axis=-1)
        return torch.from_numpy(each * early), torch.from_numpy(each * late)

    def _value(self, name: str) -> float:
        """uplink, downlink or latency."""
        given = getattr(self, name)
        if given is not None:
            return given
        return getattr(PRESETS[self.link], name) if self.link else 0.0
