"""Update spaces: local work and messages inside random subspaces, against plain local SGD and against real bytes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import digits_run, interrupted, result_bytes, run, vary
from hypothesis import given
from hypothesis import strategies as st

from fewbits import registry, rng, train
from fewbits.compressors.message import MessageError, payload_bits
from fewbits.federation import assemble, engine, sampling
from fewbits.federation.objective import Layer
from fewbits.federation.space.base import Frames
from fewbits.federation.space.message import Seeded

LAYERS = (Layer("conv", (4, 3, 2, 2)), Layer("bias", (4,)), Layer("linear", (5, 8)))
SIZE = 48 + 4 + 40
MASK = {"name": "mask", "share": 0.25}
LOW = {"name": "low_rank", "rank": 2}
SPACES = [MASK, MASK | {"small": 41}, LOW, {"name": "low_rank", "share": 0.25, "small": 10}]
LOCAL = {"name": "sgd", "step": 0.1, "epochs": 2, "batch": 10}
COMPRESSORS = [
    None,
    {"name": "rotated", "bits": 2, "fraction": 0.5},
    {"name": "topk", "budget": 0.1},
]


@pytest.fixture
def digits():
    """A run of FedAvg on digits, to be varied."""
    return digits_run(selection={"name": "uniform", "fraction": 0.5}, local=LOCAL)


def frame(space, seeds=(1, 2, 3)):
    return Frames(registry.make("space", space), LAYERS).of(
        np.array(seeds, np.uint64), torch.float64
    )


def vectors(rows, count, seed=0):
    return torch.from_numpy(rng.normals(rng.fold(rng.stream("x", seed), np.arange(rows)), count))


def count(space) -> int:
    return sum(int(np.prod(shape)) for _, shape in registry.make("space", space).inner(LAYERS))


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_maps_are_linear_adjoint_and_solved(space):
    f, n = frame(space), count(space)
    u, g = vectors(3, n), vectors(3, SIZE, 1)
    spread = f.spread(u)
    assert spread.shape == (3, SIZE)
    torch.testing.assert_close((spread * g).sum(1), (u * f.gather(g)).sum(1))
    torch.testing.assert_close(f.solve(spread), u, rtol=1e-8, atol=1e-10)
    nearest = f.spread(f.solve(g))  # what is left is orthogonal to the space
    torch.testing.assert_close(f.gather(g - nearest), torch.zeros(3, n).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(f.of(np.array([2])).spread(u[2:]), spread[2:], rtol=0, atol=0)


def test_sizes_are_the_paper_s():
    """k d2 numbers of A B, the chosen ones of a mask; vectors and small layers whole."""
    assert registry.make("space", LOW).inner(LAYERS) == (
        Layer("conv", (4, 2)), Layer("bias", (4,)), Layer("linear", (5, 2)),
    )  # fmt: skip
    assert registry.make("space", MASK | {"small": 41}).inner(LAYERS) == (
        Layer("conv", (12,)), Layer("bias", (4,)), Layer("linear", (5, 8)),
    )  # fmt: skip
    assert count({"name": "low_rank", "share": 0.25}) == 4 * 3 + 4 + 5 * 2
    assert count({"name": "low_rank", "rank": 12}) == SIZE  # no saving: all layers whole


def test_an_update_of_low_rank_has_that_rank_and_a_mean_of_them_more():
    f, n = frame(LOW), count(LOW)
    linear = f.spread(vectors(3, n))[:, 52:].reshape(3, 5, 8)
    assert torch.linalg.matrix_rank(linear).tolist() == [2, 2, 2]
    assert torch.linalg.matrix_rank(linear.mean(dim=0)) == 5


@given(seeds=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4))
def test_both_sides_draw_the_same_and_clients_do_not_meddle(seeds):
    for space in (MASK, LOW):
        u = vectors(len(seeds), count(space))
        together = frame(space, seeds).spread(u)
        for i, seed in enumerate(seeds):
            assert torch.equal(frame(space, [seed]).spread(u[i : i + 1])[0], together[i])


@pytest.mark.parametrize("space, factor", [(MASK, 0.25), (LOW, 1.0)], ids=str)
def test_a_step_is_a_plain_step_in_the_mean(space, factor):
    """E[E E' g]: g for A B, share g for a mask; layers that are whole take the plain step."""
    draws = 4000
    g = vectors(1, SIZE, 2).expand(draws, -1)
    f = frame(space, range(draws))
    moved = f.spread(f.gather(g))
    scale = torch.full((SIZE,), factor, dtype=torch.float64)
    if space is LOW:
        scale[48:52] = 1.0
        assert torch.equal(moved[:, 48:52], g[:, 48:52])
    off = (moved.mean(dim=0) - scale * g[0]).abs()
    assert (off <= 5 * moved.std(dim=0) / draws**0.5 + 1e-12).all()
    energy = (moved * g).sum(dim=1).mean() / (g[0] ** 2).sum()
    assert energy == pytest.approx(factor, abs=0.05)


@pytest.mark.parametrize("space", [MASK | {"share": 1.0}, LOW | {"rank": 64}], ids=str)
def test_a_space_of_everything_is_plain_fedavg(digits, tmp_path, space):
    """Momentum, the proximal term and the terms of the local objective included; tanh leaves no features without variance."""
    smooth = {"hidden": [12], "activation": "tanh"}
    plain = vary(digits, model={"parameters": smooth})
    plain |= {"compressor": {"name": "identity", "wire": "float64"}}
    terms = {"feddecorr": {"coefficient": 0.1, "loss_scale": "code", "least": 4}}
    local = LOCAL | {"momentum": 0.5, "proximal": 0.1, "terms": terms}
    for name, one in {"plain": plain, "more": plain | {"local": local}}.items():
        tables = run(tmp_path / name, plain=one, all=one | {"space": space})
        for column in ("loss", "test_loss", "step_sq"):
            np.testing.assert_allclose(tables["all"][column], tables["plain"][column], rtol=1e-8)


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_one_local_step_by_hand(digits, space):
    """E E' grad_i for every client, with E from the seed that names lane, round and client; then their weighted mean."""
    one = digits | {"local": {"name": "sgd", "step": 0.3, "steps": 1}, "space": space}
    one |= {"compressor": {"name": "identity", "wire": "float64"}}
    shared = _assembled(one)
    batch = _batch(shared, rounds=3)
    setting, f = shared.setting(), shared.objective
    who = setting.cohort(batch)
    state = setting.algorithm.round(batch.state, setting.open(batch, who))
    seeds = sampling.round_seeds(sampling.round_keys(batch.keys, 3), who.numpy())[0]
    drawn = Frames(registry.make("space", space), f.layers).of(seeds, torch.float64)
    moved = 0.3 * drawn.spread(drawn.gather(f.gradients(batch.state["x"])[0, who[0]]))
    share = torch.from_numpy(f.sizes[who[0]] / f.sizes[who[0]].sum())
    expected = batch.state["x"][0] - share @ moved
    torch.testing.assert_close(state["x"][0], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("compressor", COMPRESSORS, ids=str)
@pytest.mark.parametrize("space", SPACES, ids=str)
def test_bits_and_values_are_those_of_real_bytes(digits, space, compressor):
    """Of every client: the server reads the payload, draws E again, and has what the simulation goes on with."""
    shared = _assembled(digits | {"space": space, "compressor": compressor})
    batch, setting, who = _batch(shared, rounds=2), shared.setting(), np.array([[1, 4, 6]])
    opened = setting.open(batch, torch.from_numpy(who))
    held = opened.updates(batch.state["x"])
    sent = opened.compress(held)
    seeds = sampling.round_seeds(opened.keys, who)
    keys = sampling.seeded(seeds, rng.fold(rng.fold(rng.fold(batch.keys, 2), 0)[:, None], who))
    c = shared.compressor
    for i in range(3):
        made = c.encode(held[0, i], key=int(keys[0, i]))
        payload = made.to_bytes()
        assert int.from_bytes(payload[3 + (c.frames.size > 127) :][:4], "little") == seeds[0, i]
        assert 8 * len(payload) == made.bits.total == sent.bits.total
        value = c.decode(c.from_bytes(payload, held.shape[2:]), held.shape[2:], torch.float64)
        torch.testing.assert_close(value, sent.value[0, i], rtol=1e-9, atol=1e-12)
    if compressor is None:
        head = payload_bits((), c.frames.size).total
        assert sent.bits.total == 32 + 32 * c.frames.size + 2 * head
        torch.testing.assert_close(sent.value, held, rtol=1e-4, atol=1e-6)


@given(data=st.data())
def test_hostile_bytes_give_one_clear_error(data):
    c = Seeded(
        registry.make("compressor", {"name": "identity"}),
        Frames(registry.make("space", MASK), LAYERS),
    )
    good = c.encode(frame(MASK, [5]).spread(vectors(1, count(MASK)))[0], key=5 << 32).to_bytes()
    place = data.draw(st.integers(0, len(good) - 1))
    bad = bytearray(good)
    bad[place] ^= data.draw(st.integers(1, 255))
    for payload in (bytes(bad), good[:place], good + b"x", b""):
        try:
            value = c.decode(c.from_bytes(payload, (SIZE,)), (SIZE,), torch.float64)
        except MessageError:
            continue
        assert payload == bytes(bad) and value.shape == (SIZE,) and torch.isfinite(value).all()


@pytest.mark.parametrize("algorithm", ["fedavg", "scaffold", "dcgd", "ef21", "ef14"])
def test_methods_with_local_work_learn_in_a_space(digits, tmp_path, algorithm):
    spec = vary(digits, algorithm={"name": algorithm}, rounds=15) | {"selection": None}
    spec |= {"compressor": {"name": "identity"}}
    spaces = [MASK, {"name": "low_rank", "share": 0.25}]
    for space in spaces[:1] if algorithm == "scaffold" else spaces:
        table = run(tmp_path / space["name"], run=spec | {"space": space})["run"]
        assert table.test_loss.iloc[-1] < 0.7 * table.test_loss[0]
        plain = run(tmp_path, run=spec | {"rounds": 1})["run"].bits_up.diff()[1]
        assert table.bits_up.diff().iloc[-1] < 0.4 * plain


def test_adaptive_local_work_learns_in_a_space_too(digits, tmp_path):
    local = {"name": "adamw", "step": 0.03, "steps": 8, "batch": 10}
    table = run(tmp_path, run=digits | {"local": local, "space": MASK, "rounds": 8})["run"]
    assert table.test_loss.iloc[-1] < 0.9 * table.test_loss[0]


@pytest.mark.parametrize("space", [MASK, LOW], ids=str)
def test_alone_in_company_and_resumed_give_the_same_bytes(digits, tmp_path, monkeypatch, space):
    spec = digits | {"space": space, "compressor": {"name": "uniform", "bits": 4}, "rounds": 6}
    specs = {f"s{seed}": spec | {"seed": seed, "partition": {"name": "contiguous", "clients": 8}} for seed in (0, 1, 2)}  # fmt: skip
    run(tmp_path / "whole", **specs)
    run(tmp_path / "alone", s1=specs["s1"])
    whole, alone = result_bytes(tmp_path / "whole"), result_bytes(tmp_path / "alone")
    assert len(alone) == 3 and all(whole[path] == content for path, content in alone.items())
    monkeypatch.setattr(train, "CHECKPOINT_SECONDS", -1.0)
    with interrupted(3):
        run(tmp_path / "broken", **specs)
    run(tmp_path / "broken", **specs)
    assert result_bytes(tmp_path / "broken") == whole


def test_slots_that_do_not_fit_say_so():
    local, gradient = registry.make("local", LOCAL), registry.make("local", {"name": "gradient"})
    moon = registry.make("local", LOCAL | {"terms": {"moon": {}}})
    segments = registry.make("sending", {"name": "segments", "count": 3})
    mask, low = registry.make("space", MASK), registry.make("space", LOW)
    names = ("fedavg", "powersgd", "scaffold", "diana")
    fedavg, powersgd, scaffold, diana = (registry.make("algorithm", {"name": n}) for n in names)
    assert mask.check(fedavg, local, None) is None
    assert "local work" in mask.check(fedavg, gradient, None)
    assert "local work" in low.check(None, fedavg, None, None)
    assert "earlier round" in mask.check(fedavg, moon, None)
    assert "sends nothing" in mask.check(powersgd, local, None)
    personal = registry.make("algorithm", {"name": "pfedme"})
    assert "models of their own" in mask.check(personal, local, None)
    assert "leave sending out" in mask.check(fedavg, local, segments)
    assert scaffold.check(local, mask) is None
    assert "projections" in scaffold.check(local, low)
    assert "memory" in diana.check(registry.make("compressor", {"name": "natural"}), mask)
    dga = registry.make("algorithm", {"name": "dga"})
    assert "replicas" in dga.check(None, local, None, None, mask)
    for bad in ({}, {"rank": 2, "share": 0.1}):
        space = registry.make("space", {"name": "low_rank", **bad})
        assert "one of rank and share" in space.check(None, fedavg, local, None)


def _assembled(spec):
    data = registry.make("dataset", spec["dataset"]).load()
    parts = registry.make("partition", spec["partition"]).split(data.y, spec["seed"])
    return assemble.problem(spec, data, parts)


def _batch(shared, rounds):
    x = shared.objective.start("digits", 0)[None]
    batch = engine.start(["a"], np.array([7], np.uint64), x, np.array([1.0]), shared.setting())
    batch.round = rounds
    return batch
