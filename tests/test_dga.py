"""Delayed gradient averaging: what it equals without delay, the paper's line step by step, and how far apart replicas are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import digits_run, run, vary

from fewbits import registry, rng
from fewbits.algorithms.dga import replicas
from fewbits.federation import assemble, engine, sampling
from fewbits.federation.local.base import Jump
from fewbits.federation.sampling import WORK
from fewbits.models.objectives.stack import StackObjective

CLIENTS = 5
TOPK = {"name": "topk", "k": 100}
MOMENTUM = {"name": "momentum", "beta": 0.9}


@pytest.fixture
def digits():
    """A run of DGA on digits, to be varied."""
    return digits_run(
        study="dga",
        partition={"clients": CLIENTS},
        algorithm={"name": "dga", "delay": 0, "correction": "work"},
        local={"name": "sgd", "step": 0.1, "steps": 1, "batch": 10},
        rounds=5,
    )


def assembled(spec):
    data = registry.make("dataset", spec["dataset"]).load()
    parts = registry.make("partition", spec["partition"]).split(data.y, spec["seed"])
    return assemble.problem(spec, data, parts)


def states(spec, rounds, quiet_after=None, seeds=(0,)):
    """The states after each round, the start first; after `quiet_after` rounds local gradients are zero."""
    problem = assembled(spec)
    problem.objective.walk = None  # gradients are looked at, and replaced
    setting = problem.setting()
    x = np.stack([problem.objective.start("digits", seed) for seed in seeds])
    keys = assemble.lane_keys([{"seed": seed} for seed in seeds])
    ones = np.full(len(seeds), spec["step"]["value"])
    batch = engine.start([str(s) for s in seeds], keys, x, ones, setting)
    found = [batch.state]
    for number in range(1, rounds + 1):
        batch.round = number
        if quiet_after is not None and number > quiet_after:
            problem.objective.client_gradients = lambda y, *_, **__: torch.zeros_like(y)
        opened = setting.open(batch, None)
        state = setting.algorithm.round(batch.state, opened)
        batch.state = state | {engine.KEPT + k: v for k, v in opened.memory.items()}
        found.append(batch.state)
    return found


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("correction", ["work", "message", "stale"])
@pytest.mark.parametrize("compressor", [None, TOPK, {"name": "qsgd", "levels": 7}], ids=["whole", "topk", "qsgd"])  # fmt: skip
def test_without_delay_it_is_fedavg_bit_for_bit(digits, tmp_path, steps, correction, compressor):
    """With one local step, synchronous SGD. Also with the server's momentum, and inside the clients."""
    base = vary(digits, local={"steps": steps}) | {"compressor": compressor, "server": MOMENTUM}
    base["clock"] = {"name": "events", "link": "home", "step_seconds": 0.01}
    fedavg = base | {"algorithm": {"name": "fedavg"}}
    own = vary(base, algorithm={"correction": correction})
    inside = vary(own, algorithm={"inside": correction != "stale"})
    tables = run(tmp_path, fedavg=fedavg, dga=own, inside=inside)
    for name in ("dga", "inside"):
        same = tables[name][list(tables["fedavg"].columns)]
        np.testing.assert_array_equal(same, tables["fedavg"])


@pytest.mark.parametrize("delay", [0, 1, 3, 7])
def test_the_paper_s_line_step_by_step(digits, delay):
    """K = 1: w_j <- w_j - eta (g_j(n) - g_j(n - D) + mean g(n - D)), the bracket being g_j(n) for n <= D."""
    spec = vary(digits, algorithm={"delay": delay, "weighted": False})
    problem, keys, eta = assembled(spec), assemble.lane_keys([{"seed": 0}]), 0.1
    f = problem.objective
    w = torch.from_numpy(f.start("digits", 0)).repeat(CLIENTS, 1)
    gradients = []
    for n, state in enumerate(states(spec, 12)[1:], start=1):
        streams = rng.fold(rng.fold(sampling.round_keys(keys, n), WORK), np.arange(CLIENTS))
        plans = [
            sampling.schedule(k, int(s), 10, None, 1) for k, s in zip(streams, f.sizes, strict=True)
        ]
        gradients.append(
            torch.cat(
                [f.client_gradients(w[i : i + 1], np.array([i]), *plans[i]) for i in range(CLIENTS)]
            )
        )
        bracket = gradients[-1].clone()
        if delay and n > delay:
            bracket += gradients[-1 - delay].mean(dim=0) - gradients[-1 - delay]
        if not delay:
            bracket = gradients[-1].mean(dim=0).expand_as(w)
        w = w - eta * bracket
        # The state is that before the newest model has come; without delay it comes at once.
        ours = state["x"].expand_as(w) if not delay else _when_due(state)
        torch.testing.assert_close(ours, w, rtol=1e-6, atol=1e-7)  # messages are float32


