"""Batch normalisation in a federation: torch's own modules as the oracle, and what crosses the network."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from helpers import digits_run, interrupted, result_bytes, run, small_problem, vary

from fewbits import registry, rng, train
from fewbits.compressors.identity import Identity
from fewbits.federation import engine, sampling
from fewbits.federation.assemble import lane_keys
from fewbits.federation.sampling import WORK
from fewbits.models.nets.layers import BatchNormOfRows

LOCAL = {"name": "sgd", "step": 0.05, "epochs": 2, "batch": 64, "momentum": 0.9}
HALF = {"name": "uniform", "fraction": 0.5}


@pytest.fixture
def digits():
    """A run of FedAvg on digits with a network that normalises by batch, to be varied."""
    return digits_run(
        model={"net": "digits_cnn", "parameters": {"norm": "batch"}, "train_metrics": False},
        partition={"clients": 4, "alpha": 1.0, "minimum": 30},
        local=LOCAL,
        rounds=2,
    )


def plain(f, net, streams, who):
    """Local work as torch does it by itself, on client `who`'s rows in the order that its stream names; changes `net`."""
    optimiser = torch.optim.SGD(net.parameters(), lr=LOCAL["step"], momentum=LOCAL["momentum"])
    plan = sampling.schedule(streams[who], int(f.sizes[who]), LOCAL["batch"], LOCAL["epochs"], None)
    net.train()
    for places, weights in zip(*plan, strict=True):
        rows = f.parts[who][places[weights > 0]]
        optimiser.zero_grad()
        logits = net(f.inputs(rows))
        torch.nn.functional.cross_entropy(logits, f.targets(rows)).backward()
        optimiser.step()


def numbers(net):
    """Parameters and running statistics, each as one vector."""
    moving = [b for b in net.buffers() if b.is_floating_point()]
    return [torch.cat([v.detach().flatten() for v in vs]) for vs in (net.parameters(), moving)]


def module(f, x):
    """The network itself at x."""
    net = copy.deepcopy(f.net)
    for buffer, start in f.running(torch.from_numpy(f.statistics)).items():
        net.get_buffer(buffer).copy_(start)
    torch.nn.utils.vector_to_parameters(x.clone(), net.parameters())
    return net


def streams_of(keys, round, f):
    in_round = sampling.round_keys(keys, round)
    return rng.fold(rng.fold(in_round, WORK)[0], np.arange(f.clients))


def one_batch(shared):
    f = shared.objective
    return engine.start(["a"], lane_keys([{"seed": 0}]), f.start("digits", 0)[None], np.ones(1), shared.setting())  # fmt: skip


class Last(engine.Observer):
    """Keeps the state of the last recorded round."""

    def recorded(self, batch):
        self.state, self.row = batch.state, dict(zip(batch.columns, batch.rows[-1][0], strict=True))


def finished(shared, rounds):
    batch, last = one_batch(shared), Last()
    engine.run(batch, shared.setting(), engine.Schedule(rounds, 1), last)
    return last


def test_local_work_is_torch_s_own(digits):
    """Several steps, the last batch of a pass being short: parameters and running statistics."""
    f = small_problem(digits).objective
    assert any(size % LOCAL["batch"] for size in f.sizes)
    x, keys = torch.from_numpy(f.start("digits", 0))[None], lane_keys([{"seed": 0}])
    held = torch.from_numpy(f.statistics).repeat(1, f.clients, 1)
    solver = registry.make("local", LOCAL)
    moved = solver.updates(f, x, None, keys, statistics=held)[0]
    streams = rng.fold(rng.fold(keys, WORK)[0], np.arange(f.clients))
    for i in range(f.clients):
        net = module(f, x[0])
        plain(f, net, streams, i)
        parameters, statistics = numbers(net)
        torch.testing.assert_close(x[0] - moved[i], parameters, rtol=1e-8, atol=1e-10)
        torch.testing.assert_close(held[0, i], statistics, rtol=1e-8, atol=1e-10)


def test_one_client_is_plain_training_and_is_evaluated_as_torch_does(digits):
    shared = small_problem(vary(digits, partition={"name": "contiguous", "clients": 1}))
    f, last = shared.objective, finished(shared, 2)
    net = module(f, torch.from_numpy(f.start("digits", 0)))
    for number in (1, 2):
        plain(f, net, streams_of(lane_keys([{"seed": 0}]), number, f), 0)
    parameters, statistics = numbers(net)
    tolerance = {"rtol": 1e-4, "atol": 1e-5}  # messages are float32
    torch.testing.assert_close(last.state["x"][0], parameters, **tolerance)
    torch.testing.assert_close(last.state["statistics"][0], statistics, **tolerance)
    with torch.no_grad():
        rows = f.inputs(np.arange(len(f.data.test_y)), torch.from_numpy(f.data.test_x))
        loss = torch.nn.functional.cross_entropy(net.eval()(rows), torch.from_numpy(f.data.test_y))
    assert last.row["test_loss"] == pytest.approx(loss.item(), rel=1e-3)


