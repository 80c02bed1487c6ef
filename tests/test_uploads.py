"""What clients upload and how often, on tables made by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fewbits import registry
from fewbits.analysis import draw, estimators, uploads
from fewbits.analysis.errors import AnalysisError
from fewbits.analysis.tables import make as make_table

METHODS = ("even", "uneven")


def tables():
    """Two methods, two seeds, two sizes of a message for the first; shares of five percentiles at the end."""
    rows, metrics = [], []
    for method in METHODS:
        for share in (0.1, 0.4) if method == "even" else (0.4,):
            for seed in (0, 1):
                run = f"{method}-{share}-{seed}"
                rows.append({
                    "run": run, "study": "toy", "grids": "g", "job": "j", "status": "finished",
                    "algorithm": "qsfl", "compressor": "top_share", "compressor.share": share,
                    "selection": "qualification", "selection.keep": 0.5, "seed": seed,
                    "constants.dim": 100, "constants.alpha": share, "method": method,
                })  # fmt: skip
                for t in range(11):
                    shares = np.linspace(0.5, 0.5, 5) if method == "even" else np.linspace(0, 1, 5)
                    metrics.append({
                        "run": run, "round": t, "bits_up": t * (3200 * share + 150 + 32),
                        "bits_up_values": t * 3200 * share, "bits_up_indices": t * 150.0,
                        "bits_up_metadata": t * 32.0,
                        "test_accuracy": share + 0.1 * (t % 2) + 0.01 * seed,
                        **{f"upload_p{25 * i}": s + 0.1 * seed for i, s in enumerate(shares)},
                    })  # fmt: skip
    runs = pd.DataFrame(rows)
    runs["method"] = pd.Categorical(runs["method"], METHODS, ordered=True)
    return runs, pd.DataFrame(metrics)


def some(method="uneven", share=0.4):
    runs, metrics = tables()
    return runs[(runs["method"] == method) & (runs["compressor.share"] == share)], metrics


def test_shares_of_a_dense_update_by_hand():
    found = uploads.shares(*some())
    assert found["method"].tolist() == ["uneven"]
    assert found[["values", "indices", "metadata"]].iloc[0].tolist() == pytest.approx(
        [0.4, 150 / 3200, 32 / 3200]
    )


def test_percentiles_are_those_at_the_end_over_seeds():
    kind = registry.make("figure", {"name": "fairness"})
    found = uploads.percentiles(kind, *some())
    assert found["percentile"].tolist() == [0, 25, 50, 75, 100]
    assert found["low"].tolist() == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert found["middle"].tolist() == pytest.approx([0.05, 0.3, 0.55, 0.8, 1.05])
    assert (found["equal"] == 0.5).all()
    runs, metrics = tables()
    with pytest.raises(
        AnalysisError, match=r"even has several settings, differing in compressor\.share"
    ):
        uploads.percentiles(kind, runs, metrics)
    bare = metrics.drop(columns=[c for c in metrics if c.startswith("upload_p")])
    with pytest.raises(AnalysisError, match="selection: qualification"):
        uploads.percentiles(kind, runs, bare)


def test_a_search_is_ranked_by_its_score():
    runs, metrics = tables()
    cheap = make_table("search", runs[runs["method"] == "even"], metrics, {"price": 2.0})
    dear = make_table("search", runs[runs["method"] == "even"], metrics, {"price": 0.1})
    assert cheap["compressor.share"].tolist() == [0.1, 0.4]
    assert dear["compressor.share"].tolist() == [0.4, 0.1]
    best = cheap.iloc[0]
    assert best["upload"] == pytest.approx(0.1 + 182 / 3200)
    assert best["score"] == pytest.approx(best["test_accuracy"] - 2 * best["upload"])


def test_spread_is_the_deviation_of_the_last_rows():
    runs, metrics = some()
    made = estimators.make({"estimator": "spread", "metric": "test_accuracy", "share": 0.4})
    values = made.measure(runs, metrics)
    assert values.tolist() == pytest.approx([np.std([0.1, 0, 0.1, 0, 0.1], ddof=1)] * 2)


@pytest.mark.parametrize("options", [{"name": "fairness"}, {"name": "upload"}], ids=str)
def test_figures_are_the_same_bytes_twice(options, tmp_path):
    for name in ("one", "two"):
        kind = registry.make("figure", options)
        draw.save(draw.make_figure(kind, *some()), tmp_path / name)
    for suffix in draw.FORMATS:
        first = (tmp_path / f"one.{suffix}").read_bytes()
        assert first == (tmp_path / f"two.{suffix}").read_bytes()
