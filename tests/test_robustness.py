"""Malicious clients and the aggregations that withstand them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import interrupted, result_bytes, run, vary
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from test_personal import digits, lp_proj, problem

from fewbits import registry, rng

ROBUST = {"median": {}, "trimmed_mean": {"share": 0.3}, "krum": {"share": 0.3}}
ATTACKS = ["same_value", "sign_flip", "gaussian", "wrong_labels"]


def aggregate(name, x, **parameters):
    return registry.make("aggregation", {"name": name, **parameters}).combine(torch.as_tensor(x))


def drawn(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("name", registry.plugins("aggregation"))
@given(seed=st.integers(0, 99), clients=st.integers(3, 12))
def test_equal_updates_are_their_aggregate(name, seed, clients):
    x = np.repeat(drawn(seed, 2, 1, 5), clients, axis=1)
    np.testing.assert_allclose(aggregate(name, x), x[:, 0], rtol=1e-12)


@given(seed=st.integers(0, 99), clients=st.integers(1, 12), share=st.floats(0, 0.49))
def test_median_and_trimmed_mean_are_those_of_numpy_and_scipy(seed, clients, share):
    x = drawn(seed, 2, clients, 3, 2)
    np.testing.assert_allclose(aggregate("median", x), np.median(x, axis=1))
    cut = min(round(share * clients), (clients - 1) // 2)
    found = aggregate("trimmed_mean", x, share=share)
    np.testing.assert_allclose(
        found, stats.trim_mean(x, (cut + 0.5) / clients if cut else 0, axis=1)
    )


def test_krum_takes_the_update_in_the_thick_of_the_others():
    x = drawn(0, 2, 9, 4)
    x[:, 6:] += 50
    for lane, found in enumerate(aggregate("krum", x, share=1 / 3)):
        apart = ((x[lane][:, None] - x[lane][None]) ** 2).sum(axis=2)
        score = np.sort(apart, axis=1)[:, 1:5].sum(axis=1)  # 9 - 3 - 2 others
        np.testing.assert_array_equal(found, x[lane, score.argmin()])
        assert score.argmin() < 6


@pytest.mark.parametrize("name", ROBUST)
@given(seed=st.integers(0, 99))
def test_a_few_wild_updates_do_not_matter(name, seed):
    """With 3 of 10 anywhere at all, the aggregate stays among the honest ones."""
    x = drawn(seed, 1, 10, 6)
    x[:, :3] = 1e6 * drawn(seed + 1000, 1, 3, 6)
    found = aggregate(name, x, **ROBUST[name]).numpy()
    honest = x[:, 3:]
    assert (found >= honest.min(axis=1)).all() and (found <= honest.max(axis=1)).all()


@pytest.mark.parametrize("name", registry.plugins("attack"))
@given(seed=st.integers(0, 99), share=st.floats(0, 0.99), clients=st.integers(1, 40))
def test_who_is_malicious_depends_on_the_seed_and_grows_with_the_share(name, seed, share, clients):
    keys = rng.fold(rng.stream("x", seed), np.arange(3))
    few, more = (
        registry.make("attack", {"name": name, "share": s}).malicious(keys, clients)
        for s in (share / 2, share)
    )
    assert (more.sum(dim=1) == round(share * clients)).all()
    assert not (few & ~more).any()
    alone = registry.make("attack", {"name": name, "share": share}).malicious(keys[1:2], clients)
    assert torch.equal(alone[0], more[1])


def test_messages_of_attacks():
    x, keys = (
        torch.randn(2, 4, 3000, generator=torch.Generator().manual_seed(0)),
        rng.fold(7, np.arange(8)).reshape(2, 4),
    )
    who = torch.tensor([[True, False, False, True], [False, False, True, False]])
    for name in ATTACKS:
        attack = registry.make(
            "attack",
            {"name": name, "share": 0.5} | ({"scale": 20} if name == "wrong_labels" else {}),
        )
        sent = attack.spoil(x, who, keys)
        assert torch.equal(sent[~who], x[~who]) and not (sent[who] == x[who]).all(dim=1).any()
        assert torch.equal(attack.spoil(x[1:], who[1:], keys[1:])[0], sent[1])
        for before, after in zip(x[who], sent[who], strict=True):
            ratio = after / before
            if name == "same_value":
                assert (after == after[0]).all()
            elif name == "gaussian":
                assert 95 < after.std() < 105 and abs(after.mean()) < 8
            else:
                torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio))
                assert name == "wrong_labels" or ratio[0] < 0


def test_wrong_labels_are_those_of_malicious_clients_only():
    attack = {"name": "wrong_labels", "share": 0.5}
    honest, poisoned = (problem({"name": "fedavg"}, attack=a).objective for a in (None, attack))
    who = registry.make("attack", attack).malicious(np.array([rng.stream("messages", 0)]), 10)[0]
    for i, part in enumerate(honest.parts):
        same = (honest.data.y[part] == poisoned.data.y[part]).mean()
        assert same < 0.4 if who[i] else same == 1
    assert np.array_equal(honest.data.test_y, poisoned.data.test_y)


@pytest.mark.parametrize("name", ATTACKS)
def test_nobody_malicious_is_no_attack(tmp_path, name):
    plain = digits({"name": "fedavg"}, rounds=2)
    tables = run(tmp_path, none=plain, zero=plain | {"attack": {"name": name, "share": 0.0}})
    assert tables["none"].equals(tables["zero"])


def test_only_benign_clients_are_counted(tmp_path):
    """Alone, clients do not notice malicious ones; their statistics are over the others, and better by chance only."""
    attack = {"name": "wrong_labels", "share": 0.5}
    plain = digits({"name": "local"}, rounds=4)
    tables = run(tmp_path, none=plain, half=plain | {"attack": attack})
    assert tables["half"].client_test_accuracy.iloc[-1] > 0.8
    assert tables["half"].test_accuracy.iloc[-1] != tables["none"].test_accuracy.iloc[-1]


def test_what_withstands_an_attack(tmp_path):
    """same_value at 20 %: the mean is lost, robust aggregations and the bounded coupling are not."""
    shared = {"rounds": 12, "attack": {"name": "same_value", "share": 0.2}, "model": {"precision": "float32"},
              "partition": {"name": "dirichlet", "clients": 10, "alpha": 10.0}}  # fmt: skip
    shared["local"] = {"step": 0.3, "steps": 10}
    specs = {
        "mean": digits({"name": "fedavg"}, **shared),
        **{
            name: digits({"name": "fedavg"}, aggregation={"name": name}, **shared)
            for name in ROBUST
        },
        "lp1": digits(lp_proj(1, strength=0.02), **shared),
        "lp2": digits(lp_proj(2, strength=2.0), **shared),
    }
    ends = {name: t.client_test_accuracy.iloc[-1] for name, t in run(tmp_path, **specs).items()}
    assert ends["mean"] < 0.3 and ends["lp2"] < 0.4
    assert min(ends["median"], ends["trimmed_mean"], ends["krum"], ends["lp1"]) > 0.5, ends


@pytest.mark.parametrize("algorithm", [lp_proj(1), {"name": "lbgm", "threshold": 0.3}], ids=str)
def test_attacked_runs_are_the_same_after_a_resume(tmp_path, monkeypatch, algorithm):
    from fewbits import train

    monkeypatch.setattr(train, "CHECKPOINT_SECONDS", -1.0)
    plain = digits(
        algorithm, attack={"name": "gaussian", "share": 0.2}, aggregation={"name": "median"}
    )
    specs = {f"s{seed}": vary(plain, seed=seed) for seed in (0, 1)}
    run(tmp_path / "whole", **specs)
    with interrupted(3):
        run(tmp_path / "broken", **specs)
    run(tmp_path / "broken", **specs)
    assert result_bytes(tmp_path / "broken") == result_bytes(tmp_path / "whole")


def test_aggregations_refuse_methods_that_do_more_than_average():
    median, krum = (registry.make("aggregation", {"name": name}) for name in ("median", "krum"))
    partition = registry.make("partition", {"name": "iid", "clients": 2})
    for name in ("ef21", "diana", "scaffold", "rsa", "local"):
        made = registry.make("algorithm", {"name": name})
        assert "does not go on with an average" in median.check(made, None, None, None)
    fedavg = registry.make("algorithm", {"name": "fedavg"})
    assert median.check(fedavg, partition, None, None) is None
    assert "needs 3 clients in a round, there are 2" in krum.check(fedavg, partition, None, None)
