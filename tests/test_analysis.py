"""From run folders to tables, claims and figures. Expected values are computed by hand or by formula."""

from __future__ import annotations

import copy
import math
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import synthetic_runs as toy

from fewbits import registry
from fewbits.analysis import (
    claims,
    curve,
    draw,
    estimators,
    intervals,
    numbers,
    selection,
    tables,
    tabulate,
)
from fewbits.analysis.collect import collect
from fewbits.analysis.errors import AnalysisError


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Collected tables of the toy study: (folder of run folders' root, study folder)."""
    root = tmp_path_factory.mktemp("results")
    manifest = toy.write(root)
    out = root / "default" / "toy"
    collect(manifest.read_text(), "toy", root / "runs", out)
    return root, out


@pytest.fixture(scope="module")
def loaded(results):
    return selection.load_tables(results[1])


def table(**columns):
    """(runs, metrics) of runs r0, r1, ... with seeds 0, 1, ...: columns are lists of curves."""
    count = len(next(iter(columns.values())))
    runs = pd.DataFrame(
        {
            "run": [f"r{i}" for i in range(count)], "grids": "g", "seed": range(count),
            "algorithm": "gd", "status": "finished",
        }
    )  # fmt: skip
    parts = []
    for i in range(count):
        rows = {name: curves[i] for name, curves in columns.items()}
        parts.append(pd.DataFrame({"run": f"r{i}", "round": range(len(rows["grad_sq"]))} | rows))
    return runs, pd.concat(parts, ignore_index=True)


# ---- collect ----


def test_collect_is_the_same_bytes_twice_and_keeps_digits(results, tmp_path):
    root, out = results
    collect((root / "default/plan/runs.csv").read_text(), "toy", root / "runs", tmp_path)
    for name in ("runs.csv", "metrics.csv"):
        assert (tmp_path / name).read_bytes() == (out / name).read_bytes()
    first = toy.specs()[0]
    wanted = [repr(row["grad_sq"]) for row in toy.curve(first)[1]]
    lines = [line.split(",") for line in (out / "metrics.csv").read_text().splitlines()]
    column = lines[0].index("grad_sq")
    assert [line[column] for line in lines if line[0] == first["run"]] == wanted


def test_collect_writes_the_manifests_rows_with_outcomes(loaded):
    runs, metrics = loaded
    assert list(runs["run"]) == [row["run"] for row in toy.specs()]
    assert list(dict.fromkeys(metrics["run"])) == list(runs["run"])
    assert {"status", "rounds_done", "final.grad_sq", "constants.L_tilde"} <= set(runs)
    assert set(runs["status"]) == {"finished", "converged", "diverged"}


@pytest.mark.parametrize("damage", ["no folder", "no summary", "bad summary", "no metrics", "cut"])
def test_collect_names_the_damaged_run_and_the_remedy_in_one_line(tmp_path, damage):
    manifest = toy.write(tmp_path)
    folder = tmp_path / "runs" / "toy" / toy.specs()[3]["run"]
    if damage == "no folder":
        shutil.rmtree(folder)
    elif damage == "no summary":
        (folder / "summary.json").unlink()
    elif damage == "bad summary":
        (folder / "summary.json").write_text('{"run": ')
    elif damage == "no metrics":
        (folder / "metrics.csv").unlink()
    else:
        text = (folder / "metrics.csv").read_text()
        (folder / "metrics.csv").write_text(text[: len(text) - 40].rpartition(",")[0] + "\n")
    with pytest.raises(AnalysisError) as error:
        collect(manifest.read_text(), "toy", tmp_path / "runs", tmp_path / "out")
    message = str(error.value)
    assert "\n" not in message and str(folder) in message and "same command again" in message
    assert not (tmp_path / "out").exists()


def test_collect_of_an_unplanned_study_is_one_line(results):
    root, _ = results
    with pytest.raises(AnalysisError, match="no run of study 'other'"):
        collect((root / "default/plan/runs.csv").read_text(), "other", root / "runs", root)


# ---- numbers off one curve ----


def test_reach_interpolates_the_running_best():
    x, y = [0, 10, 20, 30], [8.0, 4.0, 6.0, 2.0]
    assert curve.reach(x, y, 4.0) == 10
    assert curve.reach(x, y, 3.0) == pytest.approx(25)  # halfway from the best so far, 4, to 2
    assert curve.reach(x, y, 1.0) == math.inf
    assert curve.reach(x, y, 9.0) == 0
    assert curve.reach([0, 2], [1e-2, 1e-6], 1e-4, interpolate="log") == pytest.approx(1.0)
    assert curve.reach([0, 2], [1e-2, 0.0], 5e-3, interpolate="log") == pytest.approx(1.0)


def test_reach_of_an_accuracy_uses_the_running_maximum():
    assert curve.reach([0, 1, 2, 3], [0.1, 0.5, 0.3, 0.9], 0.7, better="higher") == 2.5


def test_floor_slope_and_diverged_values():
    assert curve.floor([9, 9, 9, 9, 9, 9, 9, 3, 1, 2], 0.3) == 2
    assert curve.floor([5.0, np.nan, np.nan], 0.5) == math.inf
    assert curve.slope(range(5), [10.0**-t for t in range(5)]) == pytest.approx(-1)
    assert curve.slope([0, 1, 2, 3], [1, 0.1, 0.01, 0.01], above=0.05) == pytest.approx(-1)
    assert math.isnan(curve.slope([0, 1], [1, 0.0]))


# ---- estimators ----


def test_estimators_per_seed():
    runs, metrics = table(grad_sq=[[4.0, 1.0, 2.0], [8.0, 6.0, 4.0]])
    make = lambda **options: estimators.make(options).measure(runs, metrics)  # noqa: E731
    assert dict(make(estimator="final")) == {0: 2.0, 1: 4.0}
    assert dict(make(estimator="best")) == {0: 1.0, 1: 4.0}
    assert dict(make(estimator="floor", share=0.4)) == {0: 1.5, 1: 5.0}
    assert dict(make(estimator="rise", until=100)) == {0: 2.0, 1: 1.0}
    rounds = make(estimator="rounds_to_target", target=2.0, interpolate="linear")
    assert rounds[0] == pytest.approx(2 / 3) and rounds[1] == math.inf
    assert dict(make(estimator="share_reaching", target=2.0)) == {0: 1.0, 1: 0.0}


def test_bits_on_both_axes():
    up = {"bits_up": [[100, 150, 200]], "bits_up_values": [[96, 128, 160]]}
    runs, metrics = table(grad_sq=[[4.0, 2.0, 1.0]], **up)
    real = estimators.make({"estimator": "bits_to_target", "target": 2.0})
    paper = estimators.make({"estimator": "bits_to_target", "target": 2.0, "axis": "paper"})
    assert real.measure(runs, metrics)[0] == 150 and paper.measure(runs, metrics)[0] == 32


def test_ratio_pairs_by_seed_and_handles_infinity(loaded):
    runs, metrics = loaded

    def bits(algorithm, target):
        return {
            "estimator": "bits_to_target", "grid": "sweep", "target": target,
            "select": {"algorithm": algorithm, "compressor.k": 1, "step.factor": 16},
        }  # fmt: skip

    def ratio(top, bottom):
        measure = {"estimator": "ratio", "numerator": top, "denominator": bottom}
        return estimators.make(measure).measure(runs, metrics)

    assert list(ratio(bits("ef21", 1e-3), bits("ef21", 1e-3))) == [1, 1, 1]
    assert list(ratio(bits("ef14", 1e-7), bits("ef21", 1e-7))) == [math.inf] * 3
    assert list(ratio(bits("ef21", 1e-7), bits("ef14", 1e-7))) == [0] * 3
    assert ratio(bits("ef14", 1e-7), bits("ef14", 1e-7)).isna().all()


def test_tuned_takes_the_setting_with_the_best_median(loaded):
    measure = {
        "estimator": "bits_to_target", "grid": "sweep", "select": {"algorithm": "ef21"},
        "target": 1e-7, "over": "tuned",
    }  # fmt: skip
    values = estimators.make(measure).measure(*loaded)
    assert {run.rpartition("-s")[0] for run in values.attrs["runs"]} == {"ef21-topk-k2-x16"}
    assert values.attrs["tuned"] == "k = 2, 16×"
    with pytest.raises(
        AnalysisError, match=r"differing in compressor.k, step.factor: add to select"
    ):
        estimators.make(measure | {"over": "one"}).measure(*loaded)


def test_largest_factor(loaded):
    select = {"algorithm": "ef21", "compressor.k": 1}
    measure = {"estimator": "largest_factor", "grid": "sweep", "select": select, "target": 1e-7}
    assert list(estimators.make(measure).measure(*loaded)) == [16, 16, 16]
    stalls = measure | {"select": select | {"algorithm": "ef14"}}
    assert list(estimators.make(stalls).measure(*loaded)) == [0, 0, 0]


def test_pairs_of_selections():
    runs, metrics = table(grad_sq=[[1.0, 0.1], [2.0, 0.2], [1.0, 0.001], [2.0, 0.2]])
    runs["algorithm"], runs["seed"] = ["gd", "gd", "ef21", "ef21"], [0, 1, 0, 1]
    of = [{"select": {"algorithm": "gd"}}, {"select": {"algorithm": "ef21"}}]
    gap = estimators.make({"estimator": "max_log10_gap", "of": of}).measure(runs, metrics)
    assert list(gap) == pytest.approx([2, 0])
    assert list(estimators.make({"estimator": "identical", "of": of}).measure(runs, metrics)) == [
        1,
        0,
    ]
    runs.loc[3, "seed"] = 7
    with pytest.raises(AnalysisError, match="do not pair up by seed"):
        estimators.make({"estimator": "identical", "of": of}).measure(runs, metrics)


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        ({"estimator": "finel"}, "found 'finel'.*did you mean 'final'"),
        (
            {"estimator": "final", "metrik": "x"},
            "measure.metrik: unknown option; allowed: .*metric",
        ),
        ({"estimator": "bits_to_target"}, "measure.target: is required"),
        ({"estimator": "floor", "share": 2}, "measure.share: found 2; input should be less than"),
        ({"estimator": "ratio", "numerator": {"estimator": "no"}, "denominator": {}}, "numerator"),
    ],
)
def test_bad_measures_are_one_line(measure, message):
    with pytest.raises(AnalysisError, match=message) as error:
        estimators.make(measure)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"select": {"algorithm": "efff"}}, "no run selected by grid any and algorithm=efff"),
        ({"select": {"compressor.kk": 1}}, "did you mean 'compressor.k'"),
        ({"grid": "swep"}, "did you mean 'sweep'"),
        ({"metric": "grad"}, "'grad' was not recorded; recorded: .*did you mean 'grad_sq'"),
    ],
)
def test_no_runs_or_no_metric_is_an_error_not_a_pass(loaded, change, message):
    with pytest.raises(AnalysisError, match=message):
        estimators.make({"estimator": "final", "over": "min"} | change).measure(*loaded)


