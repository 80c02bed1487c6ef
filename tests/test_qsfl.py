"""QSFL: FedAvg where nothing is left out, its averages by hand, and the published code's protocol written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import digits_run, run, small_problem, summary, vary

from fewbits import registry, rng
from fewbits.algorithms.base import Round
from fewbits.federation import engine

QSFL = ("qsfl", "qsfl_masked", "qsfl_literal")
EVERYTHING = {
    "compressor": {"name": "top_share", "share": 1.0, "wire": "float64"},
    "sending": {"name": "segments", "count": 1},
    "selection": {"name": "qualification", "keep": 1.0},
}
WORK = {"name": "sgd", "step": 0.05, "epochs": 1, "batch": 20}


@pytest.fixture
def alike():
    """FedAvg with local work of three clients that hold as many rows; weight decay, so that no update has a zero."""
    return digits_run(
        study="qsfl",
        model={"weight_decay": 0.01},
        partition={"name": "iid", "clients": 3},
        compressor={"name": "identity", "wire": "float64"},
        local=WORK,
    )


def test_nothing_left_out_is_fedavg(alike, tmp_path):
    """Bit for bit on updates; on weights to the rounding of x - (x - y). Only reports and flags cost more."""
    qsfl = {name: alike | EVERYTHING | {"algorithm": {"name": name}} for name in QSFL}
    tables = run(tmp_path, fedavg=alike, **qsfl)
    reference = tables["fedavg"]
    for name in QSFL:
        ours = tables[name]
        if name == "qsfl_literal":
            np.testing.assert_allclose(ours.loss, reference.loss, rtol=1e-12)
            np.testing.assert_allclose(ours.grad_sq, reference.grad_sq, rtol=1e-10)
        else:
            for column in ("loss", "grad_sq", "test_accuracy", "step_sq"):
                assert (ours[column] == reference[column]).all(), (name, column)
        assert (ours.bits_up_values == reference.bits_up_values).all()
        reports = ours["round"] * 8 * (3 + 12)
        assert (ours.bits_up == reference.bits_up + reports).all()


def averages(name, c, about, senders=None):
    """x^{t+1} - x^t of one lane, from what clients sent, c (clients, d), and which of it was their turn."""
    made = registry.make("algorithm", {"name": name})

    class Network:
        pass

    network = Network()
    network.senders = None if senders is None else torch.tensor([senders])
    network.heard = lambda x: x if senders is None else x[:, senders]
    network.about = lambda like: torch.tensor([about])
    x_0 = torch.full((1, len(c[0])), 7.0)

    class Run:
        step = 1.0
        mean_where = Round.mean_where

        def __init__(self):
            self.network = network

        def down(self, x):
            return x

        def updates(self, x):
            return torch.tensor([c]) if name != "qsfl_literal" else x[:, None] - torch.tensor([c])

        def compress(self, x):
            return x

        def up(self, x):
            return x

        def descend(self, x, change):
            return x - change

    state = {"x": torch.zeros(1, len(c[0])), "x_0": x_0}
    return made.round(state, Run())["x"][0].tolist()


SENT = [[4.0, 0.0, 0.0, 0.0], [2.0, 8.0, 0.0, 0.0], [0.0, 0.0, 6.0, 0.0]]
TURN = [[True, True, False, False], [True, True, False, False], [False, False, True, True]]


@pytest.mark.parametrize(
    "name, senders, expected",
    [
        ("qsfl", None, [-3, -4, -6, 0]),
        ("qsfl_masked", None, [-3, -8, -6, 0]),
        ("qsfl_literal", None, [3, 4, 6, 0]),
        ("qsfl", [0, 1], [-3, -4, 0, 0]),
        ("qsfl_masked", [0, 1], [-3, -8, 0, 0]),
        ("qsfl_literal", [0, 1], [3, 4, 7, 7]),
        ("qsfl", [1], [-2, -8, 0, 0]),
        ("qsfl_literal", [2], [7, 7, 6, 0]),
    ],
)
def test_averages_by_hand(name, senders, expected):
    """Owners count zeros, senders do not; what nobody sent stays, or falls back to the start's 7."""
    assert averages(name, SENT, TURN, senders) == expected


