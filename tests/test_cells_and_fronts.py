"""Figures of cells, fronts and errors, and the estimators that came with them, on tables made by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewbits import registry
from fewbits.analysis import cells, draw, estimators, fronts, loops
from fewbits.analysis.errors import AnalysisError
from fewbits.analysis.tables import make as make_table

METHODS = ("A", "B", "dense")


def tables():
    """Two compressors and a dense method, two skews (one absent), two steps, two seeds; three recorded rounds."""
    rows, metrics = [], []
    for method in METHODS:
        for alpha in (0.1, np.nan):
            for step in (0.5, 2.0):
                for seed in (0, 1):
                    run = f"{method}-{alpha}-{step}-{seed}"
                    algorithm = "gd" if method == "dense" else "dcgd" if step == 0.5 else "ef21"
                    rows.append({
                        "run": run, "study": "toy", "grids": "g", "job": "j", "status": "finished",
                        "algorithm": algorithm, "compressor": None if method == "dense" else method,
                        "partition.alpha": alpha, "step.value": step, "seed": seed,
                        "constants.dim": 100, "method": method,
                    })  # fmt: skip
                    quality = {"A": 0.7, "B": 0.8, "dense": 0.9}[method] - 0.1 * (step == 0.5)
                    bits = {"A": 32, "B": 320, "dense": 3200}[method]
                    for i in range(3):
                        metrics.append({
                            "run": run, "round": 10 * i, "bits_up": 10.0 * i * bits + 7,
                            "test_accuracy": quality * i / 2 + 0.01 * seed,
                            "grad_sq": 10.0 ** -(i * (1 + METHODS.index(method))),
                            "message_error": np.nan if i == 0 else 0.1 * (1 + METHODS.index(method)) * step,
                        })  # fmt: skip
    runs = pd.DataFrame(rows)
    runs["method"] = pd.Categorical(runs["method"], METHODS, ordered=True)
    return runs, pd.DataFrame(metrics)


def test_cells_hold_the_median_and_range_at_the_best_step():
    kind = registry.make("figure", {"name": "heat", "absent": "iid"})
    table = cells.table(kind, *tables())
    assert list(table.columns) == ["0.1", "iid"] and list(table.index) == list(METHODS)
    assert table.loc["A", "0.1"] == pytest.approx((0.705, 0.70, 0.71))
    assert cells.words(table).loc["dense", "iid"] == "0.905\n(0.900, 0.910)"
    shade = cells.shades(table, "test_accuracy")
    assert shade.loc["dense"].tolist() == [1, 1] and shade.loc["A"].tolist() == [0, 0]


def test_shades_of_what_falls_are_logarithmic_and_diverged_is_worst():
    runs, metrics = tables()
    runs.loc[runs["method"] == "A", "status"] = "diverged"
    kind = registry.make("figure", {"name": "heat", "metric": "grad_sq", "value": "final"})
    shade = cells.shades(cells.table(kind, runs, metrics), "grad_sq")
    assert shade.loc["dense", "none"] == 1 and shade.loc["A", "none"] == 0
    assert cells.words(cells.table(kind, runs, metrics)).loc["A", "0.1"].startswith("diverged")


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=12),
    st.booleans(),
)
def test_front_is_what_no_other_point_beats(points, small):
    size, value = map(np.array, zip(*points, strict=True))
    kept = fronts.front(size, value, small)
    better = (lambda a, b: a < b) if small else (lambda a, b: a > b)
    for i in range(len(size)):
        beaten = any(
            (size[j] <= size[i] and better(value[j], value[i]))
            or (size[j] < size[i] and not better(value[i], value[j]))
            for j in range(len(size))
        )
        if kept[i]:
            assert not beaten
        else:
            same = kept & (size == size[i]) & (value == value[i])
            assert beaten or same.any()


def test_points_have_the_size_of_a_message_without_the_start():
    kind = registry.make("figure", {"name": "pareto"})
    points = fronts.points(kind, *tables()).set_index("method")
    assert points.loc["A", "size"] == pytest.approx(1.0)
    assert points.loc["B", "size"] == pytest.approx(10.0)
    assert points["dense"].to_dict() == {"A": False, "B": False, "dense": True}


def test_errors_pair_one_shot_runs_with_the_others():
    kind = registry.make("figure", {"name": "errors"})
    runs, metrics = tables()
    chosen = runs[runs["method"] != "dense"]
    alone, inside = loops.errors(kind, chosen, metrics)
    assert alone.loc[alone["method"] == "B", "_value"].tolist() == pytest.approx([0.1] * 4)
    assert inside.loc[inside["method"] == "B", "_value"].tolist() == pytest.approx([0.4] * 4)
    with pytest.raises(AnalysisError, match="runs of dcgd and of another"):
        loops.errors(kind, chosen[chosen["algorithm"] == "ef21"], metrics)


@pytest.mark.parametrize(
    "options",
    [
        {"name": "heat", "metric": "grad_sq"},
        {"name": "pareto", "panel": "step.value"},
        {"name": "errors", "panel": "step.value"},
    ],
    ids=str,
)
def test_figures_are_the_same_bytes_twice(options, tmp_path):
    runs, metrics = tables()
    if options["name"] == "errors":
        runs = runs[runs["method"] != "dense"]
    for name in ("one", "two"):
        kind = registry.make("figure", options)
        draw.save(draw.make_figure(kind, runs, metrics), tmp_path / name)
    for suffix in draw.FORMATS:
        first = (tmp_path / f"one.{suffix}").read_bytes()
        assert first == (tmp_path / f"two.{suffix}").read_bytes()


def test_mean_and_difference_by_hand():
    runs, metrics = tables()
    part = {"select": {"partition.alpha": 0.1, "step.value": 2.0}}
    mean = {"estimator": "mean", "metric": "message_error"}
    a, b = ({**mean, "select": {**part["select"], "method": name}} for name in ("A", "B"))
    found = estimators.make({"estimator": "difference", "of": b, "minus": a}).measure(runs, metrics)
    assert found.tolist() == pytest.approx([0.2, 0.2])
    diverged = runs.assign(status="diverged")
    assert np.isinf(estimators.make(a).measure(diverged, metrics)).all()
    with pytest.raises(AnalysisError, match=r"minus\.estimator"):
        estimators.make({"estimator": "difference", "of": a, "minus": {"estimator": "meen"}})


def test_settings_leave_out_what_is_at_its_default():
    runs, _ = tables()
    runs["compressor"] = ["topk" if a != "gd" else None for a in runs["algorithm"]]
    runs["compressor.k"], runs["compressor.wire"] = 3, "float32"
    table = make_table("settings", runs, None, {})
    assert "compressor.k" in list(table["setting"]) and "compressor.wire" not in list(
        table["setting"]
    )
    runs["local.terms.moon.mu"], runs["local.terms.moon.temperature"] = 1.0, 1.0
    runs["snapshots.keep"] = '["updates", "spectra"]'
    table = make_table("settings", runs, None, {}).set_index("setting")
    assert (
        "local.terms.moon.mu" not in table.index and "local.terms.moon.temperature" in table.index
    )
    assert (table.loc["snapshots.keep"] == "updates, spectra").all()
    runs.loc[runs["algorithm"] == "ef21", "compressor.wire"] = "float64"
    assert "compressor.wire" in list(make_table("settings", runs, None, {})["setting"])


def test_levels_against_a_number_are_drawn_with_the_range_of_their_seeds():
    """Panels share one axis of levels; a heading leaves out what its runs do not have."""
    options = {"name": "against", "x": "step.value", "value": "final", "panel": "partition.alpha"}
    kind = registry.make("figure", options)
    figure = draw.make_figure(kind, *tables())
    axes = [axis for axis in figure.axes if axis.get_visible()]
    assert [axis.get_title(loc="left") for axis in axes] == ["alpha = 0.1", ""]
    assert len({axis.get_ylim() for axis in axes}) == 1
    lines = {line.get_label(): line.get_ydata() for line in axes[0].lines}
    assert lines["dense"] == pytest.approx([0.805, 0.905])


def test_seconds_to_a_target_are_read_between_two_records():
    runs, metrics = tables()
    metrics = metrics.assign(seconds=metrics["round"] * 0.5)
    measure = estimators.make({
        "estimator": "seconds_to_target", "metric": "test_accuracy", "target": 0.405,
        "select": {"algorithm": "gd", "partition.alpha": 0.1, "step.value": 0.5},
    })  # fmt: skip
    # 0.4 at 5 s and 0.8 at 10 s; the second seed is a hundredth above that.
    assert measure.measure(runs, metrics).tolist() == pytest.approx([5.0625, 4.9375])