# ---- the theory's inequalities, on a real EF21 run ----


def ef21_on_least_squares(k=2, d=6, n=3, rounds=200, factor=1.0):
    """(runs, metrics) of EF21 with Top-k on a small strongly convex problem, every round recorded."""
    rng = np.random.default_rng(0)
    a, y = rng.standard_normal((n, 12, d)), rng.standard_normal((n, 12))
    hessians = np.einsum("imj,imk->ijk", a, a) / 12
    shift = np.einsum("imj,im->ij", a, y) / 12
    eigen = np.linalg.eigvalsh(hessians.mean(0))
    lipschitz, mu = eigen[-1], eigen[0]
    tilde = math.sqrt(np.mean([np.linalg.eigvalsh(h)[-1] ** 2 for h in hessians]))
    alpha = k / d
    theta = 1 - math.sqrt(1 - alpha)
    beta = (1 - alpha) / theta
    step = factor / (lipschitz + tilde * math.sqrt(2 * beta / theta))
    best = np.linalg.solve(hessians.mean(0), shift.mean(0))
    loss = lambda x: 0.5 * np.mean((np.einsum("imj,j->im", a, x) - y) ** 2)  # noqa: E731
    x, before = rng.standard_normal(d), None
    g = np.zeros((n, d))
    rows = []
    for t in range(rounds):
        grads = hessians @ x - shift
        if t == 0:
            g = grads * 0.5
        c = grads - g
        if t > 0:
            keep = np.argsort(-np.abs(c), axis=1, kind="stable")[:, :k]
            for i in range(n):
                g[i, keep[i]] += c[i, keep[i]]
        moved = 0.0 if before is None else float(np.sum((x - before) ** 2))
        rows.append(
            (loss(x), np.sum(grads.mean(0) ** 2), np.mean(np.sum((g - grads) ** 2, 1)), moved,
             loss(x) - loss(best))
        )  # fmt: skip
        before, x = x, x - step * g.mean(0)
    names = ("loss", "grad_sq", "distortion", "step_sq", "loss_gap")
    runs, metrics = table(
        **{name: [list(v)] for name, v in zip(names, zip(*rows, strict=True), strict=True)}
    )
    constants = {"L_tilde": tilde, "theta": theta, "beta": beta, "step": step, "mu": mu}
    return runs.assign(**{f"constants.{name}": value for name, value in constants.items()}), metrics


