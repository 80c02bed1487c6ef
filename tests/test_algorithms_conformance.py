"""What every algorithm must do, tried on whatever is in `algorithms/`: a new one is tested without an edit here."""

from __future__ import annotations

import inspect
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import interrupted, methods, result_bytes, run, small_problem, trajectory, vary

from fewbits import registry, train
from fewbits.algorithms import catalogue
from fewbits.algorithms.base import Algorithm
from fewbits.compressors.identity import Identity
from fewbits.federation.objective import Layer

METHODS = {name: {"compressor": {"name": "topk", "k": 4}} | m for name, m in methods().items()}
WARM = {"name": "powersgd", "rank": 1, "start": "warm"}  # a sender with a past
METHODS |= {
    "ef21, warm": {"algorithm": {"name": "ef21"}, "compressor": WARM},
    "ef21_bc, warm": METHODS["ef21_bc"] | {"compressor": WARM, "downlink": WARM},
}
HALF = {"name": "uniform", "fraction": 0.5}


def needs(name: str) -> list[str]:
    """The slots on which this method is particular."""
    check = getattr(registry.find("algorithm", METHODS[name]["algorithm"]["name"]), "check", None)
    return list(inspect.signature(check).parameters)[1:] if check else []


EVERYONE = [name for name in METHODS if "selection" in needs(name)]
ANY_COHORT = [name for name in METHODS if name not in EVERYONE]


def sweep(spec, name, rounds=60):
    """A batch: steps x seeds; the largest step diverges or nearly so."""
    chosen = vary(spec, **METHODS[name], rounds=rounds, record_every=5)
    return {
        f"x{step}-s{seed}": vary(chosen, seed=seed) | {"step": {"value": step}}
        for step in (0.05, 0.4, 3.0)
        for seed in (0, 1)
    }


@pytest.mark.parametrize("name", METHODS)
def test_alone_and_in_company_give_the_same_bytes(spec, tmp_path, name):
    together = sweep(spec, name)
    run(tmp_path / "together", **together)
    for one in ("x0.05-s0", "x3.0-s1"):
        run(tmp_path / "alone", **{one: together[one]})
    alone, company = result_bytes(tmp_path / "alone"), result_bytes(tmp_path / "together")
    assert len(alone) == 6
    assert all(company[path] == content for path, content in alone.items())


@pytest.mark.parametrize("name", METHODS)
def test_stopped_and_resumed_ends_in_the_same_bytes(spec, tmp_path, monkeypatch, name):
    monkeypatch.setattr(train, "CHECKPOINT_SECONDS", -1.0)
    specs = sweep(spec, name)
    run(tmp_path / "whole", **specs)
    with interrupted(25):
        run(tmp_path / "broken", **specs)
    run(tmp_path / "broken", **specs)
    assert result_bytes(tmp_path / "broken") == result_bytes(tmp_path / "whole")


@pytest.mark.parametrize("name", METHODS)
def test_descends_and_counts_what_it_sends(spec, name):
    problem = small_problem(vary(spec, **METHODS[name]))
    path = trajectory(problem, 0.1, 120, seeds=(0, 1))
    loss = [problem.objective.loss(path[t]["x"]) for t in (0, 120)]
    assert (loss[1] < 0.8 * loss[0]).all()
    bits = np.array([s["bits"].numpy() for s in path])
    assert (np.diff(bits, axis=0) >= 0).all()
    sends = problem.algorithm.sends != "nothing"
    assert (bits[1:, :, 0] > 0).all() == sends and (bits[1:, :, 3] > 0).all() == sends


@pytest.mark.parametrize("name", METHODS)
def test_malicious_clients_are_heard_from_the_first_message_on(spec, name):
    plain = vary(spec, **METHODS[name])
    attacked = plain | {"attack": {"name": "gaussian", "share": 0.3}}
    paths = (trajectory(small_problem(chosen), 0.05, 1) for chosen in (plain, attacked))
    for honest, other in zip(*paths, strict=True):
        same = all(torch.equal(honest[key], other[key]) for key in honest)
        assert same == (honest["bits"][0, 0] == 0)


@pytest.mark.parametrize("name", METHODS)
def test_state_has_the_lane_first_and_keeps_its_types(spec, name):
    problem = small_problem(vary(spec, **METHODS[name]))
    first, last = (trajectory(problem, 0.05, 2, seeds=(0, 1, 2))[t] for t in (0, 2))
    assert set(first) == set(last)
    for key, value in last.items():
        assert value.shape == first[key].shape and value.dtype == first[key].dtype, key
        assert value.shape[0] == 3, key
        assert torch.isfinite(value).all(), key


