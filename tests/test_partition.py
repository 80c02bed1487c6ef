"""Partitions: every row once, no client empty, stable under names, sane at the extremes."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewbits import registry
from fewbits.datasets.base import NOTHING, Arrays
from fewbits.partition import base, picture


def make(name, **parameters):
    return registry.make("partition", {"name": name, **parameters})


KINDS = [
    {"name": "contiguous"},
    {"name": "iid"},
    {"name": "shards"},
    {"name": "shards", "shards": 1},
    *({"name": "dirichlet", "alpha": alpha} for alpha in (1e-6, 0.01, 0.1, 1.0, 100.0)),
    *({"name": "dirichlet", "alpha": alpha, "capped": True} for alpha in (1e-6, 0.01, 1.0)),
    *({"name": "dirichlet", "alpha": alpha, "over": "classes"} for alpha in (1e-6, 0.01, 1.0)),
]


def check_partition(parts, clients, rows):
    assert len(parts) == clients
    assert all(len(p) for p in parts)
    assert all((np.diff(p) > 0).all() for p in parts)
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(rows))


@given(
    labels=st.lists(st.integers(0, 9), min_size=40, max_size=300),
    clients=st.integers(1, 20),
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 5),
)
def test_every_row_is_held_once(labels, clients, kind, seed):
    y = np.array(labels)
    parts = make(**kind, clients=clients).split(y, seed)
    check_partition(parts, clients, len(y))
    again = make(**kind, clients=clients).split(y, seed)
    assert all(np.array_equal(a, b) for a, b in zip(parts, again, strict=True))


@settings(max_examples=25)
@given(
    sizes=st.lists(st.integers(1, 900), min_size=2, max_size=20),
    alpha=st.sampled_from([0.01, 0.03, 0.1]),
    variant=st.sampled_from([{}, {"capped": True}, {"over": "classes"}]),
    minimum=st.integers(1, 10),
    seed=st.integers(0, 1000),
)
def test_dirichlet_with_a_thousand_clients_and_tiny_alpha_ends(
    sizes, alpha, variant, minimum, seed
):
    """Whatever the classes' sizes, and even where everybody must be given the minimum."""
    y = np.repeat(np.arange(len(sizes)), sizes)
    y = np.concatenate([y, np.zeros(max(0, 1000 * minimum - len(y)), dtype=int)])
    partition = make("dirichlet", clients=1000, alpha=alpha, minimum=minimum, **variant)
    assert partition.check(rows=len(y)) is None
    parts = partition.split(y, seed)
    check_partition(parts, 1000, len(y))
    assert min(map(len, parts)) >= minimum


def test_contiguous_is_the_published_split():
    parts = make("contiguous", clients=20).split(np.zeros(569, dtype=int), 0)
    assert [len(p) for p in parts] == [28] * 19 + [37]
    assert parts[1][0] == 28


def test_dirichlet_skew_grows_as_alpha_falls():
    y = np.repeat(np.arange(10), 600)
    distances = [
        base.heterogeneity(y, make("dirichlet", clients=20, alpha=a).split(y, 0))[
            "label_distance_mean"
        ]
        for a in (0.05, 0.5, 5.0, 500.0)
    ]
    assert distances == sorted(distances, reverse=True)
    assert distances[0] > 0.6 and distances[-1] < 0.05


def class_shares(y, parts):
    counts = np.array([np.bincount(y[p], minlength=y.max() + 1) for p in parts])
    return counts / counts.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("alpha", [0.3, 1.0, 10.0])
