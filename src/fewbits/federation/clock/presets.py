"""Links by the place where clients are: order of magnitude, our choice of rates.

Zhu et al. (2021, Delayed Gradient Averaging) name the latencies: under a microsecond in a rack, 20 ms over wireless, 100 ms and more
across an ocean, about 200 ms on mobile networks, and they measure at 1 s. We take them for the time there and back, so one way is
half of it.
"""

from __future__ import annotations

from typing import NamedTuple


class Link(NamedTuple):
    """bit/s, bit/s, and seconds one way."""

    uplink: float
    downlink: float
    latency: float


PRESETS = {
    "rack": Link(100e9, 100e9, 0.5e-6),
    "campus": Link(10e9, 10e9, 0.5e-3),
    "home": Link(20e6, 100e6, 0.01),
    "ocean": Link(50e6, 50e6, 0.08),
    "mobile": Link(5e6, 20e6, 0.1),
    "stress": Link(100e6, 100e6, 0.5),
}