INEQUALITIES = ("ef21_distortion_recursion", "lyapunov_descent", "ef21_rate", "pl_rate")


@pytest.mark.parametrize("name", INEQUALITIES)
def test_inequalities_hold_on_ef21_and_can_fail(name):
    runs, metrics = ef21_on_least_squares()
    value = estimators.make({"estimator": name}).measure(runs, metrics)[0]
    assert 0 < value <= 1
    wrong = runs.assign(**{"constants.theta": 0.999, "constants.beta": 1e-4})
    wrong["constants.mu"] = 0.9 / runs["constants.step"]
    if name != "pl_rate":
        wrong["constants.step"] = wrong["constants.step"] * 60
    assert estimators.make({"estimator": name}).measure(wrong, metrics)[0] > 1


def test_inequality_by_hand():
    runs, metrics = table(grad_sq=[[1.0, 1.0]], distortion=[[4.0, 3.0]], step_sq=[[0.0, 0.5]])
    runs = runs.assign(**{"constants.theta": 0.5, "constants.beta": 2.0, "constants.L_tilde": 1.0})
    measure = estimators.make({"estimator": "ef21_distortion_recursion"})
    assert measure.measure(runs, metrics)[0] == pytest.approx(3 / (0.5 * 4 + 2 * 1 * 0.5))


