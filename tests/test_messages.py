"""What is measured and shown of messages: their errors along a run, their sizes, and names for methods."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import synthetic_runs as toy
import torch
from helpers import run, vary
from study_text import GOOD, project

from fewbits import registry
from fewbits.analysis import budgets, draw, estimators, lines, selection, style, tables, tolerance
from fewbits.analysis.collect import collect
from fewbits.analysis.errors import AnalysisError
from fewbits.studies import StudyError, load_study


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The collected tables of the toy study, with an error of messages that is known."""
    root = tmp_path_factory.mktemp("messages")
    out = root / "default" / "toy"
    collect(toy.write(root).read_text(), "toy", root / "runs", out)
    metrics = pd.read_csv(out / "metrics.csv")
    compressed = ~metrics["run"].str.startswith("gd")
    metrics["message_error"] = np.where(compressed & (metrics["round"] > 0), 0.5, np.nan)
    metrics["message_error_max"] = metrics["message_error"] + 0.25
    metrics.to_csv(out / "metrics.csv", index=False)
    return out


@pytest.fixture(scope="module")
def loaded(folder):
    return selection.load_tables(folder)


def test_errors_of_messages_are_those_of_the_box(spec, tmp_path):
    """|C(v) - v|^2 / |v|^2 with v = grad f_i(x^{t+1}) - g_i^t, by hand."""
    spec = vary(
        spec, compressor={"k": 3}, algorithm={"start": "zero"}, step={"factor": 20.0}, rounds=6
    )
    table = run(tmp_path, one=spec)["one"]
    data = registry.make("dataset", spec["dataset"]).load()
    parts = registry.make("partition", spec["partition"]).split(data.y, 0)
    f = registry.make("model", spec["model"]).objective(data, parts)
    step = 20 / (f.smoothness.L + f.smoothness.L_tilde * (np.sqrt(0.9) / (1 - np.sqrt(0.9))))
    x, g = f.start("breast_cancer", 0), np.zeros((20, 30))
    expected = [np.zeros(20)]
    for _ in range(6):
        x = x - step * g.mean(axis=0)
        v = f.gradients(torch.from_numpy(x[None]))[0].numpy() - g
        kept = np.abs(v) >= np.sort(np.abs(v), axis=1)[:, -3:-2]
        c = np.where(kept, v, 0).astype(np.float32)
        expected.append(((c - v) ** 2).sum(axis=1) / (v**2).sum(axis=1))
        g = g + c
    np.testing.assert_allclose(table["message_error"], np.mean(expected, axis=1), rtol=1e-9)
    np.testing.assert_allclose(table["message_error_max"], np.max(expected, axis=1), rtol=1e-9)
    assert table["message_error_max"].max() <= 0.9


def test_contraction_is_judged_against_what_is_declared(loaded):
    measure = estimators.make({"estimator": "contraction", "select": {"compressor.k": 2}})
    values = measure.measure(*loaded)
    assert measure.everywhere and values.tolist() == pytest.approx([0.75 / (1 - 2 / 30)] * 3)
    with pytest.raises(AnalysisError, match="declares no alpha below 1"):
        runs = loaded[0].assign(**{"constants.alpha": float("nan")})
        measure.measure(runs, loaded[1])


def test_messages_table_by_formula(loaded):
    runs = selection.pick(loaded[0], "sweep", {"algorithm": "ef21", "compressor.k": 2})
    (row,) = tables.make("messages", runs, loaded[1], {"counted": {"EF21": 2}}).to_dict("records")
    assert row["values bit"] == 64 and row["indices bit"] == 10 and row["metadata bit"] == 8
    assert row["of dense"] == pytest.approx(82 / (32 * 30))
    assert row["1 - alpha"] == pytest.approx(28 / 30)
    assert (row["counted"], row["mean error"], row["worst error"]) == (2, 0.5, 0.75)
    dense = tables.make("messages", selection.pick(loaded[0], "gradient_descent"), loaded[1], {})
    assert list(dense.columns) == ["method", *dense.columns[1:]] and "worst error" not in dense


