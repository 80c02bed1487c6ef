"""Methods whose clients have models of their own: the limits in which they are one another, and what they send."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import digits_run, run, summary, vary

from fewbits import registry
from fewbits.algorithms.lp_proj_2 import LpProj2
from fewbits.compressors.identity import Identity
from fewbits.federation import assemble, engine
from fewbits.federation.fairness import of_clients
from fewbits.projectors.base import count

WORK = {"name": "sgd", "step": 0.1, "steps": 3, "batch": 8}


def digits(algorithm, **changes):
    """A run on digits with 10 clients of two classes, to be varied."""
    plain = digits_run(
        study="personal",
        model={"train_metrics": False, "client_tests": True},
        partition={"name": "fixed_classes", "clients": 10, "classes": 2},
        algorithm=algorithm,
        local=WORK,
        rounds=5,
    )
    return vary(plain, **changes)


def problem(algorithm, **changes):
    spec = digits(algorithm, **changes)
    data = registry.make("dataset", spec["dataset"]).load()
    parts = registry.make("partition", spec["partition"]).divide(data, spec["seed"])
    return assemble.problem(spec, data, parts)


def states(algorithm, rounds=5, seeds=(0,), **changes):
    """The batch's state after every round, the first one included; `x` is the model that is measured, `used` what clients use,
    `bits` what was sent until then."""
    setting = problem(algorithm, **changes).setting()
    keys = assemble.lane_keys([{"seed": seed} for seed in seeds])
    x = np.stack([setting.objective.start("digits", seed) for seed in seeds])
    batch = engine.start([str(s) for s in seeds], keys, x, np.ones(len(seeds)), setting)

    def now() -> dict:
        used = setting.algorithm.used(batch.state, setting.evaluation())
        found = {"x": setting.model(batch.state), "used": used, "bits": batch.counters.clone()}
        return batch.state | found

    found = [now()]
    for _ in range(rounds):
        batch.round += 1
        opened = setting.open(batch, setting.cohort(batch))
        batch.state = setting.algorithm.round(batch.state, opened)
        found.append(now())
    return found


def lp_proj(p, **parameters):
    return {
        "name": f"lp_proj_{p}",
        "reference_step": 0.5,
        "ratio": 0.1,
        "strength": 0.5,
        **parameters,
    }


ALONE = {
    "lp-proj-1": lp_proj(1, strength=0.0),
    "lp-proj-2": lp_proj(2, strength=0.0),
    "pFedMe": {"name": "pfedme", "strength": 0.0},
    "Ditto": {"name": "ditto", "strength": 0.0},
    "RSA": {"name": "rsa", "strength": 0.0},
}


@pytest.mark.parametrize("name", ALONE)
def test_without_a_coupling_every_client_trains_alone(name):
    ours, alone = states(ALONE[name])[-1], states({"name": "local"})[-1]
    torch.testing.assert_close(ours["theta_i"], alone["theta_i"], rtol=1e-9, atol=1e-12)
    assert alone["bits"].sum() == 0


@pytest.mark.parametrize("repeats", [1, 3])
def test_lp_proj_2_with_an_orthogonal_matrix_is_pfedme(repeats):
    shared = {"strength": 2.0, "reference_step": 0.4, "repeats": repeats}
    ours = states({"name": "lp_proj_2", "ratio": 1.0, **shared})
    theirs = states({"name": "pfedme", **shared})
    for a, b in zip(ours, theirs, strict=True):
        assert (a["theta_i"] - b["theta_i"]).abs().max() < 1e-5  # the wire is float32
    assert (ours[-1]["theta_i"] - states({"name": "local"})[-1]["theta_i"]).abs().max() > 0.01


def test_lp_proj_1_with_a_signed_permutation_is_rsa():
    shared = {"strength": 0.05, "reference_step": 0.2718}  # no multiple of the local step: no ties
    single = {
        "model": {"precision": "float32"}
    }  # the wire rounds nothing, so that zeros stay zeros under the sign
    ours = states({"name": "lp_proj_1", "ratio": 1.0, **shared}, **single)
    theirs = states({"name": "rsa", **shared}, **single)
    apart = [(a["theta_i"] - b["theta_i"]).abs() for a, b in zip(ours, theirs, strict=True)]
    assert max(difference.max() for difference in apart[:3]) < 1e-5
    assert (
        apart[-1] > 1e-5
    ).double().mean() < 0.01  # then a sign of a rounding error here and there


def test_ditto_moves_the_global_model_as_fedavg_does():
    ours, theirs = states({"name": "ditto", "strength": 0.3}), states({"name": "fedavg"})
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a["x"], b["x"], rtol=0, atol=1e-12)


def test_fedavg_in_one_round_averages_what_clients_alone_end_with():
    """The same samples in both: personal methods and global ones differ in what they do, not in luck."""
    sizes = problem({"name": "fedavg"}).objective.sizes
    alone = states({"name": "local"}, rounds=1)[-1]["theta_i"][0].numpy()
    together = states({"name": "fedavg"}, rounds=1)[-1]["x"][0].numpy()
    np.testing.assert_allclose(np.average(alone, axis=0, weights=sizes), together, atol=1e-6)


@pytest.mark.parametrize("projector", ["dense", "sparse_sign", "srht"])
@pytest.mark.parametrize("p", [1, 2])
def test_what_crosses_is_k_numbers_each_way(p, projector):
    made = problem(lp_proj(p, projector=projector))
    d = made.objective.shape[0]
    k = count(0.1, d)
    path = states(lp_proj(p, projector=projector), rounds=2)
    real = len(Identity().encode(torch.zeros(k)).to_bytes()) * 8
    down = len(Identity(wire="float64").encode(torch.zeros(k)).to_bytes()) * 8
    assert path[0]["bits"].sum() == 0
    assert path[2]["bits"][0, 0] == 2 * 32 * k
    assert path[2]["bits"][0, :3].sum() == 2 * real
    assert path[2]["bits"][0, 3] == 2 * down


@pytest.mark.parametrize("projector", ["dense", "sparse_sign", "srht"])
def test_one_round_by_hand(projector):
    """The box, written again with the matrix itself, for one client with one step on all of its rows."""
    changes = {"local": {"name": "sgd", "step": 0.1, "steps": 1, "batch": 2000}}
    algorithm = lp_proj(2, projector=projector, ratio=0.3, start="zero")
    made = problem(algorithm, **changes)
    before, after = states(algorithm, rounds=1, **changes)
    setting = made.setting()
    P = (
        LpProj2(**{k: v for k, v in algorithm.items() if k != "name"})
        .projectors(before["x"], engine.Setting.open(setting, _batch(setting, before), None))[0]
        .matrix()
    )
    gradient = setting.objective.gradients(before["x"])[0, 4].numpy()
    theta = before["x"][0].numpy()
    theta = theta - 0.1 * (gradient + 0.5 * P.T @ (P @ theta))
    np.testing.assert_allclose(after["theta_i"][0, 4].numpy(), theta, atol=1e-10)
    ends = after["theta_i"][0].numpy() @ P.T
    np.testing.assert_allclose(after["w"][0].numpy(), (0.5 * 0.5 * ends).mean(axis=0), atol=1e-6)


def _batch(setting, state):
    keys = assemble.lane_keys([{"seed": 0}])
    return engine.Batch(
        ["a"], keys, torch.ones(1, 1), state, torch.zeros(1, 4, dtype=torch.float64)
    )


def test_clients_agree_where_the_matrix_looks_and_nowhere_else():
    """With a strong coupling P theta_i come together; what P does not see stays as far apart as without it."""
    algorithm = lp_proj(2, ratio=0.05, strength=10.0, reference_step=0.1)
    ours, alone = states(algorithm, rounds=15)[-1], states({"name": "local"}, rounds=15)[-1]
    made = problem(algorithm).setting()
    P = made.algorithm.projectors(ours["x"], made.open(_batch(made, ours), None))

    def spread(theta):
        return (theta - theta.mean(dim=1, keepdim=True)).norm()

    seen = [made.algorithm.project(s["theta_i"], P) for s in (ours, alone)]
    assert spread(seen[0]) < 0.35 * spread(seen[1])
    assert spread(ours["theta_i"]) > 0.9 * spread(alone["theta_i"])


@pytest.mark.parametrize("name", ["lp_proj_2", "ditto", "local", "lbgm", "per_fedavg"])
def test_a_lane_does_not_depend_on_the_others(name):
    algorithm = lp_proj(2, projector="dense") if name == "lp_proj_2" else {"name": name}
    shared = {"partition": {"name": "contiguous", "clients": 7}, "model": {"precision": "float32"}}
    together = states(algorithm, seeds=(5, 6, 7), rounds=3, **shared)[-1]
    alone = states(algorithm, seeds=(6,), rounds=3, **shared)[-1]
    for key, value in alone.items():
        assert torch.equal(value[0], together[key][1]), key


def test_half_a_cohort_leaves_the_others_models_alone():
    half = {"selection": {"name": "uniform", "fraction": 0.5}}
    before, after = states(lp_proj(2), rounds=1, **half)
    moved = (before["theta_i"] != after["theta_i"]).any(dim=2)[0]
    assert moved.sum() == 5


# --- each client's own test rows


@pytest.mark.parametrize("partition", [{"name": "fixed_classes", "clients": 10, "classes": 2},
                                       {"name": "dirichlet", "clients": 10, "alpha": 0.3}])  # fmt: skip
def test_own_test_rows_are_those_of_the_classes_held(partition):
    made = problem({"name": "local"}, partition=partition)
    f, tests = made.objective, made.objective.own_tests
    y, test_y = f.data.y, f.data.test_y
    for i, part in enumerate(f.parts):
        found = np.bincount(test_y[tests.rows[i]], weights=tests.weights[i], minlength=10)
        np.testing.assert_allclose(found, np.bincount(y[part], minlength=10) / len(part))


def test_accuracy_on_own_rows_is_that_counted_by_hand():
    f = problem({"name": "local"}).objective
    models = torch.from_numpy(np.stack([f.start("digits", i) for i in range(10)]))
    found = f.own_tests(models[None])[0]
    shared = f.own_tests(models[:1])[0]
    pixels = torch.from_numpy(f.data.test_x)
    for i, part in enumerate(f.parts):
        for model, accuracy in ((models[i], found[i]), (models[0], shared[i])):
            right = f.logits(model, pixels).argmax(dim=1).numpy() == f.data.test_y
            by_class = [right[f.data.test_y == c].mean() for c in f.data.y[part]]
            assert float(accuracy) == pytest.approx(np.mean(by_class))


def test_models_of_their_own_on_a_convolution_agree_with_one_by_one():
    f = problem({"name": "local"}, model={"net": "digits_cnn", "parameters": {}}).objective
    models = torch.from_numpy(np.stack([f.start("digits", 0)] * 10))
    assert torch.equal(f.own_tests(models[None]), f.own_tests(models[:1]))


def test_natural_clients_are_tested_on_their_own_rows():
    from fewbits.datasets.base import Arrays
    from fewbits.models.objectives.own_tests import OwnTests

    groups, test_groups = np.array([0, 0, 1, 1, 2]), np.array([1, 0, 2, 0])
    data = Arrays(
        np.zeros((5, 2)),
        np.zeros(5, np.int64),
        np.zeros((4, 2)),
        np.zeros(4, np.int64),
        groups,
        test_groups,
    )
    tests = OwnTests(None, data, [np.array([0, 1]), np.array([2, 3])])
    assert tests.rows[0].tolist() == [1, 3] and tests.weights[0].tolist() == [0.5, 0.5]
    assert tests.rows[1, 0] == 0 and tests.weights[1].tolist() == [1, 0]
    with pytest.raises(ValueError, match="client 0 has no test rows"):
        OwnTests(None, data, [np.array([], int)])


def test_statistics_over_clients():
    accuracy = torch.linspace(0, 1, 20, dtype=torch.float64)[None].repeat(2, 1)
    benign = torch.ones(2, 20, dtype=torch.bool)
    benign[1, :10] = False
    found = of_clients(accuracy, benign)
    np.testing.assert_allclose(found["client_test_accuracy"], [0.5, accuracy[0, 10:].mean()])
    np.testing.assert_allclose(found["client_test_accuracy_low"], [0.5 / 19, 10 / 19])
    np.testing.assert_allclose(found["client_test_variance"][0], accuracy[0].numpy().var())


def test_recorded_are_the_clients_models_not_the_servers(tmp_path):
    tables = run(tmp_path, local=digits({"name": "local"}), fedavg=digits({"name": "fedavg"}))
    last = {name: table.iloc[-1] for name, table in tables.items()}
    assert last["local"].client_test_accuracy > last["fedavg"].client_test_accuracy + 0.2
    assert last["local"].client_test_accuracy > last["local"].test_accuracy
    assert last["local"].bits_up == last["local"].bits_down == 0
    assert 0 <= last["fedavg"].client_test_accuracy_low <= last["fedavg"].client_test_accuracy
    assert summary(tmp_path, "local", digits({"name": "local"}))["status"] == "finished"


# --- what is refused


@pytest.mark.parametrize("algorithm, words", [
    (lp_proj(2, strength=15.0, projector="dense"), "local step x strength x |P|^2 is"),
    (lp_proj(2, strength=15.0, reference_step=0.2), "reference_step x strength is 3 and must be below 2"),
    ({"name": "pfedme", "strength": 25.0}, "local step x strength is 2.5"),
    ({"name": "ditto", "strength": 20.0}, "must be below 2"),
])  # fmt: skip
def test_steps_beyond_the_bound_are_refused(algorithm, words):
    made = registry.make("algorithm", algorithm)
    others = {"model": None} | ({"server": None} if algorithm["name"] == "lp_proj_2" else {})
    assert words in made.check(local=registry.make("local", WORK), **others)
    assert "local work" in made.check(local=None, **others)
    normed = registry.make(
        "model", {"name": "network", "net": "resnet8", "parameters": {"norm": "batch"}}
    )
    assert "norm: batch" in made.check(
        local=registry.make("local", WORK), **others | {"model": normed}
    )


def test_the_coupling_diverges_beyond_the_bound_and_not_below():
    """eta lambda |P|^2 = 2 for the dense matrix, along its first singular direction."""
    strength = {2.2: 1e3, 1.8: 10.0}
    for amount, level in strength.items():
        size = (1 + 0.3**0.5) ** 2
        algorithm = lp_proj(
            2, projector="dense", ratio=0.3, strength=amount / (0.1 * size), reference_step=0.01
        )
        work = {"local": {"name": "sgd", "step": 0.1, "steps": 20, "batch": 8}}
        theta = states(algorithm, rounds=8, **work)[-1]["theta_i"].abs().max()
        assert (theta > level) == (amount > 2)


# --- baselines


def test_per_fedavg_with_a_tiny_look_ahead_is_fedavg_on_half_batches():
    """Its gradient is taken on every other row of a batch, one small step ahead; on copies of a row that is no difference."""
    from fewbits.algorithms.per_fedavg import LookAhead, _halves

    weights = np.array([[0.2, 0.2, 0.2, 0.4, 0], [1, 0, 0, 0, 0]])
    first, second = _halves(weights)
    np.testing.assert_allclose(first, [[0.5, 0, 0.5, 0, 0], [1, 0, 0, 0, 0]])
    np.testing.assert_allclose(second, [[0, 1 / 3, 0, 2 / 3, 0], [1, 0, 0, 0, 0]])
    f = problem({"name": "fedavg"}).objective
    y = torch.from_numpy(np.stack([f.start("digits", i) for i in range(2)]))
    places = np.full((2, 5), 3)
    near, far = (
        LookAhead(f, a).client_gradients(y, np.arange(2), places, weights) for a in (1e-12, 0.3)
    )
    plain = f.client_gradients(y, np.arange(2), places, weights)
    torch.testing.assert_close(near, plain, rtol=1e-9, atol=1e-9)
    ahead = f.client_gradients(y - 0.3 * plain, np.arange(2), places, weights)
    torch.testing.assert_close(far, ahead, rtol=1e-9, atol=1e-9)


def test_per_fedavg_serves_clients_one_step_from_the_global_model():
    last = states({"name": "per_fedavg", "adaptation": 0.2}, rounds=2)[-1]
    f = problem({"name": "per_fedavg"}).objective
    torch.testing.assert_close(last["used"], last["x"][:, None] - 0.2 * f.gradients(last["x"]))


def test_lg_fedavg_shares_the_head_only():
    f = problem({"name": "lg_fedavg"}).objective
    head = 12 * 10 + 10
    last = states({"name": "lg_fedavg"}, rounds=3)[-1]
    theta = last["used"][0]
    assert (theta[:, -head:] == theta[0, -head:]).all()
    assert (theta[:, :-head] != theta[0, :-head]).any(dim=1)[1:].all()
    assert last["bits"][0, 0] == 3 * 32 * head and f.shape[0] > head


def test_lg_fedavg_that_shares_everything_is_fedavg():
    ours, theirs = states({"name": "lg_fedavg", "shared": ""}), states({"name": "fedavg"})
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a["x"], b["x"], rtol=0, atol=1e-6)  # what crosses is float32


def test_lg_fedavg_names_the_layers_it_could_share():
    with pytest.raises(ValueError, match="found 'tail'; layers of this model: features"):
        states({"name": "lg_fedavg", "shared": "tail"}, rounds=1)


def test_lbgm_at_the_ends_of_its_threshold():
    """0: every message is whole, FedAvg. 1: after the first round every message is one number."""
    whole, fedavg = (
        states(a, rounds=3)[-1] for a in ({"name": "lbgm", "threshold": 0.0}, {"name": "fedavg"})
    )
    torch.testing.assert_close(whole["x"], fedavg["x"], rtol=0, atol=1e-6)
    assert torch.equal(whole["bits"], fedavg["bits"])
    d = fedavg["x"].shape[1]
    assert states({"name": "lbgm", "threshold": 1.0}, rounds=3)[-1]["bits"][0, 0] == 32 * (d + 2)


@pytest.mark.parametrize("threshold", [0.2, 0.5])
def test_lbgm_is_off_by_no_more_than_its_threshold(threshold):
    """|g - rho l|^2 <= threshold |g|^2, for each message of a real run."""
    made = problem({"name": "lbgm", "threshold": threshold}).setting()
    seen = []

    class Watched(type(made.network)):
        def up(self, message):
            seen.append((message.value, message.bits.total))
            return super().up(message)

    made.network.__class__ = Watched
    state, keys = (
        states({"name": "lbgm", "threshold": threshold}, rounds=0)[0],
        assemble.lane_keys([{"seed": 0}]),
    )
    state.pop("bits")
    batch = engine.Batch(
        ["a"], keys, torch.ones(1, 1), state, torch.zeros(1, 4, dtype=torch.float64)
    )
    for _ in range(6):
        batch.round += 1
        opened = made.open(batch, None)
        wanted = opened.updates(batch.state["x"])
        batch.state = made.algorithm.round(batch.state, opened)
        left = ((wanted - seen[-1][0]) ** 2).sum(dim=-1)
        assert (left <= (threshold + 1e-6) * (wanted**2).sum(dim=-1)).all()
    lengths = {float(bits) for _, sent in seen for bits in torch.as_tensor(sent).flatten()}
    assert len(lengths) == 2  # some whole, some not
