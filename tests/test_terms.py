"""Terms of the local objective: against their papers' formulas, on any network, and in runs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import digits_run, interrupted, result_bytes, run
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cosine_similarity

from fewbits import registry, rng, train
from fewbits.federation.local.terms.base import Seen
from fewbits.models.objectives.autograd import AutogradObjective
from fewbits.studies import check_files, load_study


def batch(clients=3, rows=12, features=7, short=4, seed=0, correlated=0.0):
    """Representations (clients, rows, features) float64, of which the last client has `short` rows; weights."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(clients, rows, features, dtype=torch.float64, generator=generator)
    z = z + correlated * torch.randn(clients, rows, 1, dtype=torch.float64, generator=generator)
    weights = torch.full((clients, rows), 1 / rows, dtype=torch.float64)
    weights[-1, short:], weights[-1, :short] = 0, 1 / short
    return z, weights


def decorrelation(scale="code", coefficient=1.0, **others):
    block = {"name": "feddecorr", "coefficient": coefficient, "loss_scale": scale, **others}
    return registry.make("term", block)


def covariance_form(z, scale):
    """The published code's loss on one client's rows (N, C), and the paper's text, both by C x C matrices."""
    n, c = z.shape
    centred = z - z.mean(dim=0)
    standard = centred / torch.sqrt(1e-8 + centred.var(dim=0))
    if scale == "paper":
        return ((standard.T @ standard / (n - 1)) ** 2).sum() / c**2
    m = standard.T @ standard
    off = m.flatten()[:-1].view(c - 1, c + 1)[:, 1:]
    return (off**2).mean() / n


@pytest.mark.parametrize("scale", ["code", "paper"])
@pytest.mark.parametrize("features", [3, 7, 40], ids="{} features".format)
def test_the_gram_form_is_the_covariance_form(scale, features):
    """Value and derivative, for fewer and for more features than rows, and for a client with fewer rows."""
    z, weights = batch(features=features, correlated=2.0)
    value, slope = decorrelation(scale, 0.3).value_and_slope(Seen(z, weights))
    for i, rows in enumerate((12, 12, 4)):
        own = z[i, :rows].clone().requires_grad_()
        wanted = 0.3 * covariance_form(own, scale)
        (derivative,) = torch.autograd.grad(wanted, own)
        assert value[i].item() == pytest.approx(wanted.item(), rel=1e-12)
        torch.testing.assert_close(slope[i, :rows], derivative, rtol=1e-9, atol=1e-13)
        assert not slope[i, rows:].any()


@given(st.integers(2, 70), st.integers(2, 20), st.integers(0, 99))
def test_both_scales_are_multiples_of_the_mean_squared_correlation(rows, features, seed):
    """code: (N-1)^2/N times the mean of r^2 off the diagonal; paper: the mean with the diagonal."""
    z, weights = batch(1, rows, features, rows, seed, correlated=1.0)
    z = 1e3 * z  # far from where the 1e-8 in the variances matters
    r = np.corrcoef(z[0].numpy().T)
    off = r[~np.eye(features, dtype=bool)] ** 2
    seen = Seen(z, weights)
    code, paper = (decorrelation(s).value_and_slope(seen)[0].item() for s in ("code", "paper"))
    assert code == pytest.approx((rows - 1) ** 2 / rows * off.mean(), rel=1e-5)
    assert paper == pytest.approx((r**2).mean(), rel=1e-5)


def test_the_scales_are_62_apart_at_batches_of_64():
    """So a coefficient without its scale means nothing."""
    z, weights = batch(1, 64, 64, 64, correlated=2.0)
    seen = Seen(z, weights)
    code, paper = (decorrelation(s).value_and_slope(seen)[1] for s in ("code", "paper"))
    torch.testing.assert_close(code, paper * 63**2 / 64 * 64 / 63, rtol=1e-6, atol=1e-12)
    assert pytest.approx(62, abs=0.02) == 63**2 / 64


def test_dead_and_tiny_features_count_as_uncorrelated():
    """The loophole: the loss falls where features stop varying, though nothing was decorrelated."""
    z, weights = batch(1, 64, 16, 64, correlated=3.0)
    term = decorrelation()

    def value(x):
        return term.value_and_slope(Seen(x, weights))[0].item()

    dead = z.clone()
    dead[..., 8:] = 0.5
    assert value(dead) < 0.3 * value(z)
    assert value(1e3 * z) == pytest.approx(value(z), rel=1e-6)
    assert value(1e-6 * z) < 1e-3 * value(z)
    slope = term.value_and_slope(Seen(dead, weights))[1]
    assert torch.isfinite(slope).all() and not slope[..., 8:].any()


