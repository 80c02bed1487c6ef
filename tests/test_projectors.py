"""Projectors: a random map that both sides make from a seed, against its explicit matrix."""

from __future__ import annotations

import time

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st

from fewbits.projectors import PROJECTORS
from fewbits.projectors.base import count

KINDS = sorted(PROJECTORS)
sizes = st.tuples(st.integers(1, 90), st.integers(1, 90)).map(sorted)


def made(kind, k, d, seed=3, dtype=torch.float64):
    return PROJECTORS[kind](seed, k, d, dtype)


@pytest.mark.parametrize("kind", KINDS)
@given(kd=sizes, rows=st.integers(1, 5), seed=st.integers(0, 2**63 - 1))
def test_forward_and_adjoint_are_a_matrix_and_its_transpose(kind, kd, rows, seed):
    k, d = kd
    p = made(kind, k, d, seed)
    matrix = p.matrix()
    random = np.random.default_rng(0)
    x, v = random.standard_normal((rows, d)), random.standard_normal((rows, k))
    np.testing.assert_allclose(p.forward(torch.from_numpy(x)).numpy(), x @ matrix.T, atol=1e-10)
    np.testing.assert_allclose(p.adjoint(torch.from_numpy(v)).numpy(), v @ matrix, atol=1e-10)
    left = (p.forward(torch.from_numpy(x)).numpy() * v).sum()
    assert left == pytest.approx((x * p.adjoint(torch.from_numpy(v)).numpy()).sum(), abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_have_length_one_and_rank_k(kind):
    p = made(kind, 37, 300)
    np.testing.assert_allclose(np.linalg.norm(p.matrix(), axis=1), 1)
    assert np.linalg.matrix_rank(p.matrix()) == 37


@pytest.mark.parametrize("kind", KINDS)
def test_moments_over_seeds(kind):
    """E P^T P = (k/d) I: no direction is better seen than another."""
    d, k, draws = 24, 6, 4000
    total = np.zeros((d, d))
    for seed in range(draws):
        matrix = made(kind, k, d, seed).matrix()
        total += matrix.T @ matrix
    np.testing.assert_allclose(total / draws, np.eye(d) * k / d, atol=6 / draws**0.5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("k", "d"), [(10, 1000), (100, 1000), (500, 1000), (100, 2410)])
def test_spectrum(kind, k, d):
    """P P^T is near I where rows are nearly orthogonal, P^T P is at sqrt(d - k) from I."""
    p = made(kind, k, d)
    matrix = p.matrix()
    found = np.linalg.svd(matrix, compute_uv=False) ** 2
    assert found.max() <= 1.03 * p.norm_squared(k / d)
    apart = np.linalg.norm(matrix.T @ matrix - np.eye(d)) ** 2
    assert apart == pytest.approx(d - k + ((found - 1) ** 2).sum())
    if kind == "sparse_sign":
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(k), atol=1e-12)
    if kind == "dense":
        assert found.min() > (1 - (k / d) ** 0.5) ** 2 - 0.05


def test_hadamard_rows_are_those_of_scipy():
    p = made("srht", 16, 16)
    entries = {tuple(row) for row in np.sign(p.matrix() / np.sign(p.matrix()[0]))}
    known = scipy.linalg.hadamard(16)
    assert entries == {tuple(row) for row in known * known[0]}
    np.testing.assert_allclose(p.matrix() @ p.matrix().T, np.eye(16), atol=1e-12)


@pytest.mark.parametrize("kind", ["sparse_sign", "srht"])
def test_of_full_rank_it_is_orthogonal(kind):
    matrix = made(kind, 64, 64).matrix()
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(64), atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_says_everything(kind):
    one, again, other = (made(kind, 7, 50, seed).matrix() for seed in (1, 1, 2))
    assert np.array_equal(one, again) and not np.array_equal(one, other)


@pytest.mark.parametrize("kind", KINDS)
def test_float32_agrees_with_float64(kind):
    x = torch.randn(3, 200, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    single, double = (
        made(kind, 20, 200, dtype=t).forward(x.to(t)) for t in (torch.float32, torch.float64)
    )
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-5)


def test_more_numbers_than_there_are_is_refused():
    with pytest.raises(ValueError, match="found k = 9 for 8 numbers"):
        made("dense", 9, 8)


def test_the_share_is_rounded_to_at_least_one():
    assert [count(r, 7510) for r in (1e-9, 0.01, 1.0)] == [1, 75, 7510]


def test_sparse_signs_cost_less_than_a_dense_matrix():
    """The reason for it: O(d) a use. Processor time of the best of several, both in the same company."""
    x = torch.randn(8, 20_000, generator=torch.Generator().manual_seed(0))
    cost = {}
    for kind in KINDS:
        p, best = made(kind, 500, 20_000, dtype=torch.float32), np.inf
        for _ in range(5):
            start = time.process_time()
            p.adjoint(p.forward(x))
            best = min(best, time.process_time() - start)
        cost[kind] = best
    assert cost["sparse_sign"] < cost["dense"] / 2
