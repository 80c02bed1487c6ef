"""A client's numbers do not depend on who is computed beside it, bit for bit: processes that hold some clients each give the
simulator's results."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fewbits import registry, rng
from fewbits.aligned import BYTES, aligned, bmm
from fewbits.federation.space.base import Frames
from fewbits.federation.space.work import Within
from fewbits.models.objectives.own_tests import OwnTests
from fewbits.projectors import PROJECTORS

SIZES = (13, 38, 38, 5, 1, 20, 7, 38)
LOCAL = [
    {"name": "gradient"},
    {"name": "gradient", "batch": 7},
    {"name": "sgd", "steps": 5},
    {"name": "sgd", "steps": 5, "batch": 1},
    {"name": "sgd", "epochs": 2, "batch": 3},
    {"name": "sgd", "epochs": 2, "batch": 10},
    {"name": "sgd", "steps": 5, "batch": 3, "momentum": 0.5},
    {"name": "sgd", "epochs": 1, "proximal": 0.1},
    {"name": "sgd", "epochs": 2, "batch": 9,
     "terms": {"feddecorr": {"coefficient": 0.1, "loss_scale": "code"}, "moon": {}}},
    {"name": "adamw", "steps": 3, "batch": 9},
]  # fmt: skip


@functools.cache
def problem(dataset, hidden: tuple[int, ...], tanh: bool, bias: bool, clients=SIZES, norm="none"):
    """Features, hidden units and classes that are no multiples of 16; clients of different sizes."""
    source = registry.find("dataset", dataset)
    data = registry.make("dataset", {"name": dataset}).load()
    order = rng_of(0).permutation(len(data.y))
    parts = np.split(order[: sum(clients)], np.cumsum(clients)[:-1])
    parameters = {"hidden": list(hidden), "bias": bias, "activation": "tanh" if tanh else "relu"}
    parameters |= {} if norm == "none" else {"norm": norm}
    net = {"net": "mlp", "parameters": parameters} if hidden else {"net": "logistic"}
    model = registry.make("model", {"name": "network", "precision": "float32", **net})
    return model.objective(data, parts, source)


def rng_of(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def solver(block: dict):
    step = {} if block["name"] == "gradient" else {"step": 0.1}
    return registry.make("local", {**step, **block})


def updates(work, f, x, cohort: list[int]) -> torch.Tensor:
    held = work.initial(x, f.clients)
    own = {name: value[:, cohort] for name, value in held.items()}
    keys = rng.fold(rng.stream("company"), np.arange(1))
    return work.updates(f, x, torch.tensor([cohort]), keys, held=own)[0]


@pytest.mark.parametrize("block", LOCAL, ids=str)
@given(
    dataset=st.sampled_from(["digits", "breast_cancer"]),
    hidden=st.sampled_from([(), (17,), (30, 9), (13,), (64, 200)]),
    tanh=st.booleans(),
    bias=st.booleans(),
    cohort=st.sets(st.integers(0, len(SIZES) - 1), min_size=1).map(sorted),
)
def test_an_update_is_the_same_in_any_company(block, dataset, hidden, tanh, bias, cohort):
    f, work = problem(dataset, hidden, tanh, bias), solver(block)
    x = torch.from_numpy(f.start(dataset, 0)[None])
    start = x.clone()
    alone = updates(work, f, x, cohort)
    assert torch.equal(x, start)  # which all clients read in place
    assert torch.equal(alone, all_updates(dataset, hidden, tanh, bias, LOCAL.index(block))[cohort])


@functools.cache
def all_updates(dataset, hidden, tanh, bias, number: int) -> torch.Tensor:
    f = problem(dataset, hidden, tanh, bias)
    x = torch.from_numpy(f.start(dataset, 0)[None])
    return updates(solver(LOCAL[number]), f, x, list(range(f.clients)))


@pytest.mark.parametrize("batch", [3, 9, None])
@pytest.mark.parametrize("hidden", [(17,), (30, 9), (64, 200)])
def test_with_batch_normalisation_too(hidden, batch):
    """Models and running statistics."""
    f = problem("digits", hidden, True, True, norm="batch")
    x = torch.from_numpy(f.start("digits", 0)[None])
    block = {"name": "sgd", "epochs": 2, "momentum": 0.5} | ({"batch": batch} if batch else {})
    keys, work = rng.fold(rng.stream("company"), np.arange(1)), solver(block)

    def of(cohort: list[int]):
        statistics = torch.from_numpy(f.statistics).repeat(1, len(cohort), 1)
        made = work.updates(f, x, torch.tensor([cohort]), keys, statistics=statistics)
        return made[0], statistics[0]

    together = of(list(range(f.clients)))
    for cohort in ([0, 3], [4], [1, 2, 5, 7]):
        for alone, all_ in zip(of(cohort), together, strict=True):
            assert torch.equal(alone, all_[cohort])


@pytest.mark.parametrize("space", [{"name": "low_rank", "rank": 3}, {"name": "mask", "share": 0.3}])
def test_in_a_space_too(space):
    f = problem("breast_cancer", (17,), False, True)
    x = torch.from_numpy(f.start("breast_cancer", 0)[None])
    frames = Frames(registry.make("space", space), f.layers)
    work = Within(solver(LOCAL[6]), frames)
    together = updates(work, f, x, list(range(f.clients)))
    for cohort in ([0, 3], [4], [1, 2, 5, 7]):
        assert torch.equal(updates(work, f, x, cohort), together[cohort])


@pytest.mark.parametrize("hidden", [(17,), (30, 9)])
def test_what_clients_get_right_of_their_own_test_rows_too(hidden):
    f = problem("digits", hidden, False, True)
    tests = OwnTests(f, f.data, f.parts)
    models = torch.from_numpy(np.stack([f.start("digits", seed) for seed in range(f.clients)]))
    together, shared = tests(models[None]), tests(models[:1])
    for who in ([0, 3], [4], [1, 2, 5, 7]):
        assert torch.equal(tests(models[None, who], np.array(who)), together[:, who])
        assert torch.equal(tests(models[:1], np.array(who)), shared[:, who])
    inputs = torch.from_numpy(rng_of(0).random((len(models), 5, 64), np.float32))
    logits = f.logits_apart(models, inputs)
    assert torch.equal(f.logits_apart(models[3:4], inputs[3:4]), logits[3:4])


@pytest.mark.parametrize("kind", sorted(PROJECTORS))
def test_projections_too(kind):
    for d, k in ((300, 1), (300, 37), (2410, 241)):
        P = PROJECTORS[kind](3, k, d, torch.float32)
        x, v = (torch.from_numpy(rng_of(0).random((40, n), np.float32)) for n in (d, k))
        for who in ([0, 3], [39], list(range(10, 27))):
            assert torch.equal(P.forward(x[who]), P.forward(x)[who])
            assert torch.equal(P.adjoint(v[who]), P.adjoint(v)[who])


def test_what_begins_so_is_left_where_it_is():
    x = torch.randn(3, 4, 5)
    placed = aligned(x)
    assert torch.equal(placed, x) and placed.stride(0) * placed.element_size() % BYTES == 0
    assert aligned(placed).data_ptr() == placed.data_ptr() != x.data_ptr()
    assert aligned(placed[1:]).data_ptr() == placed[1:].data_ptr()
    torch.testing.assert_close(bmm(placed, placed.transpose(1, 2)), x @ x.transpose(1, 2))