def test_batches_of_few_rows_are_left_alone():
    z, weights = batch(short=1)
    value, slope = decorrelation().value_and_slope(Seen(z, weights))
    assert value[-1] == 0 and not slope[-1].any() and torch.isfinite(slope).all()
    value, slope = decorrelation(least=13).value_and_slope(Seen(z, weights))
    assert not value.any() and not slope.any()
    two = batch(1, 2, 5, 2)
    value = decorrelation().value_and_slope(Seen(*two))[0]
    assert value.item() == pytest.approx(0.5, abs=1e-6)  # r is +-1, whatever the rows


def test_moon_is_its_equation():
    z, weights = batch(features=5)
    near, far = batch(features=5, seed=1)[0], batch(features=5, seed=2)[0]
    anchors = {"received": near, "previous": far}
    term = registry.make("term", {"name": "moon", "mu": 2.0, "temperature": 0.5})
    value, slope = term.value_and_slope(Seen(z, weights, anchors.get))
    leaf = z.clone().requires_grad_()
    pair = torch.stack([cosine_similarity(leaf, a, dim=-1) / 0.5 for a in (near, far)], dim=-1)
    wanted = 2 * ((pair.logsumexp(dim=-1) - pair[..., 0]) * weights).sum(dim=1)
    (derivative,) = torch.autograd.grad(wanted.sum(), leaf)
    torch.testing.assert_close(value, wanted.detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(slope, derivative, rtol=1e-9, atol=1e-14)
    same = term.value_and_slope(Seen(z, weights, {"received": near, "previous": near}.get))
    torch.testing.assert_close(same[0], torch.full((3,), 2 * np.log(2), dtype=torch.float64))
    assert not same[1].any()


DECORR = {"feddecorr": {"coefficient": 0.1, "loss_scale": "code"}}
MOON = {"moon": {"mu": 1.0, "temperature": 0.5}}
SGD = {"name": "sgd", "step": 0.1, "epochs": 2, "batch": 16, "momentum": 0.9}
NETS = [
    {"net": "mlp", "parameters": {"hidden": [12, 9], "activation": "tanh"}, "weight_decay": 0.1},
    {"net": "mlp", "parameters": {"hidden": [12], "bias": False}},
    {"net": "mlp", "parameters": {"hidden": [12], "activation": "tanh", "projection": [8, 5]}},
    {"net": "logistic", "parameters": {"projection": [8, 5]}},
]


def objective(model, form=None, precision="float64"):
    source = registry.find("dataset", "digits")
    data = registry.make("dataset", {"name": "digits"}).load()
    parts = registry.make("partition", {"name": "dirichlet", "clients": 10, "alpha": 0.1})
    made = registry.make("model", {"name": "network", "precision": precision, **model})
    parts = parts.split(data.y, 0)
    return form(made, data, parts, source) if form else made.objective(data, parts, source)


def work(f, terms, x, cohort=None, previous=None):
    """A round of local work, and what the clients keep."""
    keys = rng.fold(rng.stream("terms"), np.arange(len(x)))
    held = {} if previous is None else {"previous": previous}
    solver = registry.make("local", SGD | {"terms": terms})
    return solver.updates(f, x, cohort, keys, held=held), held


def test_anchors_of_normalised_networks_are_models_as_they_are_evaluated():
    """The other model's own running statistics, which nothing moves; one client, two steps, by torch's own modules."""
    f = objective({"net": "mlp", "parameters": {"hidden": [8], "norm": "batch"}})
    x = points(f, 1)
    statistics = torch.from_numpy(f.statistics)[None] + 0.5
    kept = statistics.clone()
    found = f.representations(np.array([4]), x, statistics)[0]
    assert torch.equal(statistics, kept) and f.net.training
    torch.nn.utils.vector_to_parameters(x[0], f.net.parameters())
    f.net.load_state_dict(f.running(statistics[0]), strict=False)
    wanted = f.net.eval().features(f.inputs(f.parts[4])).detach()
    torch.testing.assert_close(found, wanted)


def points(f, lanes=2):
    return torch.from_numpy(np.stack([f.start("digits", seed) for seed in range(lanes)]))


@pytest.mark.parametrize("terms", [DECORR, MOON, DECORR | MOON], ids=list)
@pytest.mark.parametrize("model", NETS, ids=str)
def test_by_hand_and_by_automatic_differentiation_are_one(model, terms):
    """In place with momentum in several steps, by gradients in flat vectors, and by torch."""
    walking, by_hand = objective(model), objective(model)
    automatic = objective(model, AutogradObjective)
    by_hand.walk = automatic.walk = None
    x = points(by_hand)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2, 10, *x.shape[1:], dtype=x.dtype, generator=generator)
    previous = x[:, None] + 0.1 * noise
    ours, second, theirs = (
        work(f, terms, x, None, previous.clone())[0] for f in (walking, by_hand, automatic)
    )
    # FedDecorr divides by deviations, of features that hardly vary too, which makes rounding up to 1e-7.
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(second, theirs, rtol=1e-6, atol=1e-6)
    without = work(by_hand, {}, x)[0]
    assert (ours - without).norm() > 1e-3 * without.norm()


