"""Time of a synchronous round, in closed form: the server waits for the slowest client of the cohort."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from fewbits.federation.clock.base import Clock, speeds
from fewbits.federation.local.base import Work
from fewbits.lazy import torch
from fewbits.registry import plugin

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@plugin
class Links(Clock):
    """max over the cohort of  latency + bits down / downlink + work + latency + bits up / uplink.

    The work of a client is `step_seconds` for each local step and `row_seconds` for each row that it takes a gradient of,
    times a factor of its own: log-normal with standard deviation `spread` of its logarithm, drawn once in a run. uplink and
    downlink in bit/s. The server's own work takes no time. A start-up message costs a round without work.
    """

    name: ClassVar[str] = "links"

    uplink: Rate
    downlink: Rate
    latency: Seconds = 0.0
    step_seconds: Seconds = 0.0
    row_seconds: Seconds = 0.0
    spread: Seconds = 0.0

    def check(self, algorithm) -> str | None:
        """Why this cannot be used with that method, or None."""
        if algorithm.delay:
            return "its closed form is of clients that wait for each other; for a delay take {name: events, ...}"
        return None

    def advance(self, memory, happened):
        took = self.seconds(happened.keys, happened.who, happened.work, happened.up, happened.down)
        return {"seconds": memory["seconds"] + took}

    def seconds(self, keys: np.ndarray, who: torch.Tensor, work: Work, up, down) -> torch.Tensor:
        """(lanes,) float64. keys (lanes,): the runs' streams; who (lanes, m): the cohort; work: (lanes, m) each; up, down: bits
        of each client, numbers or (lanes, m)."""
        busy = self.step_seconds * work.steps + self.row_seconds * work.rows
        busy = busy * speeds(keys, who, self.spread)
        up, down = (torch.as_tensor(bits, dtype=torch.float64) for bits in (up, down))
        trips = self.latency * ((up > 0).double() + (down > 0).double())
        total = torch.from_numpy(busy) + trips + up / self.uplink + down / self.downlink
        return total.expand(who.shape).amax(dim=1)


@plugin
class Phones(Links):
    """Phones on a mobile network: 1 MB/s up, which McMahan et al. (2017, section 1) take for the upper end; the rest is our
    choice."""

    name: ClassVar[str] = "phones"

    uplink: Rate = 8e6
    downlink: Rate = 40e6
    latency: Seconds = 0.05
    step_seconds: Seconds = 1e-3
    row_seconds: Seconds = 1e-4
    spread: Seconds = 0.5


@plugin
class Offices(Links):
    """Sites on the internet, a workstation each (our choice of numbers)."""

    name: ClassVar[str] = "offices"

    uplink: Rate = 50e6
    downlink: Rate = 200e6
    latency: Seconds = 0.02
    step_seconds: Seconds = 3e-4
    row_seconds: Seconds = 1e-5
    spread: Seconds = 0.2


@plugin
class Racks(Links):
    """Machines of one data centre on 10 Gbit/s (our choice of numbers)."""

    name: ClassVar[str] = "racks"

    uplink: Rate = 10e9
    downlink: Rate = 10e9
    latency: Seconds = 1e-4
    step_seconds: Seconds = 1e-4
    row_seconds: Seconds = 1e-6