@pytest.mark.parametrize("server", [None, {"name": "momentum", "beta": 0.5}], ids=str)
def test_the_server_goes_on_with_the_mean_weighted_by_rows(digits, server):
    """By hand, whatever step and optimiser the server uses for the model."""
    shared = small_problem(vary(digits, local={"batch": 200}) | {"server": server})
    f, batch = shared.objective, one_batch(shared)
    held = torch.from_numpy(f.statistics).repeat(1, f.clients, 1)
    keys = sampling.round_keys(batch.keys, 1)
    shared.local.updates(f, batch.state["x"], None, keys, statistics=held)
    last = finished(shared, 1)
    share = torch.from_numpy(f.sizes / f.sizes.sum())
    wanted = (share[:, None] * held[0].float().double()).sum(dim=0)
    torch.testing.assert_close(last.state["statistics"][0], wanted, rtol=1e-12, atol=1e-12)


def test_statistics_are_counted_both_ways_by_the_cohort(digits, tmp_path):
    """One more message of S float32 numbers up, and of S numbers in the model's precision down."""
    half = digits | {"selection": HALF}
    f = small_problem(half).objective
    d, s = f.shape[0], len(f.statistics)
    assert s == 2 * (16 + 32)  # a mean and a variance of every channel
    table = run(tmp_path, run=half)["run"]
    up = sum(Identity().payload((n,)).total for n in (d, s))
    down = sum(Identity(wire="float64").payload((n,)).total for n in (d, s))
    assert np.diff(table.bits_up).tolist() == [0.5 * up] * 2
    assert np.diff(table.bits_down).tolist() == [0.5 * down] * 2
    assert table.bits_up[0] == table.bits_down[0] == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"local": {"batch": 200}},
        {"algorithm": {"name": "ef21"}, "compressor": {"name": "topk", "budget": 0.02}, "local": None},
        {"algorithm": {"name": "scaffold"}, "local": {"batch": 200, "momentum": 0.0}},
    ],
    ids=lambda c: c.get("algorithm", {"name": "fedavg"})["name"],
)  # fmt: skip
def test_same_bytes_in_company_and_after_a_stop(digits, tmp_path, monkeypatch, changes):
    monkeypatch.setattr(train, "CHECKPOINT_SECONDS", -1.0)
    chosen = vary(digits, model={"precision": "float32"}, selection=None, **changes)
    chosen |= {"selection": HALF, "step": {"value": 0.5}}
    lanes = {"a": chosen, "b": vary(chosen, step={"value": 0.2})}
    run(tmp_path / "together", **lanes)
    run(tmp_path / "alone", a=chosen)
    alone, company = result_bytes(tmp_path / "alone"), result_bytes(tmp_path / "together")
    assert all(company[path] == content for path, content in alone.items())
    with interrupted(1):
        run(tmp_path / "stopped", **lanes)
    run(tmp_path / "stopped", **lanes)
    assert result_bytes(tmp_path / "stopped") == company


def test_training_numbers_are_those_of_the_evaluated_network(digits):
    shared = small_problem(vary(digits, model={"train_metrics": True}, local={"batch": 200}))
    f, last = shared.objective, finished(shared, 1)
    net = module(f, last.state["x"][0]).eval()
    for name, value in f.running(last.state["statistics"][0]).items():
        net.get_buffer(name).copy_(value)
    losses = [
        torch.nn.functional.cross_entropy(net(f.inputs(part)), f.targets(part)).item()
        for part in f.parts
    ]
    assert last.row["loss"] == pytest.approx(np.mean(losses), rel=1e-9)
    with pytest.raises(ValueError, match="running statistics are needed"):
        f.measure(last.state["x"])


def test_a_row_alone_in_its_batch_is_normalised_by_the_running_statistics():
    """Batches of the last rows of a client may hold one; torch's own layer stops there."""
    layer = BatchNormOfRows(3)
    layer.running_mean[:] = torch.tensor([1.0, 2.0, 3.0])
    layer.running_var[:] = 4.0
    before = layer.running_mean.clone()
    torch.testing.assert_close(layer(torch.tensor([[3.0, 2.0, 3.0]])), torch.tensor([[1.0, 0, 0]]))
    assert torch.equal(layer.running_mean, before)
    rows = torch.arange(6.0).reshape(2, 3)
    torch.testing.assert_close(layer(rows).mean(dim=0), torch.zeros(3), atol=1e-6, rtol=0)
