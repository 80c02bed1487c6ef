"""Qualification judgement: who of those that worked uploads, and that the others are as if they had not been asked."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import interrupted, result_bytes, run, small_problem, vary
from hypothesis import given
from hypothesis import strategies as st
from test_algorithms_conformance import ANY_COHORT, METHODS

from fewbits import registry, rng, train
from fewbits.federation import engine
from fewbits.federation.selection.base import Selection
from fewbits.federation.selection.notes import Notes

JUDGED = {"name": "qualification", "keep": 0.5}
LITERAL = {"relevance": "weights", "normalised": False, "per_row": True}


def judge(**parameters):
    return registry.make("selection", {"name": "qualification", "keep": 0.7, **parameters})


class Replay(Selection):
    """The cohorts of another run, drawn before its rounds."""

    def __init__(self, cohorts):
        self.cohorts = iter(cohorts)

    def cohort(self, keys, clients):
        return next(self.cohorts)


def states(setting, problem, rounds, seeds=(0, 1)):
    """The state and the uplink's bits after some rounds, and who sent in each."""
    x = np.stack([problem.objective.start("breast_cancer", seed) for seed in seeds])
    keys = rng.fold(rng.stream("judged"), np.arange(len(seeds)))
    batch = engine.start([str(s) for s in seeds], keys, x, np.full(len(seeds), 0.1), setting)
    senders = []
    for _ in range(rounds):
        batch.round += 1
        opened = setting.open(batch, setting.cohort(batch))
        engine._update(batch, setting, opened, problem.algorithm.round(batch.state, opened))
        senders.append(setting.network.senders)
    return batch, senders


def fits(name):
    """Whether qualification can be used with the method."""
    algorithm = registry.make("algorithm", METHODS[name]["algorithm"])
    return judge().check(algorithm) is None


@pytest.mark.parametrize("name", list(filter(fits, ANY_COHORT)))
def test_who_is_not_let_through_is_as_if_not_in_the_cohort(spec, name):
    """Bit for bit the run whose cohorts are, by foresight, those that the judgement lets through."""
    plain = vary(spec, **METHODS[name])
    judged, oracle = small_problem(plain | {"selection": JUDGED}), small_problem(plain)
    ours, senders = states(judged.setting(), judged, rounds=12)
    assert all(s.shape == (2, 10) for s in senders)
    setting = oracle.setting()
    replay = engine.Setting(
        setting.algorithm, setting.objective, setting.network, Replay(senders), setting.local
    )
    theirs, _ = states(replay, oracle, rounds=12)
    for key, value in theirs.state.items():
        assert torch.equal(ours.state[key], value), key
    reports = 12 * 8 * len(Notes().encode(torch.zeros(3)).to_bytes())
    assert torch.allclose(ours.counters[:, 2], theirs.counters[:, 2] + reports)
    assert torch.equal(ours.counters[:, :2], theirs.counters[:, :2])


@pytest.mark.parametrize("name", ["fedavg", "ef21", "scaffold"])
def test_keeping_all_changes_nothing(spec, name):
    judged, plain = (
        small_problem(vary(spec, **METHODS[name]) | extra)
        for extra in ({"selection": JUDGED | {"keep": 1.0}}, {})
    )
    ours, theirs = (states(made.setting(), made, rounds=15)[0].state for made in (judged, plain))
    assert all(torch.equal(ours[key], value) for key, value in theirs.items())


def test_report_and_flag_are_counted_as_the_bytes_they_are(spec):
    made = small_problem(vary(spec, **METHODS["fedavg"]) | {"selection": JUDGED})
    setting = made.setting()
    batch, _ = states(setting, made, rounds=3)
    message = setting.network.compress(torch.zeros(2, 20, 30, dtype=torch.float64)).bits
    report = 8 * len(Notes().encode(torch.zeros(3)).to_bytes())
    flag = 8 * len(Notes(flags=True).encode(torch.zeros(20)).to_bytes())
    model = setting.network.whole.payload((30,)).total
    assert batch.counters[:, :3].sum(dim=1).tolist() == [3 * (report + message.total / 2)] * 2
    assert batch.counters[:, 3].tolist() == [3 * (flag + model)] * 2
    sent = setting.network.sent_up
    assert sorted(set(sent[0].tolist())) == [report, report + message.total]


@given(st.integers(0, 500), st.integers(2, 40), st.floats(0.05, 1), st.floats(0, 1))
def test_the_literal_score_is_a_transcription_of_the_published_formula(seed, clients, keep, beta):
    random = np.random.default_rng(seed)
    relevance, losses = random.uniform(0.4, 1, clients), random.uniform(0.1, 3, clients)
    rows = random.integers(1, 300, clients)
    per_row = [loss / n for loss, n in zip(losses, rows, strict=True)]
    contribution = [value / sum(per_row) for value in per_row]
    scores = [(1 - beta) * i + beta * c for i, c in zip(relevance, contribution, strict=True)]
    threshold = np.percentile(scores, 100 * (1 - keep))
    wanted = [k for k, score in enumerate(scores) if score >= threshold - 1e-12]
    ours = judge(keep=keep, beta=beta, **LITERAL)
    found = ours.scores(relevance[None], losses[None], rows[None])
    np.testing.assert_allclose(found[0], scores, rtol=1e-12)
    if len(set(scores)) == clients:
        assert (
            np.flatnonzero(found[0] >= np.sort(found[0])[-ours.count(clients)]).tolist() == wanted
        )