def _when_due(state):
    """Replicas once the model has come that is due at the end of the step."""
    coming = torch.cat([state["coming"], state["x"][:, None]], dim=1)
    return replicas(state | {"here": coming[:, 0], "own": state["own"][:, 1:]})[0]


CASES = [
    (K, D, more)
    for K, D in ((1, 4), (3, 0), (3, 2), (3, 6), (3, 10))
    for more in ({}, {"compressor": TOPK}, {"downlink": TOPK})
]


@pytest.mark.parametrize(("steps", "delay", "more"), CASES)
@pytest.mark.parametrize("correction", ["message", "work"])
def test_replicas_differ_by_what_is_on_the_way_and_nothing_older(
    digits, steps, delay, more, correction
):
    """Along real runs: without new gradients they are equal once all has come, which takes the delay and no longer."""
    spec = vary(
        digits, local={"steps": steps}, algorithm={"delay": delay, "correction": correction}
    )
    spec |= more
    late = -(-delay // steps) + 1
    path = states(spec, 6 + late, quiet_after=6)
    apart = [(replicas(s)[0] - replicas(s)[0, 0]).abs().max().item() for s in path]
    # A compressor goes on sending the error of the downlink, to all alike, but zeros of the clients.
    assert apart[6] > 1e-3
    rounding = (
        0 if delay % steps == 0 else 1e-15
    )  # where a model comes amid local work, it is added
    assert apart[6 + late] <= rounding
    if delay > steps:
        assert apart[6 + late - 2] > 1e-6
    if "downlink" not in spec:
        torch.testing.assert_close(replicas(path[-1])[0, 0], path[6]["x"][0], rtol=0, atol=rounding)


@pytest.mark.parametrize("steps", [1, 3])
def test_taking_back_what_was_not_applied_keeps_the_mean_and_loses_the_replicas(digits, steps):
    """Own work as done, taken back as decoded: replicas stay apart for good, by all that C has lost.

    Their mean has then moved by the mean of all work done, as without a compressor; taking back what was applied, it has moved
    by what was sent."""
    base = vary(digits, local={"steps": steps}, algorithm={"delay": 4, "weighted": False}) | {"compressor": TOPK}  # fmt: skip
    ends = {}
    for correction in ("work", "residual"):
        path = states(vary(base, algorithm={"correction": correction}), 12, quiet_after=5)
        ends[correction] = path[5], path[-1]
    quiet, last = ends["residual"]
    assert (replicas(last)[0] - replicas(last)[0].mean(dim=0)).norm() > 0.01
    torch.testing.assert_close(
        replicas(last).mean(dim=1), last["x"] - quiet["kept"].mean(dim=1), rtol=0, atol=1e-12
    )
    quiet, last = ends["work"]
    assert torch.equal(replicas(last)[0, 0], replicas(last)[0, 4])


def test_error_feedback_bounds_what_stays_in_a_replica(digits):
    """What the residual correction leaves in w_j is then e_j, no more than that."""
    spec = vary(digits, algorithm={"delay": 3, "correction": "residual", "error_feedback": True})
    last = states(spec | {"compressor": TOPK}, 15)[-1]
    torch.testing.assert_close(last["kept"], last["e_j"], rtol=1e-6, atol=1e-9)
    without = vary(spec, algorithm={"error_feedback": False}) | {"compressor": TOPK}
    assert states(without, 15)[-1]["kept"].norm() > 2 * last["kept"].norm()


@pytest.mark.parametrize("delay", [0, 2, 5])
def test_momentum_inside_is_momentum_on_the_bracket(digits, monkeypatch, delay):
    """K = 1: v_j <- beta v_j + bracket, w_j <- w_j - eta v_j, from the gradients that the run has taken."""
    spec = vary(digits, algorithm={"delay": delay, "inside": True, "weighted": False}) | {
        "server": MOMENTUM
    }
    taken, original = [], StackObjective.client_gradients

    def noted(self, y, *rest):
        taken.append((y.clone(), original(self, y, *rest)))
        return taken[-1][1]

    monkeypatch.setattr(StackObjective, "client_gradients", noted)
    states(spec, 10)
    w, velocity, bracketed = taken[0][0], torch.zeros_like(taken[0][0]), []
    for n, (y, gradient) in enumerate(taken):
        torch.testing.assert_close(y, w, rtol=1e-5, atol=1e-6)
        bracketed.append(gradient)
        bracket = gradient.mean(dim=0).expand_as(gradient)
        if delay:
            bracket = gradient
            if n >= delay:
                bracket = gradient + bracketed[n - delay].mean(dim=0) - bracketed[n - delay]
        velocity = 0.9 * velocity + bracket
        w = w - 0.1 * velocity


def test_a_model_that_comes_amid_local_work_is_used_from_then_on(digits):
    """Three local steps, D = 1: two of every three steps are taken with the newest average, and momentum goes on."""
    base = vary(digits, local={"steps": 3, "momentum": 0.5})
    ends = {d: states(vary(base, algorithm={"delay": d}), 8)[-1]["x"] for d in (0, 1, 2, 3)}
    away = [(ends[d] - ends[0]).norm().item() for d in (1, 2, 3)]
    assert 0 < away[0] < away[2]


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_what_comes_amid_local_work_is_added_once(digits, name):
    """Without gradients a client ends where it began, and by as much further, after whichever step it comes."""
    f = assembled(digits).objective
    f.client_gradients, f.walk = (lambda y, *_, **__: torch.zeros_like(y)), None
    given = {"step": 0.1, "steps": 3} | ({"weight_decay": 0.0} if name == "adamw" else {})
    solver, who = registry.make("local", {"name": name, **given}), torch.arange(CLIENTS)[None]
    by = torch.ones(1, CLIENTS, *f.shape, dtype=torch.float64)
    for after in (0, 1, 2):
        keys = np.array([3], np.uint64)
        assert torch.equal(solver.solve(f, 2 * by, who, keys, jump=Jump(after, by)), 3 * by)


def test_recorded_columns(digits, tmp_path):
    base = vary(digits, local={"steps": 2}, algorithm={"delay": 4}) | {"rounds": 12}
    tables = run(tmp_path, message=vary(base, algorithm={"correction": "message"}), double=vary(base, algorithm={"correction": "double"}))  # fmt: skip
    for table in tables.values():
        assert (table.replicas_test_accuracy[1:] != table.test_accuracy[1:]).any()
        assert (
            table.replicas_loss[0] == pytest.approx(table.loss[0]) and table.replicas_apart[0] == 0
        )
        assert (table.replicas_apart[2:] > 0).all()
    assert (tables["message"].settled_apart == 0).all()
    assert tables["double"].settled_apart.iloc[-1] > 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"local": {"steps": None, "epochs": 1}}, "number of them"),
        ({"local": {"name": "post_local", "start": 2, "step": 0.1, "steps": 3}}, "every round"),
        ({"algorithm": {"inside": True}}, "momentum"),
        ({"algorithm": {"inside": True, "correction": "stale"}, "server": MOMENTUM}, "take"),
        ({"clock": {"name": "phones"}, "algorithm": {"delay": 2}}, "events"),
        ({"selection": {"name": "uniform", "fraction": 0.5}}, "every round"),
    ],
)
def test_what_does_not_fit_is_refused(digits, tmp_path, changes, words):
    from fewbits.files import write_json
    from fewbits.studies import StudyError
    from fewbits.studies.one_run import read_run

    spec = {k: v for k, v in vary(digits, **changes).items() if v is not None}
    write_json(tmp_path / "run.json", spec)
    with pytest.raises(StudyError, match=words):
        read_run(tmp_path / "run.json")