def test_dirichlet_shares_have_the_moments_of_the_distribution(alpha):
    """Symmetric Dirichlet(alpha) in n parts: mean 1/n, variance (1/n)(1 - 1/n)/(n alpha + 1)."""
    y = np.repeat(np.arange(10), 2000)
    held, mixes = [], []
    for seed in range(60):
        parts = make("dirichlet", clients=5, alpha=alpha).split(y, seed)
        held.append([np.bincount(y[p], minlength=10) / 2000 for p in parts])
        few = make("dirichlet", clients=100, alpha=10 * alpha, over="classes").split(y, seed)
        mixes.append(class_shares(y, few)[0])  # the first client sees all classes full
    noise = 1 + 10 * alpha / 200  # of 200 rows drawn with these shares
    cases = ((np.array(held), 5, 5 * alpha, 1), (np.array(mixes), 10, 10 * alpha, noise))
    for shares, n, total, factor in cases:
        expected = (1 / n) * (1 - 1 / n) / (total + 1) * factor
        assert np.mean(shares) == pytest.approx(1 / n)
        assert np.mean((shares - 1 / n) ** 2) == pytest.approx(expected, rel=0.25)


def test_dirichlet_over_classes_gives_clients_one_size():
    y = np.repeat(np.arange(10), [100, 200, 300, 400, 500, 600, 700, 800, 900, 503])
    parts = make("dirichlet", clients=30, alpha=0.01, over="classes").split(y, 0)
    assert {len(p) for p in parts} == {len(y) // 30, len(y) // 30 + 1}
    assert np.median(class_shares(y, parts).max(axis=1)) > 0.95  # nearly one class each


def test_capped_dirichlet_has_the_sizes_of_moon_s_code():
    """2,000 draws of the published sampler, 10 clients, alpha 0.5, CIFAR-10: largest / smallest 2.5, 5.08 effective
    classes a client (exponential of the entropy)."""
    y = np.repeat(np.arange(10), 5000)
    ratios, effective = [], []
    for seed in range(100):
        parts = make("dirichlet", clients=10, alpha=0.5, capped=True).split(y, seed)
        sizes = [len(p) for p in parts]
        ratios.append(max(sizes) / min(sizes))
        shares = class_shares(y, parts)
        effective.append(np.exp(-(shares * np.log(np.maximum(shares, 1e-12))).sum(axis=1)).mean())
    assert np.median(ratios) == pytest.approx(2.5, rel=0.15)
    assert np.mean(effective) == pytest.approx(5.08, rel=0.03)


def test_shards_are_mcmahan_s():
    y = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 6000))
    parts = make("shards", clients=100).split(y, 0)
    assert {len(p) for p in parts} == {600}
    assert {len(np.unique(y[p])) for p in parts} <= {1, 2}  # 300 divides 6,000: no shard straddles
    unequal = np.repeat(np.arange(10), 600)[:5950]
    held = [len(np.unique(unequal[p])) for p in make("shards", clients=35).split(unequal, 0)]
    assert min(held) >= 1 and max(held) <= 4


@given(
    classes=st.integers(2, 12),
    clients=st.integers(1, 40),
    each=st.integers(1, 12),
    seed=st.integers(0, 9),
)
def test_fixed_classes_are_exactly_so_many(classes, clients, each, seed):
    y = np.random.default_rng(seed).permutation(np.repeat(np.arange(classes), 60))
    partition = make("fixed_classes", clients=clients, classes=each)
    if each > classes or clients * each < classes:
        assert partition.check(len(y), classes=classes)
        with pytest.raises(ValueError, match=f"found classes = {each} "):
            partition.split(y, seed)
        return
    parts = partition.split(y, seed)
    check_partition(parts, clients, len(y))
    assert {len(np.unique(y[p])) for p in parts} == {each}


def test_groups_are_clients_by_the_stated_rule():
    groups = np.array([0, 1, 1, 2, 2, 2, 3, 3, 0, 1])
    data = Arrays(np.zeros((10, 1)), np.zeros(10, dtype=int), groups=groups)
    parts = make("by_group", clients=2, minimum=3).divide(data, 0)
    assert [p.tolist() for p in parts] == [[1, 2, 9], [3, 4, 5]]
    with pytest.raises(ValueError, match="only 2 groups have at least 3 rows, 3 clients"):
        make("by_group", clients=3, minimum=3).divide(data, 0)