def test_the_literal_protocol_written_out(spec):
    """Loops over clients, segments and entries, as the code goes through its dictionaries."""
    clients, count, share, keep, beta = 20, 6, 0.4, 0.7, 0.9
    literal = vary(spec, algorithm={"name": "qsfl_literal"}, local=WORK) | {
        "compressor": {"name": "top_share", "share": share, "wire": "float64"},
        "sending": {"name": "segments", "count": count},
        "selection": {
            "name": "qualification", "keep": keep, "beta": beta, "relevance": "weights",
            "normalised": False, "per_row": True,
        },
    }  # fmt: skip
    literal["algorithm"] = {"name": "qsfl_literal"}
    made = small_problem(literal)
    setting = made.setting()
    keys = np.array([rng.stream("literal")])
    x_0 = made.objective.start("breast_cancer", 0)
    batch = engine.start(["one"], keys, x_0[None], np.ones(1), setting)
    length = len(x_0) // count
    ours = x_0
    for t in range(8):
        batch.round = t + 1
        opened = setting.open(batch, None)
        y = ours - setting.local.updates(
            made.objective, torch.from_numpy(ours[None]), None, opened.keys, t + 1
        )[0].numpy()  # fmt: skip
        losses = made.objective.losses(torch.from_numpy(ours[None]))[0].numpy()
        engine._update(batch, setting, opened, made.algorithm.round(batch.state, opened))
        per_row = losses / made.objective.sizes
        scores = []
        for k in range(clients):
            agree = sum(1 for a, b in zip(y[k], ours, strict=True) if np.sign(a) == np.sign(b))
            scores.append((1 - beta) * agree / len(ours) + beta * per_row[k] / per_row.sum())
        threshold = np.percentile(scores, 100 * (1 - keep))
        received = {s: [] for s in range(count)}
        for k in range(clients):
            if scores[k] >= threshold - 1e-9:  # reports are float32
                s = (k + 1 + t) % count
                segment = y[k][s * length : (s + 1) * length]
                kept = np.argsort(-np.abs(segment), kind="stable")[: round(share * length)]
                sparse = np.zeros(length)
                sparse[kept] = segment[kept]
                received[s].append(sparse)
        ahead = [
            np.mean(r, axis=0) if r else x_0[s * length : (s + 1) * length]
            for s, r in received.items()
        ]
        ours = np.concatenate(ahead)
        np.testing.assert_allclose(batch.state["x"][0], ours, rtol=1e-12, atol=1e-12)
    assert (ours == 0).mean() > 0.3


@pytest.mark.parametrize("name", QSFL)
def test_bits_are_those_of_the_formula(alike, tmp_path, name):
    """Values: p of a segment of every client that uploads; positions: a bit for each number of the segment."""
    chosen = alike | EVERYTHING | {"algorithm": {"name": name}}
    chosen["partition"] = {"name": "iid", "clients": 20}
    chosen["compressor"] = {"name": "top_share", "share": 0.4}
    chosen["sending"] = {"name": "segments", "count": 6}
    chosen["selection"] = {"name": "qualification", "keep": 0.7}
    table = run(tmp_path, one=chosen)["one"]
    d = summary(tmp_path, "one", chosen)["constants"]["dim"]
    length = -(-d // 6)
    uploaders = 20 - 6  # 20 - ceil(19 * 0.3)
    each = uploaders / 20 * table["round"]
    np.testing.assert_allclose(table.bits_up_values, each * 32 * round(0.4 * length))
    np.testing.assert_allclose(table.bits_up_indices, each * length)
    head = 8 * 3 + 8 * -(-length // 8) - length  # a bitmap ends on a byte
    np.testing.assert_allclose(table.bits_up_metadata, each * head + table["round"] * 8 * 15)
