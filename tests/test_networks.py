"""Networks as objectives: gradients against automatic differentiation, and federated identities on real digits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import digits_run, run, vary
from hypothesis import given
from hypothesis import strategies as st

from fewbits import registry, rng
from fewbits.federation import sampling
from fewbits.federation.sampling import WORK
from fewbits.files import read_json
from fewbits.models.objectives import base
from fewbits.models.objectives.autograd import AutogradObjective
from fewbits.models.objectives.stack import StackObjective
from fewbits.studies import read_run

NETS = [
    {"net": "logistic"},
    {"net": "mlp", "parameters": {"hidden": [16]}},
    {"net": "mlp", "parameters": {"hidden": [12, 9], "activation": "tanh"}, "weight_decay": 0.1},
    {"net": "mlp", "parameters": {"hidden": [12], "activation": "tanh", "projection": [9, 7]}},
    {"net": "mlp", "parameters": {"hidden": [12], "bias": False}},
    {"net": "digits_cnn"},
]
COHORT = torch.tensor([[1, 4, 7], [0, 2, 9]])


@pytest.fixture
def digits():
    """A run of FedAvg on digits, to be varied."""
    return digits_run(
        model={"parameters": {"hidden": [16]}, "train_metrics": True},
        partition={"clients": 10, "minimum": 1},
        rounds=6,
    )


def problem(model, form=None):
    source = registry.find("dataset", "digits")
    data = registry.make("dataset", {"name": "digits"}).load()
    split = registry.make("partition", {"name": "dirichlet", "clients": 10, "alpha": 0.1})
    parts = split.split(data.y, 0)
    made = registry.make("model", {"name": "network", "precision": "float64", **model})
    return form(made, data, parts, source) if form else made.objective(data, parts, source)


def points(f, lanes=2):
    return torch.from_numpy(np.stack([f.start("digits", seed) for seed in range(lanes)]))


def test_the_spec_that_a_run_leaves_can_be_trained_by_hand(digits, tmp_path):
    run(tmp_path, a=digits)
    left = tmp_path / "digits/a/spec.json"
    again = read_run(left)
    assert (
        again["model"]["parameters"] == read_json(left)["model"]["parameters"] == {"hidden": [16]}
    )


def test_local_adamw_is_torch_s_own_and_its_state_lasts_over_rounds():
    """Each client's model goes on as torch.optim.AdamW's does, though the server's model is set in between."""
    f = problem({"net": "mlp", "parameters": {"hidden": [12]}})
    local = registry.make(
        "local", {"name": "adamw", "step": 0.01, "steps": 3, "batch": 16, "weight_decay": 0.1}
    )
    x = points(f, 1)
    held = local.initial(x, f.clients)
    optimisers = []
    for _ in range(f.clients):
        own = x[0].clone().requires_grad_()
        optimisers.append((own, torch.optim.AdamW([own], lr=0.01, weight_decay=0.1)))
    for number in (1, 2):
        keys = rng.fold(rng.stream("adamw"), [number])
        update = local.updates(f, x, None, keys, number, held=held)
        streams = rng.fold(rng.fold(keys, WORK)[:, None], np.arange(f.clients))[0]
        for i, (own, optimiser) in enumerate(optimisers):
            with torch.no_grad():
                own.copy_(x[0])
            rows, weights = sampling.schedule(streams[i], int(f.sizes[i]), 16, None, 3)
            for places, weight in zip(rows, weights, strict=True):
                own.grad = f.client_gradients(
                    own.detach()[None], np.array([i]), places[None], weight[None]
                )[0]
                optimiser.step()
            torch.testing.assert_close((x[0] - own).detach(), update[0, i], rtol=1e-9, atol=1e-12)
        x = x - update.mean(dim=1)
    assert (held["t"] == 6).all()


