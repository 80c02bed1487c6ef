"""Figures, tables and estimators about clients and projectors, on tables made by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fewbits import registry
from fewbits.analysis import draw, estimators, projections
from fewbits.analysis.errors import AnalysisError
from fewbits.analysis.tables import make as make_table
from fewbits.federation.assemble import lane_keys

RATIOS = (0.05, 0.5)


def tables():
    """`local`, and a coupled method at two sizes and two strengths of which the second is better; two partitions, two seeds."""
    rows, metrics = [], []
    for partition in ("iid", "shards"):
        for seed in (0, 1):
            settings = [("local", np.nan, np.nan)] + [("lp", r, s) for r in RATIOS for s in (1, 2)]
            for method, ratio, strength in settings:
                run = f"{method}-{partition}-{ratio}-{strength}-{seed}"
                lp = method == "lp"
                rows.append({
                    "run": run, "study": "toy", "grids": "g", "status": "finished", "partition": partition, "seed": seed,
                    "algorithm": "lp_proj_2" if lp else "local", "method": method, "constants.dim": 60,
                    "algorithm.projector": "dense" if lp else np.nan, "algorithm.ratio": ratio,
                    "algorithm.strength": strength, "algorithm.reference_step": 1 / strength,
                })  # fmt: skip
                accuracy = 0.7 + 0.01 * seed + (0.1 * strength * ratio if lp else 0)
                for i in range(2):
                    metrics.append({
                        "run": run, "round": 10 * i, "client_test_accuracy": accuracy * i, "client_test_accuracy_low": 0.5 * i,
                        "client_test_variance": 0.01 * i, "bits_up": 320.0 * i * lp, "bits_down": 640.0 * i * lp,
                    })  # fmt: skip
    runs = pd.DataFrame(rows)
    runs["method"] = pd.Categorical(runs["method"], ("local", "lp"), ordered=True)
    return runs, pd.DataFrame(metrics)


@pytest.mark.parametrize("options", [
    {"name": "along", "x": "algorithm.ratio", "metric": "client_test_accuracy", "panel": "partition"},
    {"name": "clients", "panel": "partition", "beside": "local"},
    {"name": "spectra_of_projectors", "ratio": 0.5},
])  # fmt: skip
def test_figures_are_drawn_the_same_each_time(tmp_path, options):
    kind = registry.make("figure", options)
    drawn = [draw.save(draw.make_figure(kind, *tables()), tmp_path / name) for name in ("a", "b")]
    for first, second in zip(*drawn, strict=True):
        assert first.read_bytes() == second.read_bytes() and first.stat().st_size > 1000


def test_lines_and_levels_are_medians_at_the_best_strength():
    kind = registry.make(
        "figure", {"name": "along", "x": "algorithm.ratio", "metric": "client_test_accuracy"}
    )
    (axis,) = draw.make_figure(kind, *tables()).axes
    lines = {line.get_label(): line.get_ydata() for line in axis.get_lines()}
    np.testing.assert_allclose(lines["lp"], [0.705 + 0.2 * r for r in RATIOS])
    np.testing.assert_allclose(lines["local"], [0.705, 0.705])


def test_the_table_of_clients_pairs_with_training_alone():
    table = make_table("clients", *tables(), {"by": ["partition"]}).set_index(
        ["partition", "method"]
    )
    row = table.loc[("shards", "lp")]
    assert row["accuracy"] == pytest.approx(80.5) and row["minus local"] == pytest.approx(10)
    assert row["variance"] == pytest.approx(100) and row["worst tenth"] == pytest.approx(50)
    assert (row["kbit up"], row["kbit down"]) == (0.032, 0.064)
    assert "strength = 2" in row["setting"] and "reference" not in row["setting"]
    assert table.loc[("iid", "local"), "minus local"] == 0


def test_columns_that_are_not_there_are_named():
    with pytest.raises(AnalysisError, match=r"options.by: found 'partitoin'"):
        make_table("clients", *tables(), {"by": ["partitoin"]})
    kind = registry.make("figure", {"name": "along", "x": "algorithm.rank"})
    with pytest.raises(AnalysisError, match=r"options.x: found 'algorithm.rank'"):
        draw.make_figure(kind, *tables())


def test_the_matrix_is_the_one_that_a_run_used():
    from fewbits.algorithms.lp_proj_2 import LpProj2
    from fewbits.lazy import torch

    class Run:
        lanes = lane_keys([{"seed": 7}])

    (own,) = LpProj2(ratio=0.1, projector="srht").projectors(
        torch.zeros(1, 50, dtype=torch.float64), Run
    )
    assert np.array_equal(projections.matrix("srht", 0.1, 50, 7), own.matrix())


@pytest.mark.parametrize("projector", ["dense", "sparse_sign", "srht"])
def test_numbers_of_a_projector_are_those_of_its_matrix(projector):
    found, p = (
        projections.numbers(projector, 0.2, 200, 0),
        projections.matrix(projector, 0.2, 200, 0),
    )
    np.testing.assert_allclose(found["P' P from I"], np.linalg.norm(p.T @ p - np.eye(200)))
    np.testing.assert_allclose(found["P P' from I"], np.linalg.norm(p @ p.T - np.eye(40)))
    assert found["k"] == 40 and 0.8 < found["energy d / k"] < 1.2
    values = np.linalg.svd(p, compute_uv=False)
    assert (found["smallest"], found["largest"]) == (values[-1], values[0])


def test_the_estimator_reads_the_runs_own_matrix():
    options = {
        "estimator": "projection",
        "quantity": "largest",
        "over": "max",
        "select": {"algorithm.ratio": 0.5},
    }
    found = estimators.make(options).measure(*tables())
    assert found[1] == projections.singular_values("dense", 0.5, 60, 1)[0]
    with pytest.raises(AnalysisError, match="has no projector"):
        estimators.make(options | {"select": {"algorithm": "local"}}).measure(*tables())


def test_the_table_of_projections_has_a_row_for_each_and_more_sizes():
    table = make_table("projections", *tables(), {"dims": [80]})
    assert table[["dim", "k"]].to_numpy().tolist() == [[60, 3], [60, 30], [80, 4], [80, 40]]