HEAD = {"net": "digits_cnn", "parameters": {"projection": [16, 8]}, "weight_decay": 0.1}


@pytest.mark.parametrize(
    "model", [NETS[0], {"net": "digits_cnn", "weight_decay": 0.1}, HEAD], ids=str
)
def test_local_work_descends_the_loss_with_the_term(model):
    """One step on all rows of one client, against torch's own derivative of cross-entropy plus the covariance form."""
    f = objective(model)
    x = points(f, 1)
    solver = registry.make("local", {"name": "sgd", "step": 0.5, "steps": 1, "terms": DECORR})
    made = solver.updates(f, x, torch.tensor([[4]]), np.array([3], np.uint64))[0, 0]
    torch.nn.utils.vector_to_parameters(x[0], f.net.parameters())
    rows = torch.from_numpy(f.parts[4])
    logits, z = f.net(f.inputs(rows), True)
    loss = torch.nn.functional.cross_entropy(logits, f.targets(rows))
    loss = loss + 0.1 * covariance_form(z, "code")
    loss = loss + 0.05 * sum((p * p).sum() for p in f.net.parameters())
    wanted = torch.autograd.grad(loss, list(f.net.parameters()))
    torch.testing.assert_close(made, 0.5 * torch.cat([g.flatten() for g in wanted]))


def test_only_the_cohort_remembers_its_new_model():
    """And a lane's clients do not depend on other lanes."""
    f = objective(NETS[0], precision="float32")
    x, cohort = points(f), torch.tensor([[1, 4, 7], [0, 2, 9]])
    solver = registry.make("local", SGD | {"terms": MOON})
    everyone = solver.initial(x, 10)["previous"]
    assert everyone.shape == (2, 10, *x.shape[1:])
    own = everyone[torch.arange(2)[:, None], cohort]
    found, held = work(f, MOON, x, cohort, own.clone())
    assert torch.equal(found, x[:, None] - held["previous"])
    alone, _ = work(f, MOON, x[:1].clone(), cohort[:1], own[:1].clone())
    assert torch.equal(alone[0], found[0])
    assert work(f, DECORR, x, cohort)[1] == {}
    assert registry.make("local", SGD | {"terms": DECORR}).initial(x, 10) == {}


@pytest.fixture
def digits():
    """Half of ten clients a round."""
    return digits_run(
        model={"parameters": {"hidden": [16]}, "train_metrics": False, "precision": "float32"},
        partition={"clients": 10, "minimum": 10},
        selection={"name": "uniform", "fraction": 0.5},
        local=SGD,
        rounds=6,
    )


@pytest.mark.parametrize("norm", ["none", "batch"])
@pytest.mark.parametrize("terms", [DECORR, DECORR | MOON], ids=list)
def test_stopped_and_resumed_ends_in_the_same_bytes(digits, tmp_path, monkeypatch, terms, norm):
    """With the clients' memory; and alone as in company."""
    monkeypatch.setattr(train, "CHECKPOINT_SECONDS", -1.0)
    model = digits["model"] | {"parameters": {"hidden": [8], "norm": norm}}
    one = digits | {"model": model, "local": SGD | {"terms": terms}, "rounds": 4}
    specs = {"one": one, "two": one | {"step": {"value": 0.5}}}
    run(tmp_path / "whole", **specs)
    run(tmp_path / "alone", one=one)
    with interrupted(2):
        run(tmp_path / "broken", **specs)
    run(tmp_path / "broken", **specs)
    whole = result_bytes(tmp_path / "whole")
    assert result_bytes(tmp_path / "broken") == whole
    assert all(whole[path] == content for path, content in result_bytes(tmp_path / "alone").items())


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"server": {"name": "momentum", "beta": 0.9, "nesterov": False}},
        {"algorithm": {"name": "ef21", "start": "gradient"}, "compressor": {"name": "topk", "k": 50}},
        {"algorithm": {"name": "scaffold"}, "local": SGD | {"momentum": 0.0}},
    ],
    ids=["fedavg", "fedavgm", "ef21", "scaffold"],
)  # fmt: skip
def test_terms_work_inside_any_algorithm_and_send_nothing_more(digits, tmp_path, changes):
    plain = digits | changes
    other = plain | {"local": plain["local"] | {"terms": DECORR | MOON}}
    tables = run(tmp_path, plain=plain, other=other)
    for column in ("bits_up", "bits_down"):
        np.testing.assert_array_equal(tables["plain"][column], tables["other"][column])
    assert (tables["plain"].test_loss[2:] != tables["other"].test_loss[2:]).all()
    assert np.isfinite(tables["other"].test_loss).all()


