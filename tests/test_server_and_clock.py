"""Server optimisers, SCAFFOLD, step decay, the simulated clock, and what is recorded of clients."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from helpers import digits_run, methods, run, vary

from fewbits import registry, rng
from fewbits.federation import assemble
from fewbits.federation.local.base import Work

# Methods whose server holds no model say so, and are refused with an optimiser.
WITHOUT = {
    name
    for name, m in methods().items()
    if "server"
    in inspect.signature(
        getattr(registry.find("algorithm", m["algorithm"]["name"]), "check", len)
    ).parameters
}
LOCAL = {"name": "sgd", "step": 0.1, "epochs": 2, "batch": 10}
MOMENTUM = {"name": "momentum", "beta": 0.9}
SERVERS = [
    MOMENTUM,
    MOMENTUM | {"nesterov": True},
    {"name": "adaptive"},
    {"name": "adaptive", "rule": "yogi"},
    {"name": "adaptive", "rule": "adagrad"},
]


@pytest.fixture
def digits():
    """A run of FedAvg on digits, to be varied."""
    return digits_run(local=LOCAL)


@pytest.mark.parametrize("name", sorted(set(methods()) - WITHOUT))
def test_every_method_takes_the_server_s_step(spec, tmp_path, name):
    chosen = vary(spec, rounds=5, **methods()[name]) | {"step": {"value": 0.2}}
    chosen.pop("server", None)
    servers = {"none": {"name": "momentum", "beta": 0.0}, "momentum": MOMENTUM, "adam": {"name": "adaptive"}}  # fmt: skip
    specs = {name: chosen | {"server": server} for name, server in servers.items()}
    tables = run(tmp_path, plain=chosen, **specs)
    np.testing.assert_array_equal(tables["none"], tables["plain"])
    for name in ("momentum", "adam"):
        assert abs(tables[name].loss.iloc[-1] - tables["plain"].loss.iloc[-1]) > 1e-9


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_by_hand(nesterov):
    """As torch.optim.SGD has it, where the step multiplies the buffer (torch.optim takes seconds to import)."""
    server = registry.make("server", MOMENTUM | {"nesterov": nesterov})
    x, expected, buffer = torch.ones(1, 3, dtype=torch.float64), torch.ones(3), torch.zeros(3)
    memory = server.initial(x)
    for number in range(4):
        gradient = torch.arange(3.0) - number
        buffer = 0.9 * buffer + gradient
        expected = expected - 0.3 * (gradient + 0.9 * buffer if nesterov else buffer)
        x = server.descend(x, 0.3 * gradient[None].double(), torch.tensor([[0.3]]), memory)
    torch.testing.assert_close(x[0], expected.double(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rule", ["adam", "yogi", "adagrad"])
def test_adaptive_steps_by_hand(rule):
    """Two steps in plain numbers, Algorithm 2 line by line."""
    server = registry.make("server", {"name": "adaptive", "rule": rule, "tau": 0.1})
    x, step = torch.tensor([[1.0]], dtype=torch.float64), torch.tensor([[0.5]])
    memory = server.initial(x)
    expected, m, v = 1.0, 0.0, 0.01
    for direction in (0.2, -0.4):
        square = direction**2
        m = 0.9 * m + 0.1 * direction
        v = {
            "adam": 0.99 * v + 0.01 * square,
            "yogi": v - 0.01 * square * np.sign(v - square),
            "adagrad": v + square,
        }[rule]
        expected -= 0.5 * m / (v**0.5 + 0.1)
        x = server.descend(x, step.double() * direction, step.double(), memory)
        assert x.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("server", SERVERS, ids=str)
@pytest.mark.parametrize("algorithm", ["fedavg", "scaffold"])
def test_alone_and_in_company_give_the_same_numbers(digits, tmp_path, algorithm, server):
    chosen = vary(digits, algorithm={"name": algorithm}) | {"server": server, "clock": {"name": "phones"}}  # fmt: skip
    chosen |= {"selection": {"name": "uniform", "fraction": 0.5}}
    lanes = {"a": chosen, "b": vary(chosen, step={"value": 0.3})}
    together = run(tmp_path / "together", **lanes)
    for name, one in lanes.items():
        alone = run(tmp_path / name, **{name: one})[name]
        np.testing.assert_array_equal(alone, together[name])


def test_scaffold_of_one_client_is_fedavg(digits, tmp_path):
    one = vary(digits, partition={"name": "iid", "clients": 1})
    tables = run(tmp_path, fedavg=one, scaffold=vary(one, algorithm={"name": "scaffold"}))
    for column in ("loss", "test_loss"):  # messages are float32
        np.testing.assert_allclose(tables["scaffold"][column], tables["fedavg"][column], rtol=1e-5)


@pytest.mark.parametrize("local", [None, {"name": "sgd", "step": 0.2, "steps": 1}], ids=str)
def test_scaffold_with_one_full_step_is_gradient_descent(spec, tmp_path, local):
    descent = vary(spec, algorithm={"name": "gd"}, step={"value": 0.2}) | {"compressor": None}
    own = vary(descent, algorithm={"name": "scaffold"}, step={"value": 1.0 if local else 0.2})
    tables = run(tmp_path, descent=descent, own=own | ({"local": local} if local else {}))
    np.testing.assert_allclose(tables["own"].loss, tables["descent"].loss, rtol=1e-5)
    ratio = tables["own"].bits_up.iloc[-1] / tables["descent"].bits_up.iloc[-1]
    assert ratio == pytest.approx(2, rel=1e-9)
    assert tables["own"].bits_down.iloc[-1] == pytest.approx(2 * tables["descent"].bits_down.iloc[-1])  # fmt: skip


def test_scaffold_goes_where_drift_stops_fedavg(spec, tmp_path):
    """Skewed clients, ten full local steps: FedAvg's fixed point is not the minimum, SCAFFOLD's is."""
    local = {"name": "sgd", "step": 1.0, "steps": 5}
    base = vary(
        spec, algorithm={"name": "fedavg"}, step={"value": 1.0}, rounds=200, record_every=50
    )
    base |= {"compressor": None, "local": local, "partition": {"name": "contiguous", "clients": 3}}
    tables = run(tmp_path, fedavg=base, scaffold=vary(base, algorithm={"name": "scaffold"}))
    assert tables["scaffold"].grad_sq.iloc[-1] < 1e-3 * tables["fedavg"].grad_sq.iloc[-1]


def test_clients_that_sit_out_keep_their_control_variates(digits):
    shared = _assembled(vary(digits, algorithm={"name": "scaffold"}))
    setting, batch = shared.setting(), _batch(shared)
    opened = setting.open(batch, torch.tensor([[1, 4]]))
    state = setting.algorithm.initial_state(batch.state["x"], opened)
    state = setting.algorithm.round(state, opened)
    moved = state["c_i"][0].abs().sum(dim=1) > 0
    assert moved.nonzero().flatten().tolist() == [1, 4]
    torch.testing.assert_close(state["c"][0], state["c_i"][0].sum(dim=0) / 8)


def test_local_steps_decay_by_round(digits):
    shared = _assembled(digits)
    x, keys = _batch(shared).state["x"], np.array([3], np.uint64)
    decaying = registry.make("local", LOCAL | {"decay": 0.5})
    for number, step in ((1, 0.1), (3, 0.025)):
        plain = registry.make("local", LOCAL | {"step": step})
        ours = decaying.updates(shared.objective, x, None, keys, number)
        assert torch.equal(ours, plain.updates(shared.objective, x, None, keys))
        assert np.array_equal(decaying.travel(np.array([25]), number), [6 * step])


def test_time_of_a_round_is_that_of_the_slowest():
    clock = registry.make("clock", {"name": "links", "uplink": 100, "downlink": 1000, "latency": 0.5,
                                    "step_seconds": 1.0, "row_seconds": 0.1})  # fmt: skip
    work = Work(np.array([[1.0, 3.0]]), np.array([[10.0, 5.0]]))
    up = torch.tensor([[400.0, 100.0]], dtype=torch.float64)
    keys, who = np.array([1], np.uint64), torch.tensor([[0, 1]])
    # First: 1 + 1 work, 1 latency, 2 down, 4 up; second: 3 + 0.5 work, 1, 2, 1.
    assert clock.seconds(keys, who, work, up, 2000.0).tolist() == [9.0]
    assert clock.seconds(keys, who[:, 1:], Work(*(w[:, 1:] for w in work)), up[:, 1:], 2000.0).tolist() == [7.5]  # fmt: skip


def test_seconds_add_up(digits, tmp_path):
    clock = {"name": "links", "uplink": 1e6, "downlink": 1e7, "latency": 0.1, "row_seconds": 0.01}
    table = run(tmp_path, run=digits | {"clock": clock})["run"]
    shared = _assembled(digits)
    up, down = np.diff(table.bits_up)[0], np.diff(table.bits_down)[0]
    each = 0.2 + up / 1e6 + down / 1e7 + 0.01 * 2 * shared.objective.sizes.max()
    np.testing.assert_allclose(table.seconds, each * np.arange(5), rtol=1e-12)


def test_speeds_of_clients_are_their_own():
    clock = registry.make("clock", {"name": "phones"})
    keys = rng.fold(rng.stream("speeds"), np.arange(2))
    who = torch.arange(50).expand(2, -1)
    each = [clock.seconds(keys, who[:, i : i + 1], Work(*np.full((2, 2, 1), 100.0)), 0.0, 0.0) for i in range(50)]  # fmt: skip
    spread = torch.stack(each).log().std(dim=0)
    assert (spread > 0.3).all() and (spread < 0.7).all()
    assert torch.equal(each[7][:1], clock.seconds(keys[:1], who[:1, 7:8], Work(*np.full((2, 1, 1), 100.0)), 0.0, 0.0))  # fmt: skip


@pytest.mark.parametrize("name", sorted(registry.plugins("clock")))
def test_clocks_run(digits, tmp_path, name):
    given = {"uplink": 1e6, "downlink": 1e6} if name in ("links", "events") else {}
    table = run(tmp_path, run=digits | {"clock": {"name": name, **given}, "rounds": 2})["run"]
    assert table.seconds[0] == 0 and (np.diff(table.seconds) > 0).all()


def test_accuracy_on_the_clients_own_rows(digits, tmp_path):
    """Against a count by hand, at the starting point."""
    table = run(tmp_path, run=digits | {"model": digits["model"] | {"client_metrics": True}})["run"]
    f = _assembled(digits).objective
    torch.nn.utils.vector_to_parameters(torch.from_numpy(f.start("digits", 0)), f.net.parameters())
    found = []
    for part in f.parts:
        with torch.no_grad():
            guess = f.net(torch.from_numpy(f.data.x[part]).reshape(-1, 1, 8, 8)).argmax(dim=1)
        found.append((guess.numpy() == f.data.y[part]).mean())
    assert table.client_accuracy[0] == pytest.approx(np.mean(found))
    assert table.client_accuracy_low[0] == pytest.approx(min(found))


def test_a_run_may_stop_at_an_accuracy_and_record_test_numbers_alone(digits, tmp_path):
    model = digits["model"] | {"train_metrics": False, "precision": "float32"}
    long = digits | {"rounds": 60, "model": model}
    table = run(tmp_path, run=long | {"stop": {"test_accuracy_above": 0.7}})["run"]
    assert "loss" not in table
    assert table.test_accuracy.iloc[-1] >= 0.7 > table.test_accuracy.iloc[:-1].max()
    assert len(table) < 50
    wild = long | {"local": LOCAL | {"step": 1e6}, "stop": {"diverge_above": 1e3}}
    assert len(run(tmp_path, wild=wild)["wild"]) < 10  # diverged


def _assembled(spec):
    data = registry.make("dataset", spec["dataset"]).load()
    parts = registry.make("partition", spec["partition"]).split(data.y, spec["seed"])
    return assemble.problem(spec, data, parts)


def _batch(shared):
    from fewbits.federation import engine

    x = shared.objective.start("digits", 0)[None]
    return engine.start(["a"], np.array([7], np.uint64), x, np.array([1.0]), shared.setting())