@pytest.mark.parametrize("model", NETS, ids=str)
def test_gradients_and_loss_are_those_of_the_written_loss(model):
    """Against torch's own modules and a loss written out for one client."""
    f = problem(model)
    assert isinstance(f, AutogradObjective if model["net"] == "digits_cnn" else StackObjective)
    x, net = points(f), f.net
    losses = []
    for i, part in enumerate(f.parts):
        torch.nn.utils.vector_to_parameters(x[1], net.parameters())
        net.zero_grad()
        rows = torch.from_numpy(f.data.x[part]).reshape(-1, 1, 8, 8)
        loss = torch.nn.functional.cross_entropy(net(rows), torch.from_numpy(f.data.y[part]))
        squares = sum((p * p).sum() for p in net.parameters())
        loss = loss + model.get("weight_decay", 0.0) / 2 * squares
        loss.backward()
        wanted = torch.cat([p.grad.reshape(-1) for p in net.parameters()])
        torch.testing.assert_close(f.gradients(x)[1, i], wanted, rtol=1e-9, atol=1e-12)
        losses.append(loss.item())
    assert f.measure(x)["loss"][1].item() == pytest.approx(np.mean(losses), rel=1e-12)


@pytest.mark.parametrize("model", NETS[:-1], ids=str)
@pytest.mark.parametrize(
    "local",
    [
        {"name": "gradient"},
        {"name": "gradient", "batch": 8},
        {"name": "sgd", "step": 0.1, "epochs": 2, "batch": 10, "momentum": 0.9, "proximal": 0.1},
    ],
    ids=str,
)
def test_stacks_equal_automatic_differentiation(model, local):
    keys = rng.fold(rng.stream("stack"), np.arange(2))
    solver = registry.make("local", local)
    by_hand, automatic = problem(model), problem(model, AutogradObjective)
    x = points(by_hand)
    for cohort in (COHORT, None):
        ours = solver.updates(by_hand, x, cohort, keys)
        theirs = solver.updates(automatic, x, cohort, keys)
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-10)


WALKS = [*NETS, {"net": "digits_cnn", "weight_decay": 0.1},
         {"net": "mlp", "parameters": {"hidden": [12, 9], "activation": "tanh", "norm": "batch"}, "weight_decay": 0.1},
         {"net": "mlp", "parameters": {"hidden": [12], "norm": "batch", "bias": False, "projection": [9, 7]}},
         {"net": "digits_cnn", "parameters": {"norm": "batch"}},
         {"net": "digits_cnn", "parameters": {"bias": False}},
         {"net": "digits_cnn", "parameters": {"projection": [9, 7]}},
         {"net": "resnet8"}]  # fmt: skip


@pytest.mark.parametrize("batch, momentum", [(1, 0.0), (10, 0.0), (10, 0.9), (300, 0.0)])
@pytest.mark.parametrize("model", WALKS, ids=str)
def test_a_walk_ends_where_one_gradient_after_the_other_does(model, batch, momentum):
    """Clients of different sizes: 1 to 9 rows in a last batch, 4 clients done before the others."""
    source = registry.find("dataset", "digits")
    data = registry.make("dataset", {"name": "digits"}).load()
    sizes = (13, 38, 38, 5, 1) if batch == 10 else (6, 9)
    parts = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
    if model["net"] != "mlp" and "norm" in model.get("parameters", {}):
        parts, batch = [part for part in parts if len(part) > 1], max(batch, 2)
    made = registry.make("model", {"name": "network", "precision": "float64", **model})
    walking, plain = made.objective(data, parts, source), AutogradObjective(made, data, parts, source)  # fmt: skip
    plain.walk = None
    local = {"name": "sgd", "step": 0.1, "epochs": 2, "batch": batch, "momentum": momentum}
    solver = registry.make("local", local)
    x, keys = points(plain), rng.fold(rng.stream("walk"), np.arange(2))
    held = [None, None]
    if plain.statistics is not None:
        held = [torch.from_numpy(plain.statistics).repeat(2, len(parts), 1) for _ in range(2)]
    ours, theirs = (
        solver.updates(f, x, None, keys, statistics=own)
        for f, own in zip((walking, plain), held, strict=True)
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-10)
    if plain.statistics is not None:
        torch.testing.assert_close(*held, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("model", NETS, ids=str)
def test_a_lane_does_not_depend_on_the_others(model):
    """Bit for bit, in float32, for gradients, samples and local work."""
    f = problem({**model, "precision": "float32"})
    x, keys = points(f, 4), rng.fold(rng.stream("lanes"), np.arange(4))
    cohort = torch.tensor([[1, 4, 7], [0, 2, 9], [0, 1, 2], [3, 4, 5]])
    for local in ({"name": "gradient"}, {"name": "gradient", "batch": 8},
                  {"name": "sgd", "step": 0.1, "steps": 4, "batch": 5}):  # fmt: skip
        solver = registry.make("local", local)
        together = solver.updates(f, x, cohort, keys)
        for lane in (0, 3):
            alone = solver.updates(
                f, x[lane : lane + 1].clone(), cohort[lane : lane + 1], keys[lane : lane + 1]
            )
            assert torch.equal(alone[0], together[lane])
    measured = f.measure(x)
    assert f.measure(x[2:3].clone())["loss"][0] == measured["loss"][2]


@pytest.mark.parametrize("model", NETS[-3:], ids=str)
def test_measuring_in_pieces_gives_the_same_numbers(model, monkeypatch):
    """As it is done where the gradients of all clients are too many to keep."""
    whole, pieces = problem(model), problem(model)
    x = points(whole)
    expected = whole.measure(x)
    monkeypatch.setattr(base, "HELD", 4 * pieces.shape[0])
    for name, value in pieces.measure(x).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-9, atol=1e-12, msg=name)