TERMS_STUDY = """\
study: terms
title: "Terms"
paper: null
base:
  dataset: digits
  model: {name: network, net: mlp}
  partition: {name: iid, clients: 10}
  algorithm: fedavg
  step: {value: 1.0}
  rounds: 2
scales:
  default:
    grids:
      one:
        local: {name: sgd, step: 0.1, epochs: 1, batch: 10, terms: {feddecorr: {coefficient: 0.1, loss_scale: code}}}
"""

MISTAKES = [
    ("feddecorr:", "fedecorr:", "terms.fedecorr", "unknown key 'fedecorr'", "feddecorr, moon (did you mean 'feddecorr'?)"),
    (", loss_scale: code}", "}", "terms.feddecorr.loss_scale", "nothing", "this key is required"),
    ("loss_scale: code", "loss_scale: cod", "terms.feddecorr.loss_scale", "'cod'", "code, paper (did you mean 'code'?)"),
    ("coefficient: 0.1", "coefficient: 0", "terms.feddecorr.coefficient", "0", "more than 0"),
    ("coefficient: 0.1", "coefficient: 0.1, beta: 1", "terms.feddecorr.beta", "unknown key 'beta'", "coefficient, "),
    ("{feddecorr: {coefficient: 0.1, loss_scale: code}}", "{feddecorr: 0.1}", "terms.feddecorr", "0.1", "{parameters}"),
    ("{feddecorr: {coefficient: 0.1, loss_scale: code}}", "feddecorr", "terms", "'feddecorr'", "{name of a term"),
    ("batch: 10", "batch: 1", "terms", "fewer than 2 rows", "another combination"),
    ("net: mlp}", "net: mlp, parameters: {hidden: [[]]}}", "terms", "its own representation", ""),
    ("net: mlp}", "net: logistic}", "terms", "its own representation", ""),
    ("dataset: digits\n  model: {name: network, net: mlp}", "dataset: breast_cancer\n  model: logistic", "terms",
     "only networks have representations", ""),
    ("name: sgd, step: 0.1, epochs: 1, batch: 10,", "name: gradient,", "terms", "unknown key 'terms'", "batch"),
]  # fmt: skip


@pytest.mark.parametrize("old, new, path, found, allowed", MISTAKES, ids=[m[1] for m in MISTAKES])
def test_a_mistake_in_terms_gives_one_line(tmp_path, old, new, path, found, allowed):
    assert old in TERMS_STUDY
    file = tmp_path / "terms.yaml"
    file.write_text(TERMS_STUDY.replace(old, new, 1))
    (line,) = check_files([file])
    place, _, text = line.partition(": found ")
    assert f"local.{path}" in place and found in text and f"allowed: {allowed}" in text


def test_runs_with_terms_have_columns_and_ids_of_what_is_not_at_its_default(tmp_path):
    file = tmp_path / "terms.yaml"

    def runs(old="", new=""):
        file.write_text(TERMS_STUDY.replace(old, new, 1))
        return load_study(file).runs("default")

    (run,) = runs()
    assert run.columns["local.terms.feddecorr.coefficient"] == 0.1
    assert run.columns["local.terms.feddecorr.least"] == 2
    assert "feddecorr-coefficient0.1" in run.id and "least" not in run.id
    assert runs("code}", "code, least: 2}")[0].id == run.id != runs("code}", "paper}")[0].id
    tenth, hundredth = runs("0.1, loss", "[0.1, 0.01], loss")
    assert tenth.id == run.id != hundredth.id
    without, same = runs(
        "{coefficient: 0.1, loss_scale: code}", "[null, {coefficient: 0.1, loss_scale: code}]"
    )
    assert same.id == run.id and without.spec["local"]["terms"] == {}