def test_inequalities_need_every_round_and_their_constants():
    runs, metrics = ef21_on_least_squares(rounds=10)
    measure = estimators.make({"estimator": "ef21_rate"})
    with pytest.raises(
        AnalysisError, match="run r0: needs every round recorded; set record_every: 1"
    ):
        measure.measure(runs, metrics[metrics["round"] % 2 == 0])
    with pytest.raises(AnalysisError, match="run r0: has no constant 'theta'"):
        measure.measure(runs.drop(columns="constants.theta"), metrics)


# ---- intervals, verdicts, claims ----


def test_bootstrap_is_deterministic_and_named():
    values = [1.0, 2.0, 4.0, 8.0, 16.0]
    assert intervals.summarise(values, "a") == intervals.summarise(values, "a")
    middle, low, high = intervals.summarise(values, "a")
    assert middle == 4 and 1 <= low < 4 < high <= 16


def test_bootstrap_of_infinite_equal_and_undefined_values():
    inf = math.inf
    assert intervals.summarise([3.0, 3.0], "a") == (3, 3, 3)
    assert intervals.summarise([inf, inf, inf], "a") == (inf, inf, inf)
    middle, low, high = intervals.summarise([1.0, 2.0, inf, 1.5, 3.0], "a")
    assert middle == 2 and low >= 1 and high == inf
    assert all(math.isnan(v) for v in intervals.summarise([1.0, math.nan], "a"))


@pytest.mark.parametrize(
    ("low", "high", "everywhere", "wanted"),
    [
        (1.0, 2.0, False, claims.REPRODUCED),
        (1.0, 3.0, False, claims.REPRODUCED),
        (3.5, 9.0, False, claims.NOT_REPRODUCED),
        (2.0, 4.0, False, claims.INCONCLUSIVE),
        (2.0, 4.0, True, claims.NOT_REPRODUCED),
        (2.0, math.inf, False, claims.INCONCLUSIVE),
        (math.inf, math.inf, False, claims.NOT_REPRODUCED),
        (math.nan, math.nan, False, claims.INCONCLUSIVE),
    ],
)
def test_verdict_comes_from_the_interval(low, high, everywhere, wanted):
    at_most_three = claims.criterion({"below": 3}, {})
    assert claims.verdict(low, high, at_most_three, everywhere) == wanted


def test_criteria():
    assert claims.criterion({"within_factor": 1.5}, {"value": 30}).low == 20
    assert claims.criterion({"within_factor": 1.5}, {"value": 30}).high == 45
    assert claims.criterion({"equals": 0, "below": None}, {}).text == "exactly 0"
    assert claims.criterion({"between": [1, 2]}, {}).holds(2)
    assert claims.criterion({"above": 1e-7}, {}).text == "at least 10⁻⁷"
    for bad in ({}, {"below": 1, "above": 0}, {"within_factor": 2}, {"near": 1}):
        with pytest.raises(AnalysisError):
            claims.criterion(bad, {})