def test_test_numbers_on_some_of_the_rows():
    """The same rows for every run, whatever else is measured."""
    few, same, all_ = (problem({"net": "logistic", "test_rows": n}) for n in (100, 100, 10**6))
    x = points(few)
    source, wanted = torch.from_numpy(few.data.test_x[few._tested]), few.data.test_y[few._tested]
    right = few.logits(x[0], source.double()).argmax(dim=1).numpy() == wanted
    assert few.measure(x)["test_accuracy"][0] == pytest.approx(right.mean())
    assert len(np.unique(few._tested)) == 100 and np.array_equal(few._tested, same._tested)
    assert torch.equal(all_.measure(x)["test_loss"], problem({"net": "logistic"}).measure(x)["test_loss"])  # fmt: skip


def test_fedsgd_is_fedavg_with_one_step_on_all_rows(digits, tmp_path):
    sgd = vary(digits, step={"value": 0.5})
    average = digits | {"local": {"name": "sgd", "step": 0.5, "epochs": 1, "batch": None}}
    tables = run(tmp_path, sgd=sgd, average=average)
    np.testing.assert_allclose(tables["sgd"], tables["average"], rtol=1e-6)


def test_a_proximal_term_of_zero_is_plain_and_a_large_one_holds_clients_back(digits, tmp_path):
    local = {"name": "sgd", "step": 0.05, "epochs": 3, "batch": 20, "momentum": 0.0}
    specs = {str(mu): digits | {"local": local | {"proximal": mu}} for mu in (0.0, 10.0)}
    tables = run(tmp_path, plain=digits | {"local": local}, **specs)
    np.testing.assert_array_equal(tables["plain"], tables["0.0"])
    assert tables["10.0"].step_sq[1] < 0.3 * tables["plain"].step_sq[1]


def test_server_weights_clients_by_their_rows(digits):
    """One round by hand."""
    f = problem({"net": "mlp", "parameters": {"hidden": [16]}})
    x = points(f, 1)
    share = torch.from_numpy(f.sizes / f.sizes.sum())
    expected = x[0] - (share[:, None] * f.gradients(x)[0]).sum(dim=0)
    from fewbits.federation.assemble import problem as assembled

    shared = assembled(digits, f.data, f.parts)
    setting = shared.setting()
    batch = _batch(x, 1.0)
    state = setting.algorithm.round({"x": x}, setting.open(batch, None))
    torch.testing.assert_close(state["x"][0], expected, rtol=1e-6, atol=1e-7)  # sent as float32