CANNOT = [
    ({"name": "shards", "clients": 60}, {"rows": 100}, "60 clients with 2 shards"),
    ({"name": "by_group", "clients": 2}, {"rows": 9}, "natural clients"),
    ({"name": "by_group", "clients": 5}, {"rows": 9, "groups": 3}, "3 groups"),
    ({"name": "shards", "clients": 2}, {"sequence": True}, "one class a row"),
    ({"name": "dirichlet", "clients": 2, "alpha": 1}, {"sequence": True}, "one class a row"),
    (
        {"name": "dirichlet", "clients": 2, "alpha": 1, "over": "classes", "capped": True},
        {},
        "capped",
    ),
]


@pytest.mark.parametrize("spec, facts, text", CANNOT)
def test_what_cannot_be_divided_is_said_before(spec, facts, text):
    assert text in make(**spec).check(**facts)


def test_sequences_are_counted_at_every_position():
    y = np.array([[0, 1, 1], [2, NOTHING, NOTHING], [1, 1, 0]])
    summary = base.heterogeneity(y, [np.array([0, 1]), np.array([2])])
    assert summary["class_counts"] == [[1, 2, 1], [1, 2, 0]]


def test_saved_partition_reads_back(tmp_path):
    y = np.repeat([0, 1], 50)
    parts = make("iid", clients=7).split(y, 3)
    base.save(tmp_path, parts, base.heterogeneity(y, parts))
    assert all(np.array_equal(a, b) for a, b in zip(parts, base.read(tmp_path), strict=True))
    first = (tmp_path / "indices.npz").read_bytes()
    base.save(tmp_path, parts, base.heterogeneity(y, parts))
    assert (tmp_path / "indices.npz").read_bytes() == first


@pytest.mark.parametrize("clients", [1, 4])
def test_iid_holds_out_what_is_not_dealt(clients):
    y = np.zeros(569, dtype=int)
    held = np.concatenate(make("iid", clients=clients, share=0.8).split(y, 0))
    assert len(held) == len(set(held.tolist())) == 455
    assert "cannot share 4 rows" in make("iid", clients=5, share=0.4).check(rows=10)


@pytest.mark.parametrize("seed", [0, 1])
def test_iid_seeds_differ(seed):
    y = np.zeros(100, dtype=int)
    parts = make("iid", clients=4)
    assert not np.array_equal(parts.split(y, seed)[0], parts.split(y, seed + 1)[0])


@pytest.mark.parametrize("clients, classes", [(1, 2), (10, 10), (20, 62), (1000, 10), (3000, 3)])
def test_a_picture_of_any_size_is_the_same_bytes_twice(tmp_path, clients, classes):
    y = np.resize(np.arange(classes), 6000)
    parts = make("dirichlet", clients=clients, alpha=0.1).split(y, 0)
    base.save(tmp_path, parts, base.heterogeneity(y, parts))
    picture.draw(tmp_path)
    first = (tmp_path / picture.NAME).read_bytes()
    picture.draw(tmp_path)
    assert (tmp_path / picture.NAME).read_bytes() == first
    height, width = plt.imread(tmp_path / picture.NAME).shape[:2]
    assert 900 < width < 1500 and 400 < height < 1300


def test_numbers_of_a_picture_s_legend_are_round_and_not_above():
    assert [picture._round(n) for n in (0.3, 1, 9.9, 10, 49, 50, 99, 1234)] == [
        1,
        1,
        5,
        10,
        20,
        50,
        50,
        1000,
    ]


@pytest.mark.parametrize("name", registry.plugins("partition"))
def test_every_partition_takes_all_facts_and_arrays(name):
    """As the command line and the pipeline call it."""
    random = np.random.default_rng(0)
    y, groups = random.permutation(np.arange(200) % 4), random.permutation(np.arange(200) % 7)
    extra = {"alpha": 0.5} if name == "dirichlet" else {}
    partition = make(name, clients=5, **extra)
    assert partition.check(rows=200, groups=7, sequence=False) is None
    parts = partition.divide(Arrays(np.zeros((200, 1)), y, groups=groups), 0)
    rows = np.concatenate(parts)
    assert len(parts) == 5 and len(np.unique(rows)) == len(rows)