def test_judge_gives_every_claim_a_verdict(loaded):
    judged = claims.judge(toy.STUDY, "default", *loaded).set_index("id")
    wanted = {
        "T1": claims.REPRODUCED, "T2": claims.NOT_REPRODUCED, "T3": claims.REPRODUCED,
        "T4": claims.NOT_RUN,
    }  # fmt: skip
    assert dict(judged["verdict"]) == wanted
    rate = 0.0012 * 16 * 2 * 1.05  # per round, seed 1, k = 2: the tuned setting
    rounds = math.log(2.1 / 1e-7) / rate
    assert float(judged["measured"]["T1"]) == pytest.approx(64 * rounds / 1000, rel=1e-6)  # kbit
    assert judged["unit"]["T1"] == "kbit" and judged["n"]["T1"] == 3
    assert judged["published"]["T2"] == claims.NO_NUMBER
    assert judged["published"]["T1"] == "about 13 kbit, by eye"


def test_claims_file_is_the_same_bytes_twice(results):
    _, out = results
    first = claims.judge_folder(toy.STUDY, "default", out).read_bytes()
    assert claims.judge_folder(toy.STUDY, "default", out).read_bytes() == first


def test_a_claim_without_runs_fails_by_name(loaded):
    study = copy.deepcopy(toy.STUDY)
    study["claims"][1]["scales"]["default"]["measure"]["select"] = {"algorithm": "nothing"}
    with pytest.raises(AnalysisError, match=r"study toy: claim T2 \(default\): no run selected"):
        claims.judge(study, "default", *loaded)


# ---- figures and tables ----


def test_every_figure_and_table_is_the_same_bytes_twice(results, tmp_path):
    _, out = results
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        for name in ("runs.csv", "metrics.csv"):
            shutil.copy(out / name, tmp_path / folder / name)
    first, second = (toy.draw_all(toy.STUDY, tmp_path / f, "default") for f in ("a", "b"))
    assert len(first) == 3 * 3 + 4 * 2
    for one, two in zip(first, second, strict=True):
        assert one.read_bytes() == two.read_bytes(), one.name
        assert one.stat().st_size > 100


def test_a_method_looks_the_same_in_all_figures(loaded):
    from fewbits.analysis import style

    runs, _ = loaded
    everything = style.method_styles(list(runs["method"].cat.categories))
    some = selection.pick(runs, select={"algorithm": ["ef21", "gd"]})
    assert style.method_styles(list(some["method"].cat.categories)) == everything
    assert len({look["color"] for look in everything.values()}) == len(everything)


def test_a_compressor_is_named_only_where_there_are_several(loaded):
    runs, _ = loaded
    other = runs["seed"].eq(0) & runs["algorithm"].eq("ef21")
    two = selection.name_methods(runs.assign(compressor=runs["compressor"].mask(other, "fixed")))
    assert {"EF14", "EF21 (topk)", "EF21 (fixed)"} <= set(two["method"])
    some = selection.pick(two, select={"compressor": "topk"})
    assert {"EF14", "EF21"} <= set(some["method"])
    place = list(two["method"].cat.categories).index("EF21 (topk)")
    assert list(some["method"].cat.categories).index("EF21") == place  # and so its colour


def test_methods_are_named_by_what_varies(loaded):
    runs, _ = loaded
    assert set(runs["method"]) == {"DCGD", "EF14", "EF21", "EF21+", "GD"}
    two = runs.assign(**{"algorithm.start": np.where(runs["seed"] == 0, "gradient", "compressed")})
    two.loc[two["algorithm"] != "ef21", "algorithm.start"] = None
    assert {"EF21", "EF21 (compressed start)"} <= set(selection.name_methods(two)["method"])


def test_panels_of_step_tolerance_may_differ_in_rounds(loaded):
    runs, metrics = loaded
    runs = selection.pick(runs, "sweep", {"algorithm": ["ef14", "ef21"]})
    kind = registry.make("figure", {"name": "step_tolerance", "panel": "compressor.k"})
    draw.make_figure(kind, runs.assign(rounds=1000 * runs["compressor.k"]), metrics)
    with pytest.raises(AnalysisError, match="differing in rounds"):
        draw.make_figure(kind, runs.assign(rounds=range(len(runs))), metrics)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"options": {"best": False}}, "several settings, differing in compressor.k"),
        ({"options": {"x": "bits"}}, "'bits' was not recorded"),
        ({"grid": "swep"}, "did you mean 'sweep'"),
        ({"kind": "step_tolerance", "options": {"x": "step.factr"}}, "have no step.factr"),
    ],
)
def test_bad_figures_are_one_line(results, change, message):
    study = copy.deepcopy(toy.STUDY)
    study["figures"][0] |= change
    with pytest.raises(AnalysisError, match=message) as error:
        draw.draw_figure(study, "bits", results[1])
    assert "\n" not in str(error.value) and "study toy: figure bits" in str(error.value)


