"""PowerSGD against its box written down again in NumPy, and what follows from its linearity."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from helpers import small_problem, trajectory, vary

from fewbits import rng
from fewbits.algorithms.powersgd import STREAM, blocks
from fewbits.federation import assemble, sampling
from fewbits.federation.objective import Layer

ONE = (Layer("x", (30,)),)
NET = (Layer("w", (6, 4)), Layer("b", (6,)))


class Reshaped:
    """An objective whose vector has named layers, and whose clients may be replaced by their mean."""

    precision, at_once, statistics = "float64", 1, None

    def __init__(self, inner, layers, pooled=False):
        self.inner, self.layers, self.shape = inner, layers, inner.shape
        self.pooled, self.clients = pooled, 1 if pooled else inner.clients
        self.sizes, self.smoothness = inner.sizes[: self.clients], inner.smoothness

    def gradients(self, x, cohort=None, rows=None, statistics=None):
        found = self.inner.gradients(x)
        return found.mean(dim=1, keepdim=True) if self.pooled else found

    def start(self, dataset, seed):
        return self.inner.start(dataset, seed)


def method(spec, layers=ONE, pooled=False, **parameters):
    algorithm = {"name": "powersgd", "wire": "float64", **parameters}
    problem = small_problem(vary(spec, algorithm=algorithm, compressor=None))
    return replace(problem, objective=Reshaped(problem.objective, layers, pooled))


@pytest.mark.parametrize(("layers", "rank"), [(ONE, 1), (ONE, 2), (NET, 1), (NET, 2)])
def test_is_the_box(spec, layers, rank):
    """The same iterates as Algorithms 1 and 2 in plain NumPy, client by client, with the client's own projection kept."""
    step, momentum, f = 0.03, 0.9, method(spec).objective
    path = trajectory(method(spec, layers, rank=rank, momentum=momentum), step, 25)
    x, q = path[0]["x"][0].numpy().copy(), path[0]["q"][0].numpy()
    parts, m, memory = blocks(layers, rank), np.zeros(30), np.zeros((20, 30))
    Q, start = {}, 0
    for i, b in enumerate(parts):
        Q[i] = q[start : start + b.n * b.rank].reshape(b.n, b.rank)
        start += b.n * b.rank
    for state in path[1:]:
        D = f.gradients(torch.from_numpy(x)[None])[0].numpy() + memory
        mean = np.zeros(30)
        for i, b in enumerate(parts):
            if not b.rank:
                mean[b.place], memory[:, b.place] = D[:, b.place].mean(axis=0), 0
                continue
            M = D[:, b.place].reshape(20, b.m, b.n)
            P = np.linalg.qr(np.mean([a @ Q[i] for a in M], axis=0))[0]
            own = [a.T @ P for a in M]
            Q[i] = np.mean(own, axis=0)
            mean[b.place] = (P @ Q[i].T).ravel()
            memory[:, b.place] = [(a - P @ w.T).ravel() for a, w in zip(M, own, strict=True)]
        m = momentum * m + mean
        x = x - step * (mean + m)
        np.testing.assert_allclose(state["x"][0].numpy(), x, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(state["e_i"][0].mean(dim=0), memory.mean(axis=0), atol=1e-9)


def test_without_memory_and_warm_start_a_round_is_that_of_a_run_which_begins_there(spec):
    """Nothing is carried over but x, where momentum is off too: each round projects on a Q of its own."""
    ablated = {"keeps_error": False, "warm_start": False, "momentum": 0.0}
    path = trajectory(method(spec, NET, **ablated), 0.03, 4)
    f = method(spec).objective
    steps = [(b["x"] - a["x"])[0] / -0.06 for a, b in pairwise(path)]
    for number, (state, step) in enumerate(zip(path, steps, strict=False), start=1):
        keys = sampling.round_keys(assemble.lane_keys([{"seed": 0}]), number)
        Q = rng.normals(rng.fold(keys, STREAM), 4).reshape(4, 1)
        M = f.gradients(state["x"])[0].mean(dim=0)[:24].reshape(6, 4).numpy()
        P = M @ Q / np.linalg.norm(M @ Q)
        np.testing.assert_allclose(step[:24].reshape(6, 4), P @ (P.T @ M), rtol=1e-7, atol=1e-12)
        assert not state["e_i"].any()


@pytest.mark.parametrize("layers", [ONE, NET])
def test_many_clients_are_one_that_holds_their_mean(spec, layers):
    ours = trajectory(method(spec, layers, rank=1), 0.03, 40)
    one = trajectory(method(spec, layers, pooled=True, rank=1), 0.03, 40)
    torch.testing.assert_close(ours[-1]["x"], one[-1]["x"], rtol=1e-8, atol=1e-10)


def test_full_rank_without_momentum_is_gradient_descent(spec):
    """As printed, a step without momentum is one of 2 gamma."""
    descent = small_problem(
        vary(spec, algorithm={"name": "gd"}, compressor={"name": "identity", "wire": "float64"})
    )
    ours = trajectory(method(spec, rank=30, momentum=0.0), 0.1, 40)
    theirs = trajectory(descent, 0.2, 40)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a["x"], b["x"], rtol=1e-10, atol=1e-12)
    assert ours[-1]["e_i"].mean(dim=1).abs().max() < 1e-12


@pytest.mark.parametrize(("layers", "rank", "first", "second"), [
    (ONE, 1, 6, 5), (ONE, 2, 12, 10), (ONE, 3, 30, 0), (NET, 1, 6 + 6, 4), (NET, 2, 12 + 6, 8), (NET, 3, 30, 0),
])  # fmt: skip
def test_bits_of_a_round_by_hand(spec, layers, rank, first, second):
    """Two messages a round each way, P (with whole layers) and Q, of 3 bytes' header; one where nothing is factorised."""
    problem = method(spec, layers, rank=rank, wire="float32")
    path = trajectory(problem, 0.03, 2)
    round_bits = (path[2]["bits"] - path[1]["bits"])[0]
    headers = 24 * (2 if second else 1)
    assert round_bits[0] == 32 * (first + second) and round_bits[2] == headers
    assert round_bits[3] == 32 * (first + second) + headers
    assert path[0]["bits"][0, 3] == 64 * 30 + 24, "the model goes down once"


def test_a_zero_gradient_and_a_zero_start_matrix_do_no_harm(spec):
    problem = method(spec, rank=2)

    class Flat(Reshaped):
        def gradients(self, x, cohort=None, rows=None, statistics=None):
            return torch.zeros(len(x), self.clients, 30, dtype=x.dtype)

    problem = replace(problem, objective=Flat(problem.objective.inner, ONE))
    path = trajectory(problem, 0.1, 5)
    assert all(torch.equal(s["x"], path[0]["x"]) and s["q"].isfinite().all() for s in path)
