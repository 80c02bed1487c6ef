"""Paired differences: by hand, as a table and as a figure; and what a change does to updates."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fewbits.analysis import gains, tables
from fewbits.analysis.draw import make_figure
from fewbits.analysis.errors import AnalysisError
from fewbits.registry import make as plugin

PAIRS = {"A": ["plain", "with"]}
METRIC = "final.test_accuracy"


def runs():
    """Two skews, three seeds; with the change every seed has 0.01 + 0.01 * seed more."""
    rows = [
        {"run": f"{method}-{alpha}-{seed}", "method": method, "partition": "dirichlet" if alpha else "iid",
         "partition.alpha": alpha or np.nan, "partition.clients": 10, "seed": seed, "grids": "g",
         METRIC: 0.5 + 0.2 * seed + (0.01 + 0.01 * seed) * (method == "with")}
        for method in ("with", "plain") for alpha in (None, 0.1) for seed in (2, 0, 1)
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    return frame.assign(method=pd.Categorical(frame["method"], ["plain", "with"], ordered=True))


def test_differences_are_paired_by_seed():
    table = tables.make("gains", runs(), None, {"pairs": PAIRS})
    assert table["rows"].tolist() == ["α = 0.1", "iid"]
    assert table["gain"].tolist() == pytest.approx([0.02, 0.02])
    half = 4.302652729911275 * 0.01 / 3**0.5  # t at 2 degrees of freedom
    assert table["gain low"].tolist() == pytest.approx([0.02 - half] * 2)
    assert table["seeds that gained"].tolist() == ["3 of 3"] * 2
    assert table["without"].tolist() == pytest.approx([0.7, 0.7])


def test_one_seed_has_no_interval_and_mistakes_are_named():
    one = runs()[lambda r: r["seed"] == 1]
    table = gains.gains(one, None, PAIRS)
    assert (table["gain low"] == table["gain high"]).all()
    with pytest.raises(AnalysisError, match="pairs: found 'wit', a method"):
        gains.gains(one, None, {"A": ["plain", "wit"]})
    with pytest.raises(AnalysisError, match="several runs of one seed"):
        gains.gains(pd.concat([one, one]), None, PAIRS)


def test_figure_has_a_line_for_each_pair_and_skew():
    figure = make_figure(plugin("figure", {"name": "gains", "pairs": PAIRS}), runs(), None)
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == ["A, α = 0.1", "A, iid"]


def test_compressibility_shows_both_methods(tmp_path):
    """Updates of rank one and of full rank, made up."""
    both = runs()
    rows = [
        {"run": run, "round": 1, "source": "update", "client": 0, "layer": "fc", "shape": "8x8", "kind": "linear",
         "numbers": 64, "stable_rank": 1.0 if method == "plain" else 4.0, "operator": "svd", "label": "SVD",
         "budget": budget, "bits": 32 * 64 * budget, "error": 0.5 / (1 + budget)}
        for run, method in zip(both["run"], both["method"], strict=True) for budget in (0.1, 0.2)
    ]  # fmt: skip
    kind = plugin(
        "figure", {"name": "compressibility", "operators": ["svd"], "methods": ["plain", "with"]}
    )
    figure = make_figure(kind, both, pd.DataFrame(rows))
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["", "α = 0.1", "iid"]
    assert len(figure.axes[1].get_lines()) == 2
