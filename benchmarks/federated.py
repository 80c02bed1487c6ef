"""A round of FedAvg on a CPU: the engine against a plain PyTorch loop over clients, and against other simulators.

100 clients of 600 rows with MNIST's shapes, 10 of them a round, one local epoch in batches of 10 (McMahan et al. 2017's
B = 10, E = 1). Every contestant trains the same network on the same rows in this process, on one thread, turn by turn.
"""

from __future__ import annotations

import copy
import importlib
import time

import numpy as np
import torch

from fewbits.datasets.base import Arrays
from fewbits.federation import assemble, engine

CLIENTS, ROWS, COHORT, BATCH, STEP = 100, 600, 10, 10, 0.1
MODELS = {"two_nn": 2, "cnn": 1}  # rounds a turn
TURNS, MANY = 5, 10_000


def rows(clients: int = CLIENTS) -> tuple[Arrays, list[np.ndarray]]:
    """Noise in MNIST's shapes; timing does not depend on what is in the rows."""
    random = np.random.default_rng(0)
    x = random.integers(0, 256, (CLIENTS * ROWS, 784), np.uint8)
    y = random.integers(0, 10, CLIENTS * ROWS)
    test = random.integers(0, 256, (10_000, 784), np.uint8), random.integers(0, 10, 10_000)
    parts = np.arange(CLIENTS * ROWS).reshape(CLIENTS, ROWS)
    return Arrays(x, y, *test), [parts[i % CLIENTS] for i in range(clients)]


def assembled(net: str, clients: int = CLIENTS) -> assemble.Problem:
    spec = {
        "dataset": {"name": "mnist"},
        "model": {"name": "network", "net": net, "train_metrics": False},
        "algorithm": {"name": "fedavg"},
        "selection": {"name": "uniform", "fraction": COHORT / clients},
        "local": {"name": "sgd", "step": STEP, "epochs": 1, "batch": BATCH},
    }
    return assemble.problem(spec, *rows(clients))


class Engine:
    """What this project does."""

    def __init__(self, problem: assemble.Problem) -> None:
        self.problem, self.setting = problem, problem.setting()
        start = problem.objective.start("mnist", 0)[None]
        self.batch = engine.start(["run"], np.zeros(1, np.uint64), start, np.ones(1), self.setting)

    def rounds(self, count: int) -> None:
        for _ in range(count):
            self.batch.round += 1
            opened = self.setting.open(self.batch, self.setting.cohort(self.batch))
            self.batch.state = self.setting.algorithm.round(self.batch.state, opened)

    def evaluate(self) -> None:
        self.problem.objective.measure(self.batch.state["x"])


class Plain:
    """What one would write in an afternoon: for every client a copy of the network, for every batch a step."""

    def __init__(self, problem: assemble.Problem) -> None:
        f = problem.objective
        self.net = copy.deepcopy(f.net)
        self.clients = [(f.inputs(part).clone(), f.targets(part)) for part in f.parts]
        self.random = torch.Generator().manual_seed(0)

    def rounds(self, count: int) -> None:
        for _ in range(count):
            cohort = torch.randperm(len(self.clients), generator=self.random)[:COHORT].tolist()
            sums = [torch.zeros_like(p) for p in self.net.parameters()]
            total = sum(len(self.clients[i][1]) for i in cohort)
            for i in cohort:
                x, y = self.clients[i]
                local = self.work(x, y)
                for whole, own in zip(sums, local.parameters(), strict=True):
                    whole += own.detach() * (len(y) / total)
            with torch.no_grad():
                for p, whole in zip(self.net.parameters(), sums, strict=True):
                    p.copy_(whole)

    def work(self, x, y, net=None):
        """What a client's local work on its rows makes of the network."""
        local = copy.deepcopy(net or self.net)
        optimiser = torch.optim.SGD(local.parameters(), lr=STEP)
        for chosen in torch.randperm(len(y), generator=self.random).split(BATCH):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(local(x[chosen]), y[chosen]).backward()
            optimiser.step()
        return local


class Bare:
    """Nothing but forward and backward passes, of as many batches as a round has, in the layout that is fastest."""

    def __init__(self, problem: assemble.Problem) -> None:
        f = problem.objective
        self.net = copy.deepcopy(f.net)
        batches = [part[i : i + BATCH] for part in f.parts[:COHORT] for i in range(0, ROWS, BATCH)]
        self.batches = [(f.inputs(rows), f.targets(rows)) for rows in batches]

    def rounds(self, count: int) -> None:
        parameters = list(self.net.parameters())
        for x, y in count * self.batches:
            torch.autograd.grad(torch.nn.functional.cross_entropy(self.net(x), y), parameters)


def contestants(net: str) -> dict:
    """Everything that is here to be timed, by name; says what is left out and how to have it."""
    problem, many = assembled(net), assembled(net, MANY)
    plain = Plain(problem)
    found = {
        "plain loop": plain,
        "engine": Engine(problem),
        f"engine, {MANY:,} clients": Engine(many),
    }
    found["passes alone"] = Bare(problem)
    data, parts = rows()
    args = COHORT, BATCH, STEP
    simulators = {
        "FedJAX": ("fedjax", lambda m: m.FedJAX(net, data.x, data.y, parts, *args)),
        "pfl": ("pfl", lambda m: m.Pfl(plain.net, plain.clients, *args)),
    }
    for name, (module, make) in simulators.items():
        made = optional(module)
        if made is not None:
            found[name] = make(made)
    return found


def optional(module: str):
    """A module of benchmarks/simulators, None (and a line) where what it is about is not installed."""
    try:
        return importlib.import_module(f"benchmarks.simulators.{module}")
    except ImportError as error:
        print(
            f"{module}: left out ({error}); in a copy of the environment: pip install -e '.[simulators]'"
        )
        return None


def race(racers: dict, count: int, turns: int = TURNS) -> dict[str, float]:
    """Median seconds of processor time a round; they take turns."""
    for racer in racers.values():
        racer.rounds(1)
    spent = {name: [] for name in racers}
    for _ in range(turns):
        for name, racer in racers.items():
            spent[name].append(timed(lambda racer=racer: racer.rounds(count)) / count)
    return {name: float(np.median(times)) for name, times in spent.items()}


def timed(function) -> float:
    """Seconds of processor time."""
    began = time.process_time()
    function()
    return time.process_time() - began


def main() -> None:
    torch.set_num_threads(1)
    flower = optional("flower")
    for net, count in MODELS.items():
        racers = contestants(net)
        found = race(racers, count)
        found["evaluation of 10,000 rows"] = timed(racers["engine"].evaluate)
        if flower is not None:
            found["Flower"] = flower.seconds_a_round(net, CLIENTS, COHORT, count)
        print(f"{net:28} seconds a round   over the engine's")
        for name, seconds in found.items():
            print(f"  {name:26} {seconds:12.3f} {seconds / found['engine']:16.2f}", flush=True)


if __name__ == "__main__":
    main()