def test_unknown_figure_names_the_nearest(results):
    with pytest.raises(AnalysisError, match="did you mean 'bits'"):
        draw.draw_figure(toy.STUDY, "bit", results[1])


def test_curves_hide_nothing_of_a_diverged_run(loaded):
    runs, metrics = loaded
    chosen = selection.pick(runs, "sweep", {"compressor.k": 1, "step.factor": 64})
    figure = draw.make_figure(registry.make("figure", {"name": "curves"}), chosen, metrics)
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["DCGD (diverges)", "EF14 (diverges)", "EF21 (diverges)", "EF21+"]


def test_runs_without_the_panel_s_column_are_in_all_panels(loaded):
    """Gradient descent has no k: it is drawn beside both."""
    runs, metrics = loaded
    chosen = selection.pick(runs, ["sweep", "gradient_descent"], {"algorithm": ["ef21", "gd"]})
    options = {"name": "curves", "x": "round", "panel": "compressor.k", "best": True}
    figure = draw.make_figure(registry.make("figure", options), chosen, metrics)
    drawn = [[line.get_label() for line in axis.get_lines()] for axis in figure.axes]
    assert drawn == [["EF21", "GD"]] * 2


def test_to_target_table_by_formula(loaded):
    runs, metrics = loaded
    got = tables.make("to_target", runs, metrics, {"target": 1e-7}).set_index("method")
    messages = math.log(2.1 / 1e-7) / (0.0012 * 16 * 2 * 1.05)
    assert got["messages"]["EF21"] == pytest.approx(messages, rel=1e-3)
    assert got["paper kbit"]["EF21"] == pytest.approx(0.064 * messages, rel=1e-3)
    parts = sum(got[f"{part} kbit"]["EF21"] for part in ("values", "indices", "metadata"))
    assert parts == pytest.approx(got["real kbit"]["EF21"])
    assert got["messages"]["EF14"] == math.inf and got["setting"]["EF14"] == "not reached"


def test_table_options_are_checked():
    assert tables.check_options("to_target", {"target": 1}) is None
    assert "did you mean 'to_target'" in tables.check_options("to_targt", {})
    assert "options.target: is required" in tables.check_options("to_target", {})
    assert "unknown option" in tables.check_options("settings", {"x": 1})


def test_tables_round_trip_through_their_files(results):
    _, out = results
    tabulate.draw_table(toy.STUDY, "to_target", out)
    heads, rows = tables.display(tables.read(out / "tables" / "to_target.csv"))
    assert heads[:3] == ["method", "setting", "messages"] and len(rows) == 5
    tex = (out / "tables" / "to_target.tex").read_text()
    assert r"\toprule" in tex and "∞" not in tex and "×" not in tex


# ---- how numbers are written ----


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.3e-7, "1.3\u202f×\u202f10⁻⁷"), (1e-7, "10⁻⁷"), (-0.5, "−0.5"), (0.49996, "0.500"),
        (12345, "12\u202f345"), (4000.0, "4000"), (math.inf, "∞"), (None, "–"), (0, "0"),
        (2.0, "2"), (15.4961, "15.5"), (1.995e-5, "2.00\u202f×\u202f10⁻⁵"), ("text", "text"),
    ],
)  # fmt: skip
def test_numbers(value, text):
    assert numbers.number(value) == text


def test_intervals_and_prose():
    assert numbers.interval(1.42e-5, 3.15e-5) == "[1.42,\u00a03.15]\u202f×\u202f10⁻⁵"
    assert numbers.typographic('EF21\'s |g|^2 at 16x, "so"') == "EF21’s |g|² at 16×, “so”"
    assert numbers.typographic("falls to 1e-7 in -5\n steps, ef21-k1.") == (
        "falls to 10⁻⁷ in −5 steps, ef21-k1."
    )
    assert numbers.latex("1.3\u202f×\u202f10⁻⁷ & L\u0303_x") == (
        r"1.3\,$\times$\,$10^{-7}$ \& $\tilde{L}$\_x"
    )


def test_what_study_files_are_checked_against_imports_nothing_heavy():
    code = (
        "import sys, fewbits.analysis.estimators, fewbits.analysis.tables, fewbits.registry as r;"
        "r.plugins('figure');"
        "print([m for m in ('pandas', 'scipy', 'torch', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