def _batch(x, step):
    from fewbits.federation.engine import Batch

    counters = torch.zeros(len(x), 4, dtype=torch.float64)
    steps = torch.full((len(x), 1), step, dtype=x.dtype)
    return Batch(["a"], np.array([7], np.uint64), steps, {"x": x}, counters)


def test_digits_are_learnt_and_test_numbers_recorded(digits, tmp_path):
    local = {"name": "sgd", "step": 0.1, "epochs": 2, "batch": 10}
    chosen = digits | {"local": local, "selection": {"name": "uniform", "fraction": 0.5}}
    model = digits["model"] | {"precision": "float32"}
    table = run(tmp_path, run=chosen | {"rounds": 40, "record_every": 10, "model": model})["run"]
    assert table.test_accuracy.iloc[-1] > 0.85
    assert table.test_loss.iloc[-1] < 0.6 < table.test_loss[0]
    d = 64 * 16 + 16 + 16 * 10 + 10
    assert table.bits_up.iloc[-1] == pytest.approx(40 * 0.5 * (32 * d + 32), rel=1e-3)


@given(
    size=st.integers(1, 60), batch=st.one_of(st.none(), st.integers(1, 70)),
    epochs=st.integers(1, 4), steps=st.integers(1, 12),
)  # fmt: skip
def test_an_epoch_takes_every_row_once(size, batch, epochs, steps):
    key = rng.stream("schedule", size)
    positions, weights = sampling.schedule(key, size, batch, epochs, None)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    each = -(-size // min(batch or size, size))
    assert len(positions) == epochs * each
    for i in range(epochs):
        one = slice(i * each, (i + 1) * each)
        assert sorted(positions[one][weights[one] > 0]) == list(range(size))
    fewer, _ = sampling.schedule(key, size, batch, None, steps)
    assert len(fewer) == steps
    assert np.array_equal(fewer[: len(positions)], positions[:steps])


@pytest.mark.parametrize(
    "layers", [{}, {"per": "layer", "small": 32}, {"per": "whole", "small": 0}], ids=str
)
@pytest.mark.parametrize("compressor", [{"name": "topk", "budget": 0.05}, {"name": "st_hosvd", "rank": 2},
                                        {"name": "randk", "budget": 0.05}], ids=str)  # fmt: skip
def test_layers_are_compressed_as_the_study_says(digits, tmp_path, layers, compressor):
    """Bits of a round are those of real bytes, and a run in company is the run alone."""
    from fewbits.federation.assemble import problem as assembled

    model = digits["model"] | {"precision": "float32"}
    chosen = digits | {"model": model, "algorithm": {"name": "dcgd"}, "compressor": compressor,
                       "step": {"value": 0.05}, "layers": layers}  # fmt: skip
    f = problem({**model})
    c = assembled(chosen, f.data, f.parts).compressor
    payload = c.encode(f.gradients(points(f, 1))[0, 0]).to_bytes()
    other = vary(chosen, step={"value": 0.2})
    table = run(tmp_path / "company", run=chosen, other=other)["run"]
    assert np.diff(table.bits_up).tolist() == [8 * len(payload)] * 6
    np.testing.assert_array_equal(run(tmp_path / "alone", run=chosen)["run"], table)


def test_everything_sent_is_gradient_descent_on_a_network_too(digits, tmp_path):
    descent = digits | {"algorithm": {"name": "gd"}, "step": {"value": 0.3}}
    d = 64 * 16 + 16 + 16 * 10 + 10
    exact = {"name": "topk", "k": d, "wire": "float64"}
    ef21 = {"name": "ef21", "start": "gradient"}
    kept = descent | {"algorithm": ef21, "compressor": exact, "layers": {"per": "whole"}}
    tables = run(tmp_path, descent=descent, kept=kept)
    for column in ("loss", "test_loss"):
        # The dense message of gradient descent is float32.
        np.testing.assert_allclose(tables["kept"][column], tables["descent"][column], rtol=1e-5)
