"""Published numbers: the files, and the table that sets them beside measured ones."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
import yaml

from fewbits.analysis import published_table, tables
from fewbits.analysis.errors import AnalysisError

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "config" / "published").glob("*.yaml"))


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_files_name_their_paper_and_fill_their_columns(path):
    content = yaml.safe_load(path.read_text())
    assert content["paper"] == path.stem
    assert f"{{{content['paper']}," in (ROOT / "reports" / "references.bib").read_text()
    for table in content["tables"].values():
        assert table["what"]
        for row in table["rows"]:
            assert set(row) <= {*content["columns"], "value"}
        cells = [tuple(v for k, v in row.items() if k != "value") for row in table["rows"]]
        assert len(set(cells)) == len(cells)


def runs_and_metrics():
    """Two cells of Table 1 with two steps and three seeds: accuracy rises to 1 on a straight line in `rounds` rounds."""
    runs, metrics = [], []
    for batch, per_step in ((None, {0.1: 40, 0.3: 20}), (10.0, {0.1: 5, 0.3: math.inf})):
        for step, rounds in per_step.items():
            for seed in range(3):
                name = f"{batch}-{step}-{seed}"
                runs.append({"run": name, "grids": "g", "seed": seed, "partition": "iid", "local.batch": batch,
                             "local.epochs": 1, "selection.fraction": 0.1, "local.step": step})  # fmt: skip
                slope = 1 / rounds
                metrics += [
                    {"run": name, "round": t, "test_accuracy": min(1, slope * t)} for t in range(50)
                ]
    return pd.DataFrame(runs), pd.DataFrame(metrics)


def test_cells_alone_have_a_column_for_each_value_of_a_symbol():
    options = {"file": "kim2025fedwsq", "table": "1", "across": "alpha"}
    table = tables.make("published_cells", *runs_and_metrics(), options)
    assert list(table) == ["data", "method", "alpha = 0.1", "alpha = 0.3", "alpha = 0.6", "iid"]
    first = table[(table["data"] == "cifar10") & (table["method"] == "FedAvg")].iloc[0]
    assert first.tolist()[2:] == [70.65, 82.52, 85.45, 89.25]


def test_a_row_by_hand():
    options = {"file": "mcmahan2017", "table": "1", "target": 0.5, "match": ["partition", "C", "E", "B"],
               "where": {"model": "two_nn"}, "base": {"B": None}, "ratio": True}  # fmt: skip
    table = tables.make("published_beside", *runs_and_metrics(), options)
    assert table["B"].tolist() == ["all", 10]
    assert table["published"].tolist() == [1474, 87]
    # Half of 20 and of 5 rounds: the better step of each.
    assert table["measured"].tolist() == pytest.approx([10, 2.5])
    assert table["tuned"].tolist() == ["step = 0.3 (largest tried)", "step = 0.1 (smallest tried)"]
    assert table["measured / published"].tolist() == pytest.approx([10 / 1474, 2.5 / 87])
    assert table["speed-up published"].tolist() == pytest.approx([1, 1474 / 87])
    assert table["speed-up"].tolist() == pytest.approx([1, 4])
    heads, rows = tables.display(table)
    assert len(rows) == 2 and "published" in heads


def test_levels_beside_printed_ones():
    """Without a target: the median of the last fifth of the rows, in the unit of the print, and no speed-up."""
    options = {"file": "mcmahan2017", "table": "1", "match": ["partition", "C", "E", "B"],
               "where": {"model": "two_nn"}, "times": 100}  # fmt: skip
    runs, metrics = runs_and_metrics()
    table = tables.make("published_beside", runs.assign(status="finished"), metrics, options)
    assert table["measured"].tolist() == pytest.approx([100, 100])
    assert "speed-up" not in table and table["published"].tolist() == [1474, 87]


def test_what_is_not_reached_has_no_ratio():
    options = {"file": "mcmahan2017", "table": "1", "target": 2.0, "where": {"model": "two_nn"},
               "match": ["partition", "C", "E", "B"], "base": {"B": None}, "ratio": True}  # fmt: skip
    table = tables.make("published_beside", *runs_and_metrics(), options)
    assert (table["measured"] == math.inf).all() and (table["tuned"] == "not reached").all()
    assert "speed-up" not in table and "measured / published" not in table


def test_what_the_paper_did_not_reach_and_what_could_not_be_checked():
    runs, metrics = runs_and_metrics()
    wide = runs.assign(**{"selection.fraction": 0.5}).query("`local.batch` != `local.batch`")
    options = {"file": "mcmahan2017", "table": "1", "target": 0.5, "where": {"model": "two_nn"},
               "match": ["partition", "C", "E", "B"], "base": {}}  # fmt: skip
    assert tables.make("published_beside", wide, metrics, options)["published"].tolist() == ["not reached"]  # fmt: skip
    unchecked = tables.make("published_beside", runs, metrics, options | {"table": "4"})
    assert "published" not in unchecked and len(unchecked) == 2


@pytest.mark.parametrize(
    ("file", "table", "text"),
    [("mcmahan", "1", "no such file; published numbers there are: .*mcmahan2017"),
     ("mcmahan2017", "5", "has no table '5'; it has: 1, 2")],
)  # fmt: skip
def test_what_is_not_there_is_named(file, table, text):
    with pytest.raises(AnalysisError, match=text):
        published_table.read(file, table)
