"""Spectra of representations as a table, and what figures, tables and claims read off it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from fewbits.analysis import spectra, tables
from fewbits.analysis.draw import make_figure
from fewbits.analysis.errors import AnalysisError
from fewbits.analysis.estimators import make
from fewbits.analysis.selection import name_methods
from fewbits.federation import snapshots
from fewbits.files import write_json
from fewbits.registry import make as plugin
from fewbits.spectra import gather
from fewbits.studies import check_files

ALPHAS = (0.1, 1.0, None)


def flat(count: int, features: int = 8) -> np.ndarray:
    """Singular values of `count` equal directions: effective rank `count`."""
    return np.where(np.arange(features) < count, 2.0, 0.0)


@pytest.fixture
def tables_of_runs(tmp_path):
    """Two seeds at three skews: the effective rank is 2, 3, 4 (and one more for local models)."""
    runs = []
    for rank, alpha in enumerate(ALPHAS, 2):
        for seed in (0, 1):
            run = f"a{rank}-s{seed}"
            folder = tmp_path / "runs" / "s" / run
            local = np.stack([flat(rank + 1), flat(rank + 1)])
            for number in (5, 20):
                held = flat(rank) if number == 20 else flat(1)
                arrays = {"singular/global": held, "singular/local": local}
                arrays |= {"variance/global": held[::-1], "variance/local": local}
                arrays |= {
                    "correlation/global": np.array(0.25),
                    "correlation/local": np.array([np.nan, 0.5]),
                }
                snapshots.save(folder, number, arrays)
            write_json(folder / "summary.json", {"snapshots": snapshots.digests(folder, [5, 20])})
            partition = (
                {"partition": "iid"}
                if alpha is None
                else {"partition": "dirichlet", "partition.alpha": alpha}
            )
            runs.append({"run": run, "study": "s", "grids": "g", "algorithm": "fedavg", "compressor": None, "seed": seed,
                         "partition.clients": 10, "final.test_accuracy": 0.8 + 0.01 * rank, "status": "finished",
                         **partition})  # fmt: skip
    specs = [
        SimpleNamespace(id=r["run"], study="s", spec={"snapshots": {"keep": ["spectra"]}})
        for r in runs
    ]
    specs.append(SimpleNamespace(id="none", study="s", spec={}))
    gather(specs, tmp_path / "runs", tmp_path / "spectra.csv")
    return name_methods(pd.DataFrame(runs)), spectra.load({}, tmp_path)


def test_numbers_of_the_last_round_by_seed(tables_of_runs):
    runs, rows = tables_of_runs
    assert len(rows) == 6 * 2 * 3
    tenth = {"select": {"partition.alpha": 0.1}}
    for value, of, wanted in (
        ({"value": "effective_rank"}, "global", 2),
        ({"value": "effective_rank"}, "local", 3),
        ({"value": "dead"}, "global", 6),
        ({"value": "live"}, "local", 3),
        ({"value": "above", "least": 1.0}, "global", 2),
        ({"value": "log10", "index": 2}, "global", np.log10(2)),
        ({"value": "log10", "index": 3}, "global", -12),
        ({"value": "correlation"}, "local", 0.5),
    ):
        found = make({"estimator": "spectrum", "model": of, **value, **tenth}).measure(runs, rows)
        assert found.index.tolist() == [0, 1]
        np.testing.assert_allclose(found, wanted, err_msg=str(value))
    with pytest.raises(AnalysisError, match="several runs per seed"):
        make({"estimator": "spectrum", "value": "dead"}).measure(runs, rows)


def test_order_along_a_column_with_iid_last(tables_of_runs):
    runs, rows = tables_of_runs
    along = {"estimator": "spectrum", "value": "effective_rank", "along": "partition.alpha"}
    assert make(along).measure(runs, rows).tolist() == [1, 1]
    assert make(along | {"value": "dead"}).measure(runs, rows).tolist() == [-1, -1]
    difference = {"estimator": "difference", "of": along, "minus": along}
    assert make(difference).reads == "spectra"


def test_table_and_figure(tables_of_runs):
    runs, rows = tables_of_runs
    table = tables.make("collapse", runs, rows, {})
    assert table["rows"].tolist() == ["α = 0.1", "α = 1", "iid"]
    assert table["effective rank"].tolist() == pytest.approx([2, 3, 4])
    assert table["dead"].tolist() == [6, 5, 4]
    figure = make_figure(plugin("figure", {"name": "spectra"}), runs, rows)
    lines = figure.axes[0].get_lines()
    assert [line.get_label() for line in lines] == ["α = 0.1", "α = 1", "iid"]
    np.testing.assert_allclose(lines[0].get_ydata()[:2], 2)


def test_effective_rank():
    assert spectra.effective_rank(np.array([1.0, 1, 1, 1, 0])) == pytest.approx(4)
    assert spectra.effective_rank(np.array([3.0, 0, 0])) == pytest.approx(1)
    assert spectra.effective_rank(np.zeros(3)) == 1


def test_a_table_that_is_not_there(tmp_path):
    with pytest.raises(AnalysisError, match=r"spectra\.csv: no such file; run: fewbits spectra"):
        spectra.load({}, tmp_path)


STUDY = """\
study: kept
title: "Kept"
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
        snapshots: {rounds: [2], keep: [spectra]}
tables:
  - {id: collapse, kind: collapse}
"""


@pytest.mark.parametrize(
    "old, new, place, found",
    [
        ("", "", "", ""),
        ("keep: [spectra]", "keep: [spectre]", "snapshots.keep[0]", "'spectre'; allowed: updates, spectra"),
        ("model: {name: network, net: mlp}", "model: {name: network, net: logistic}", "snapshots.keep", "its own representation"),
        ("snapshots: {rounds: [2], keep: [spectra]}", "seed: 0", "tables[0]", "reads spectra, but no run"),
    ],
)  # fmt: skip
def test_spectra_that_cannot_be(tmp_path, old, new, place, found):
    file = tmp_path / "kept.yaml"
    file.write_text(STUDY.replace(old, new, 1))
    lines = check_files([file])
    assert len(lines) == bool(place)
    assert all(place in line and found in line for line in lines)