class SinglePrecision:
    """An objective as networks have it: one flat float32 vector of several layers, no constants known."""

    smoothness, precision, at_once = None, "float32", 64
    statistics = walk = None

    def __init__(self, inner, layers):
        self.inner, self.clients, self.sizes = inner, inner.clients, inner.sizes
        self.shape, self.layers = inner.shape, layers

    def gradients(self, x, cohort=None, rows=None, statistics=None):
        return self.inner.gradients(x.double(), cohort, rows).float()

    def client_gradients(self, y, who, positions, weights, statistics=None, slope=None):
        return self.inner.client_gradients(y.double(), who, positions, weights).float()

    def start(self, dataset, seed):
        return self.inner.start(dataset, seed).astype(np.float32)


@pytest.mark.parametrize("name", METHODS)
def test_a_flat_float32_vector_of_layers_stays_float32(spec, name):
    problem = small_problem(vary(spec, **METHODS[name]))
    layers = (Layer("a", (6, 4)), Layer("b", (6,)))
    flat = replace(problem, objective=SinglePrecision(problem.objective, layers))
    path = trajectory(flat, 0.1, 120)
    assert all(v.dtype == torch.float32 for k, v in path[-1].items() if k != "bits")
    first, last = (problem.objective.loss(path[t]["x"].double()) for t in (0, 120))
    assert last < 0.8 * first


@pytest.mark.parametrize("name", METHODS)
def test_a_batch_of_all_rows_and_a_cohort_of_all_clients_change_nothing(spec, name):
    plain = vary(spec, **METHODS[name])
    plain["local"] = {
        k: v for k, v in plain.get("local", {"name": "gradient"}).items() if k != "batch"
    }
    slots = {
        "selection": {"name": "uniform", "fraction": 1.0},
        "local": {**plain["local"], "batch": 600},
    }
    ours, theirs = (trajectory(small_problem(s), 0.1, 30)[-1] for s in (plain | slots, plain))
    for key, value in ours.items():
        torch.testing.assert_close(value, theirs[key], rtol=1e-9, atol=1e-11, msg=key)


@pytest.mark.parametrize("name", ANY_COHORT)
def test_half_the_clients_send_half_the_bits_and_still_descend(spec, tmp_path, name):
    plain = vary(spec, **METHODS[name], rounds=300, record_every=300) | {"step": {"value": 0.1}}
    tables = run(tmp_path, plain=plain, half=plain | {"selection": HALF})
    sent = {key: table.bits_up.iloc[-1] - table.bits_up[0] for key, table in tables.items()}
    assert sent["half"] == pytest.approx(0.5 * sent["plain"])
    assert tables["half"].bits_down.iloc[-1] <= 0.6 * tables["plain"].bits_down.iloc[-1]
    assert tables["half"].loss.iloc[-1] < 0.7 * tables["half"].loss[0]


def test_senders_that_sit_a_round_out_keep_their_past(spec):
    chosen = vary(spec, **METHODS["ef21, warm"]) | {"selection": HALF}
    path = [state["senders.up"] for state in trajectory(small_problem(chosen), 0.1, 3)]
    assert not path[0].any()  # g_i^0 goes whole
    for before, after in pairwise(path):
        same = (before == after).all(dim=-1)
        assert same.sum() * 2 == same.numel()


@pytest.mark.parametrize("name", EVERYONE)
def test_methods_that_need_everyone_say_so(name):
    method = registry.make("algorithm", METHODS[name]["algorithm"])
    given = {slot: METHODS[name].get(slot) for slot in needs(name)}
    others = {slot: block and registry.make(slot, block) for slot, block in given.items()}
    half = registry.make("selection", HALF)
    assert method.check(**others) is None
    assert "every round" in method.check(**{**others, "selection": half})


@pytest.mark.parametrize("name", registry.plugins("algorithm"))
def test_is_documented(name):
    """A citation that the report can print, and a box or at least a formula in the docstring."""
    cls = registry.find("algorithm", name)
    bibliography = (Path(__file__).parents[1] / "reports" / "references.bib").read_text()
    assert f"{{{cls.cite}," in bibliography
    assert "x^{t+1}" in cls.__doc__
    assert issubclass(cls, Algorithm) and cls.label


def test_identity_downlink_of_the_helpers_is_exact(spec):
    """The tests compare in float64: what goes down whole is not rounded."""
    assert small_problem(spec).network().whole == Identity(wire="float64")


def test_the_table_in_the_docs_is_the_codes():
    """If this fails: python -m fewbits.algorithms.catalogue docs/algorithms.md"""
    text = (Path(__file__).parents[1] / "docs/algorithms.md").read_text(encoding="utf-8")
    assert catalogue.into(text, catalogue.as_markdown()) == text