def test_scores_by_hand():
    relevance, losses = np.array([[0.5, 1.0, 0.5]]), np.array([[3.0, 1.0, 4.0]])
    rows = np.array([[1, 2, 4]])
    found = judge(beta=0.5).scores(relevance, losses, rows)
    np.testing.assert_allclose(found, [[0.125 + 3 / 16, 0.25 + 1 / 16, 0.125 + 0.25]])
    found = judge(beta=0.5, per_row=True, normalised=False).scores(relevance, losses, rows)
    np.testing.assert_allclose(found, [[0.25 + 1.5 / 4.5, 0.5 + 0.25 / 4.5, 0.25 + 0.5 / 4.5]])
    small = judge(beta=1.0, prefer="small").scores(relevance, losses, rows)
    assert small.argmax() == 1


def test_relevance_is_agreement_with_the_last_global_step(spec):
    """In round 1 there is none; later, of signs of update and x^{t-1} - x^t, number by number."""
    made = small_problem(vary(spec, **METHODS["fedavg"]) | {"selection": {**JUDGED, "beta": 0.0}})
    setting = made.setting()
    senders = states(setting, made, rounds=2)[1]
    first = states(setting, made, rounds=1)[0].state
    start = states(setting, made, rounds=0)[0].state
    gradients = made.objective.gradients(first["x"])
    moved = start["x"] - first["x"]
    for lane in (0, 1):
        agree = [
            np.mean(
                [np.sign(a) == np.sign(b) for a, b in zip(g, moved[lane].tolist(), strict=True)]
            )
            for g in gradients[lane].tolist()
        ]
        order = sorted(range(20), key=lambda k: (-np.float32(agree[k]), k))
        assert senders[1][lane].tolist() == sorted(order[:10])
    assert senders[0].tolist() == [list(range(10))] * 2  # all alike: lowest number first


@pytest.mark.parametrize("model", [None, {"name": "least_squares"}])
def test_losses_are_those_whose_mean_is_f(spec, model):
    made = small_problem(vary(spec, **({} if model is None else {"model": model})))
    x = torch.from_numpy(np.stack([made.objective.start("breast_cancer", s) for s in (0, 1)]))
    torch.testing.assert_close(made.objective.losses(x).mean(dim=1), made.objective.loss(x))
    assert torch.equal(made.objective.losses(x[1:])[0], made.objective.losses(x)[1])


def test_fairness_is_recorded(spec, tmp_path):
    """By hand: uploads of 20 clients in 6 rounds, 10 a round."""
    chosen = vary(spec, **METHODS["fedavg"], rounds=6, record_every=2) | {"selection": JUDGED}
    table = run(tmp_path, one=chosen | {"step": {"value": 0.1}})["one"]
    made = small_problem(chosen)
    counts = torch.zeros(20)
    x = np.stack([made.objective.start("breast_cancer", 0)])
    keys = np.array([rng.stream("messages", 0)])
    batch = engine.start(["a"], keys, x, np.full(1, 0.1), made.setting())
    setting = made.setting()
    for _ in range(6):
        batch.round += 1
        opened = setting.open(batch, None)
        engine._update(batch, setting, opened, made.algorithm.round(batch.state, opened))
        counts[setting.network.senders[0]] += 1
    counts = counts.sort().values
    last = table.iloc[-1]
    assert last.upload_p0 == pytest.approx(float(counts[0]) / 6)
    assert last.upload_p100 == pytest.approx(float(counts[-1]) / 6)
    differences = (counts[:, None] - counts[None]).abs().sum()
    assert last.upload_gini == pytest.approx(float(differences / (2 * 20 * counts.sum())))
    assert table.upload_gini[0] == 0


def sweep(spec):
    chosen = vary(spec, **METHODS["ef21"], rounds=40, record_every=5) | {"selection": JUDGED}
    return {
        f"s{s}-{g}": chosen | {"seed": s, "step": {"value": g}} for s in (0, 1) for g in (0.1, 2.0)
    }


def test_alone_and_in_company_the_bytes_are_the_same(spec, tmp_path):
    run(tmp_path / "together", **sweep(spec))
    run(tmp_path / "alone", **{"s1-0.1": sweep(spec)["s1-0.1"]})
    alone, company = result_bytes(tmp_path / "alone"), result_bytes(tmp_path / "together")
    assert alone and all(company[path] == content for path, content in alone.items())


def test_stopped_and_resumed_ends_in_the_same_bytes(spec, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "CHECKPOINT_SECONDS", -1.0)
    run(tmp_path / "whole", **sweep(spec))
    with interrupted(20):
        run(tmp_path / "broken", **sweep(spec))
    run(tmp_path / "broken", **sweep(spec))
    assert result_bytes(tmp_path / "broken") == result_bytes(tmp_path / "whole")


def test_every_slot_is_filled_at_once(tmp_path):
    """FedDecorr in local work, EF21 with a low-rank compressor, skewed clients, segments, qualification, momentum at the server."""
    full = {
        "study": "full",
        "dataset": {"name": "digits"},
        "model": {"name": "network", "net": "mlp", "parameters": {"hidden": [16]}},
        "partition": {"name": "dirichlet", "clients": 8, "alpha": 0.1},
        "algorithm": {"name": "ef21"},
        "compressor": {"name": "st_hosvd", "rank": 4},
        "selection": JUDGED,
        "sending": {"name": "segments", "count": 2},
        "local": {
            "name": "sgd", "step": 0.1, "steps": 5, "batch": 32,
            "terms": {"feddecorr": {"coefficient": 0.1, "loss_scale": "code"}},
        },
        "server": {"name": "momentum", "beta": 0.5},
        "step": {"value": 0.5},
        "seed": 0,
        "rounds": 30,
        "record_every": 10,
        "stop": {},
    }  # fmt: skip
    tables = run(tmp_path, all=full, layers={k: v for k, v in full.items() if k != "sending"})
    for table in tables.values():
        assert table.test_accuracy.iloc[-1] > 0.3 > table.test_accuracy[0]
