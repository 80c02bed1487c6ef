"""The slots of a round: who takes part, and on which rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fewbits import registry, rng
from fewbits.federation import sampling


@given(seed=st.integers(0, 1000), clients=st.integers(1, 50), fraction=st.floats(0.01, 1))
def test_a_cohort_is_a_set_of_the_asked_size(seed, clients, fraction):
    selection = registry.make("selection", {"name": "uniform", "fraction": fraction})
    keys = rng.fold(rng.stream("x", seed), np.arange(3))
    cohort = selection.cohort(keys, clients)
    size = max(1, round(fraction * clients))
    if size == clients:
        assert cohort is None
        return
    assert cohort.shape == (3, size)
    assert (np.diff(cohort.numpy(), axis=1) > 0).all() and cohort.max() < clients
    assert torch.equal(selection.cohort(keys[1:2], clients)[0], cohort[1])


def test_every_client_is_as_likely():
    selection = registry.make("selection", {"name": "uniform", "fraction": 0.3})
    cohort = selection.cohort(rng.fold(rng.stream("likely"), np.arange(4000)), 10)
    counts = np.bincount(cohort.flatten().numpy(), minlength=10)
    assert abs(counts - 1200).max() < 5 * (4000 * 0.3 * 0.7) ** 0.5


@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6), batch=st.integers(1, 50))
def test_a_sample_has_different_rows_and_weights_that_sum_to_one(sizes, batch):
    sizes = np.array(sizes)
    cohort = torch.arange(len(sizes)).expand(2, -1)
    rows = sampling.batches(np.array([5, 6], np.uint64), cohort, sizes, batch)
    for lane, i in np.ndindex(cohort.shape):
        used = rows.weights[lane, i] > 0
        taken = rows.positions[lane, i][used]
        assert len(set(taken)) == used.sum() == min(batch, sizes[i])
        assert taken.max() < sizes[i]
    np.testing.assert_allclose(rows.weights.sum(axis=-1), 1)


def test_a_sample_does_not_depend_on_who_else_takes_part():
    sizes, keys = np.arange(10, 30), np.array([9], np.uint64)
    everyone = sampling.batches(keys, torch.arange(20)[None], sizes, 4)
    some = sampling.batches(keys, torch.tensor([[3, 7, 19]]), sizes, 4)
    assert np.array_equal(everyone.positions[:, [3, 7, 19]], some.positions)


@pytest.mark.parametrize("number", [1, 3, 4])
def test_post_local_work_is_one_step_and_later_many(spec, number):
    data = registry.make("dataset", spec["dataset"]).load()
    parts = registry.make("partition", spec["partition"]).split(data.y, 0)
    f = registry.make("model", spec["model"]).objective(data, parts)
    x, keys = torch.zeros(1, *f.shape, dtype=torch.float64), rng.fold(rng.stream("x"), [number])
    given = {"step": 0.1, "batch": 5, "momentum": 0.5}
    post = registry.make("local", {"name": "post_local", "start": 3, "steps": 7, **given})
    steps = 1 if number <= 3 else 7
    plain = registry.make("local", {"name": "sgd", "steps": steps, **given})
    found, wanted = (local.updates(f, x, None, keys, number) for local in (post, plain))
    assert torch.equal(found, wanted)
    sizes = f.sizes[None]
    assert (post.work(sizes, number).steps == steps).all()
    assert (post.travel(sizes, number) == plain.travel(sizes, number)).all()


def test_mean_gradient_of_samples_is_the_gradient(spec):
    """Unbiased: the mean over many draws comes near the full gradient."""
    data = registry.make("dataset", spec["dataset"]).load()
    parts = registry.make("partition", spec["partition"]).split(data.y, 0)
    f = registry.make("model", spec["model"]).objective(data, parts)
    x = torch.from_numpy(f.start("breast_cancer", 0)).expand(3000, -1).contiguous()
    local = registry.make("local", {"name": "gradient", "batch": 5})
    keys = rng.fold(rng.stream("unbiased"), np.arange(3000))
    drawn = local.updates(f, x, torch.full((3000, 1), 4), keys)[:, 0]
    off = (drawn.mean(dim=0) - f.gradients(x[:1])[0, 4]).abs()
    assert (off <= 5 * drawn.std(dim=0) / 3000**0.5).all()
