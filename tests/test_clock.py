"""The clock that lets work and messages overlap: against an event loop, closed forms, and the clock that waits."""

from __future__ import annotations

import heapq

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fewbits import registry
from fewbits.federation.clock.base import Happened
from fewbits.federation.clock.presets import PRESETS
from fewbits.federation.local.base import Work

KEYS = np.array([11, 12], np.uint64)
SLOW = {"name": "events", "uplink": 1e9, "downlink": 1e9, "step_seconds": 0.1}


def clock(**given):
    return registry.make("clock", {**SLOW, **given})


def rounds(made, count, *, clients=4, steps=1, delay=0, up=0.0, down=0.0, keys=KEYS, rows=0.0):
    """What is recorded after each of `count` rounds, `seconds` and `busy`: (count, 2, lanes). up, down: bits."""
    late = divmod(delay, steps)
    memory, found = made.initial(len(keys), clients, late), []
    who = torch.arange(clients).expand(len(keys), -1)
    work = Work(np.full(who.shape, float(steps)), np.full(who.shape, float(rows)))
    for number in range(1, count + 1):
        memory = made.advance(memory, Happened(keys, number, who, work, up, down, late))
        assert all(len(value) == len(keys) for value in memory.values())
        found.append([memory["seconds"].numpy(), memory["busy"].numpy()])
    return np.array(found)


def per_step(made, count=60, steps=1, **options):
    """Seconds a local step takes in the long run."""
    seconds = rounds(made, 2 * count, steps=steps, **options)[:, 0, 0]
    return (seconds[-1] - seconds[count - 1]) / count / steps