def test_budget_points_are_tuned_and_dense_is_a_line(loaded, folder):
    runs = selection.pick(loaded[0], ["sweep", "gradient_descent"], {"algorithm": ["ef21", "gd"]})
    kind = registry.make(
        "figure", {"name": "budget", "target": 1e-7, "panel": None, "labels": {"topk": "Top-k"}}
    )
    points = budgets.points(kind, runs, loaded[1]).set_index("method")
    assert points["family"].to_dict() == {"EF21": "Top-k", "GD": ""}
    wanted = estimators.BitsToTarget(target=1e-7, over="tuned", select={"algorithm": "ef21"})
    assert points.loc["EF21", "middle"] == wanted.measure(*loaded).median()
    assert points.loc["GD", "size"] == pytest.approx((32 * 30 + 8) / (32 * 30))
    bottom, top, gone = budgets.limits(points)
    assert bottom < points["low"].min() and points.loc["EF21", "high"] < top < gone
    assert np.isinf(points.loc["GD", "middle"])  # which never arrives, and sets no limits
    first, second = (
        draw.save(draw.make_figure(kind, runs, loaded[1]), folder / name) for name in "ab"
    )
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


def test_a_study_names_its_methods_and_the_first_that_fits_counts(folder):
    names = {
        "best": {"algorithm": "ef21", "compressor.k": 1},
        "any": {"algorithm": ["ef21", "ef14"]},
        "none of these": {"compressor.rank": 2},
    }
    runs, _ = selection.load_tables(folder, names)
    named = runs.groupby("algorithm")["method"].agg(lambda m: set(m.astype(str)))
    assert named["ef21"] == {"best", "any"} and named["ef14"] == {"any"} and named["gd"] == {"GD"}
    assert list(runs["method"].cat.categories) == ["best", "any", "DCGD", "EF21+", "GD"]


@pytest.mark.parametrize(
    "methods, message",
    [
        ("{A: {compressor.rank: 2}}", r"methods\.A\.compressor\.rank: found unknown key"),
        ("{A: {compressor.k: 7}}", r"methods\.A\.compressor\.k: found 7; allowed: "),
    ],
)
def test_a_method_that_names_nothing_is_one_line(tmp_path, monkeypatch, methods, message):
    monkeypatch.chdir(tmp_path)
    text = GOOD.replace("figures:", f"methods: {methods}\n\nfigures:", 1)
    with pytest.raises(StudyError, match=message):
        load_study(project(tmp_path, text))


def test_a_paper_s_own_count_is_an_axis(loaded):
    runs, metrics = loaded
    runs = selection.pick(runs, None, {"seed": 0, "step.factor": 1, "algorithm": ["ef21", "gd"]})
    curves = selection.curves_of(runs, metrics, ["round"])
    counted = lines.with_counted(curves, runs, {"topk": 6})
    last = {run: c["counted"].iloc[-1] / c["round"].iloc[-1] for run, c in counted.items()}
    assert last == {"ef21-topk-k1-x1-s0": 0.2, "ef21-topk-k2-x1-s0": 0.2, "gd-x1-s0": 1.0}


def test_the_norm_is_the_root_of_its_square_and_final_may_be_earlier(loaded):
    runs, metrics = loaded
    assert np.array_equal(metrics["grad_norm"], np.sqrt(metrics["grad_sq"]))
    one = {"algorithm": "ef14", "compressor.k": 1, "step.factor": 4}
    early = estimators.make(
        {"estimator": "final", "until": 410, "metric": "grad_norm", "select": one}
    )
    by_formula = [
        toy.curve(s)[1][20]["grad_sq"] ** 0.5
        for s in toy.specs()
        if s["run"].startswith("ef14-topk-k1-x4-")
    ]
    assert early.measure(runs, metrics).tolist() == by_formula


def test_each_seed_may_be_drawn_as_a_line(loaded):
    runs = selection.pick(
        loaded[0], "sweep", {"algorithm": "ef21", "compressor.k": 1, "step.factor": 4}
    )
    kind = registry.make("figure", {"name": "curves", "band": "each"})
    figure = draw.make_figure(kind, runs, loaded[1])
    assert len(figure.axes[0].get_lines()) == 1 + runs["seed"].nunique()


def test_bars_of_neighbouring_factors_do_not_meet():
    assert tolerance.sideways([1, 4, 16], 3) == 0.16
    assert 5 * tolerance.sideways([0.26, 1.04, 2.08], 6) == pytest.approx(0.4)


def test_panels_and_steps_say_what_they_are(loaded):
    assert (
        style.panel_title(["model.init", "partition.clients"], ("zeros", 20))
        == "init = zeros, clients = 20"
    )
    assert "theoretical" in style.label("step.factor", loaded[0])
    assert "times" in style.label("step.factor", loaded[0].assign(**{"step.rule": "gd"}))