class Loop:
    """Delayed averaging through a server, event by event: a heap of (time, order, what happens)."""

    def __init__(self, step_times, K, delay, up, down, latency):
        self.times, self.K, self.delay = step_times, K, delay  # (clients, rounds * K)
        self.up, self.down, self.latency = up, down, latency  # seconds on the link each
        clients = len(step_times)
        self.heap, self.order = [], 0
        self.done, self.working = [0] * clients, [False] * clients
        self.models = [0] * clients  # the newest that each client has; model t is round t's result
        self.up_free, self.down_free = [0.0] * clients, [0.0] * clients
        self.came, self.have_all = {}, {}
        for i in range(clients):
            self.at(0.0, self.work, i)
            self.at(0.0, self.send_down, i, 0)

    def at(self, time, what, *how):
        self.order += 1
        heapq.heappush(self.heap, (time, self.order, what, how))

    def run(self):
        while self.heap:
            time, _, what, how = heapq.heappop(self.heap)
            what(time, *how)
        return [self.have_all[t] for t in sorted(self.have_all)]

    def work(self, now, i):
        """Begin the next step, unless it needs a model that is not there."""
        n = self.done[i]
        needed = (n - self.delay) // self.K + 1  # models 1, 2, ... as they are numbered in `models`
        if (
            self.working[i]
            or n == self.times.shape[1]
            or (n >= self.delay and self.models[i] < needed)
        ):
            return
        self.working[i] = True
        self.at(now + self.times[i, n], self.step_ends, i)

    def step_ends(self, now, i):
        self.working[i], self.done[i] = False, self.done[i] + 1
        if self.done[i] % self.K == 0:
            leaves = max(now, self.up_free[i])
            self.up_free[i] = leaves + self.up
            self.at(self.up_free[i] + self.latency, self.arrives, self.done[i] // self.K)
        self.work(now, i)

    def arrives(self, now, number):
        self.came[number] = self.came.get(number, 0) + 1
        if self.came[number] == len(self.done):
            self.have_all[number] = now
            for i in range(len(self.done)):
                self.send_down(now, i, number)

    def send_down(self, now, i, number):
        self.down_free[i] = max(now, self.down_free[i]) + self.down
        self.at(self.down_free[i] + self.latency, self.model_comes, i, number)

    def model_comes(self, now, i, number):
        self.models[i] = number + 1
        self.work(now, i)


@given(
    clients=st.integers(1, 4), K=st.integers(1, 4), delay=st.integers(0, 9), jitter=st.sampled_from([0.0, 0.4]),
    up=st.sampled_from([0.01, 0.3, 2.0]), down=st.sampled_from([0.01, 0.5]), latency=st.sampled_from([0.0, 0.05, 1.0]),
)  # fmt: skip
def test_recurrences_are_the_times_of_an_event_loop(clients, K, delay, jitter, up, down, latency):
    made = clock(uplink=1e3, downlink=1e3, latency=latency, jitter=jitter, spread=0.3)
    count, keys = 7, KEYS[:1]
    who = torch.arange(clients)[None]
    work = Work(np.full((1, clients), float(K)), np.zeros((1, clients)))
    # The time of each step, by asking for the work before and after each number of steps.
    times = np.empty((clients, count * K))
    for number in range(1, count + 1):
        sums = [
            made._work(Happened(keys, number, who, work, 0, 0, (0, k)))[0][0] for k in range(K + 1)
        ]
        times[:, (number - 1) * K : number * K] = torch.stack(sums, dim=1).diff(dim=1)
    expected = Loop(times, K, delay, up, down, latency).run()
    ours = rounds(
        made, count, clients=clients, steps=K, delay=delay, up=1e3 * up, down=1e3 * down, keys=keys
    )
    np.testing.assert_allclose(ours[:, 0, 0], expected, rtol=1e-9)


TRIP = 0.3  # there and back: twice the latency, and what the bits take


@pytest.mark.parametrize("steps", [1, 5, 20])
def test_without_delay_a_step_takes_its_work_and_its_share_of_the_trip(steps):
    """c + T/K."""
    assert per_step(clock(latency=TRIP / 2), steps=steps, up=1, down=1) == pytest.approx(0.1 + TRIP / steps, rel=1e-6)  # fmt: skip


@pytest.mark.parametrize("delay", [0, 1, 2, 3, 5, 9, 10, 12, 20])
def test_with_delay_and_a_message_a_step(delay):
    """max(c, (c + T)/(D + 1)): at D c >= T nobody waits."""
    made = clock(latency=0.5)
    assert per_step(made, up=1, down=1, delay=delay) == pytest.approx(max(0.1, 1.1 / (delay + 1)), rel=1e-6)  # fmt: skip


@pytest.mark.parametrize(("steps", "delay"), [(10, 10), (10, 13), (4, 10), (7, 30)])
def test_a_delay_longer_than_the_trip_leaves_the_work_alone(steps, delay):
    made = clock(latency=0.5)
    assert per_step(made, steps=steps, up=1, down=1, delay=delay) == pytest.approx(0.1, rel=1e-6)
    busy = rounds(made, 400, steps=steps, up=1, down=1, delay=delay)[-1, 1, 0]
    assert busy == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("delay", [0, 10, 20, 100])
def test_no_delay_is_faster_than_the_link(delay):
    """A round takes at least bits / uplink; hiding latency helps until there."""
    made = clock(uplink=1e6, latency=0.01)
    takes = 10 * per_step(made, steps=10, up=8e6, down=1, delay=delay)
    assert takes >= 8 * (1 - 1e-9)
    assert takes == pytest.approx(8 if delay else 1 + 8 + 0.02, rel=1e-4) or delay == 10


@pytest.mark.parametrize(("clients", "bits"), [(1, 1e6), (2, 1e6), (8, 1e6), (8, 0.0)])
def test_a_ring_of_equal_nodes(clients, bits):
    """K c + 2 (J - 1) (latency + S / (J U)) a round."""
    made = clock(ring=True, uplink=1e6, latency=0.01)
    takes = 5 * per_step(made, steps=5, clients=clients, up=bits)
    assert takes == pytest.approx(0.5 + 2 * (clients - 1) * (0.01 + bits / clients / 1e6), rel=1e-9)


@pytest.mark.parametrize(("latency", "expected"), [(0.005, 0.2), (0.05, 0.7)])
def test_a_delay_hides_a_ring_but_all_reduces_take_their_turn(latency, expected):
    """max(K c, 2 (J - 1) (latency + S / (J U))) a round."""
    made = clock(ring=True, latency=latency)
    found = [2 * per_step(made, steps=2, clients=8, up=8.0, delay=d) for d in (0, 20)]
    assert found == pytest.approx([0.2 + 14 * latency, expected], rel=1e-6)


def test_a_ring_waits_for_its_slowest_node_and_delay_takes_that_wait_away():
    made = clock(ring=True, latency=0.001, jitter=0.5)
    waiting, delayed = (per_step(made, 300, clients=8, up=8.0, delay=d) for d in (0, 20))
    mean = 0.1 * np.exp(0.5**2 / 2)
    assert delayed == pytest.approx(mean, rel=0.05)
    assert waiting > 1.5 * mean  # of eight the slowest


@pytest.mark.parametrize("spread", [0.0, 0.7])
def test_without_delay_it_is_the_clock_that_waits(spread):
    """Any cohort, clients of their own sizes: exactly what `links` gives, to rounding."""
    given = {"uplink": 3e3, "downlink": 7e3, "latency": 0.2, "step_seconds": 0.01, "row_seconds": 0.02, "spread": spread}  # fmt: skip
    made = [registry.make("clock", {"name": name, **given}) for name in ("links", "events")]
    random, memories = np.random.default_rng(0), [m.initial(2, 6, (0, 0)) for m in made]
    for number in range(12):
        who = torch.from_numpy(np.stack([np.sort(random.permutation(6)[:3]) for _ in KEYS]))
        work = Work(*random.integers(1, 9, (2, 2, 3)).astype(float))
        sent = [torch.from_numpy(random.uniform(0, 5e3, (2, 3))), 900.0 * (number % 3)]
        if number == 0:
            who, work, sent = (
                torch.arange(6).expand(2, -1),
                Work(*np.zeros((2, 2, 6))),
                [640.0, 0.0],
            )
        happened = Happened(KEYS, number, who, work, *sent)
        memories = [m.advance(memory, happened) for m, memory in zip(made, memories, strict=True)]
    assert (memories[0]["seconds"] > 1).all()
    torch.testing.assert_close(memories[1]["seconds"], memories[0]["seconds"], rtol=1e-12, atol=0)


def test_lanes_do_not_influence_each_other():
    made = clock(latency=0.1, jitter=0.3, spread=0.3)
    both = rounds(made, 20, steps=3, delay=5, up=1e8, down=1e6)
    for lane, key in enumerate(KEYS):
        alone = rounds(made, 20, steps=3, delay=5, up=1e8, down=1e6, keys=np.array([key]))
        np.testing.assert_array_equal(alone[:, :, 0], both[:, :, lane])
    assert (both[:, 0, 0] != both[:, 0, 1]).all()


def test_what_a_message_costs_its_client_is_not_hidden_by_delay():
    made = clock(latency=0.5, message_seconds=0.2)
    assert 10 * per_step(made, steps=10, up=1, down=1, delay=20) == pytest.approx(1.2)
    assert rounds(made, 300, steps=10, up=1, down=1, delay=20)[-1, 1, 0] == pytest.approx(1 / 1.2, abs=0.01)  # fmt: skip


@pytest.mark.parametrize("name", PRESETS)
def test_presets(name):
    made = registry.make("clock", {"name": "events", "link": name, "step_seconds": 0.01})
    link = PRESETS[name]
    assert 0 < link.uplink <= link.downlink
    takes = rounds(made, 1, clients=1, up=1e6, down=1e6)[0, 0, 0]
    assert takes == pytest.approx(0.01 + 2 * link.latency + 1e6 / link.uplink + 1e6 / link.downlink)
    faster = registry.make("clock", {"name": "events", "link": name, "latency": 0, "uplink": 1e12})
    assert rounds(faster, 1, clients=1, up=1e6, down=1e6)[0, 0, 0] < takes


def test_links_are_needed():
    assert "uplink" in registry.make("clock", {"name": "events"}).check(None)
    assert clock().check(None) is None
    half = registry.make("selection", {"name": "uniform", "fraction": 0.5})
    assert "ring" in clock(ring=True).check(half)
