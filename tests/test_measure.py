"""Operators on snapshots: rows that can be checked by hand, the same each time, and read by figures and claims."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml

from fewbits import fingerprint, registry
from fewbits.analysis import operators, tables
from fewbits.analysis.draw import make_figure
from fewbits.analysis.errors import AnalysisError
from fewbits.analysis.estimators import make
from fewbits.federation import snapshots
from fewbits.files import write_json
from fewbits.measure import measure, stable_rank
from fewbits.registry import make as plugin
from fewbits.studies.operators import sized
from fewbits.studies.schema import Operators

ROOT = Path(__file__).parents[1]
WANTED = Operators.model_validate(
    {
        "budgets": [0.1, 0.25],
        "of": {
            "topk": {"label": "Top-k", "compressor": {"name": "topk"}},
            "randk": {"label": "Rand-k", "compressor": {"name": "randk", "scaled": False}},
            "svd": {"label": "SVD", "compressor": {"name": "svd"}},
            "two": {"label": "SVD, rank 2", "compressor": {"name": "svd", "rank": 2}},
            "sign": {"label": "sign", "compressor": {"name": "sign"}},
            "lazy": {"label": "lazy", "compressor": {"name": "bernoulli", "scaled": False}},
            "ties": {"label": "ties", "compressor": {"name": "topk_ties", "k": 5}},
            "small": {"label": "small", "most": 300, "compressor": {"name": "topk"}},
        },
    }
)


def layer(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((2, 16, 24)).astype(np.float32)


@pytest.fixture
def runs(tmp_path):
    """Two runs with two snapshots each: a matrix, a kernel with one zero client, and a bias."""
    out = []
    for seed in (0, 1):
        name = f"run{seed}"
        folder = tmp_path / "runs" / "s" / name
        for number in (1, 7):
            kernel = layer(seed + number + 5)[:, :, :18].reshape(2, 16, 2, 3, 3)
            kernel[1] = 0
            arrays = {"clients": np.array([0, 3])}
            for source in snapshots.SOURCES:
                arrays[f"{source}/fc"] = layer(seed + 10 * number + len(source))
                arrays[f"{source}/conv"] = kernel
                arrays[f"{source}/bias"] = np.ones((2, 500), np.float32)
            snapshots.save(folder, number, arrays)
        write_json(folder / "summary.json", {"snapshots": snapshots.digests(folder, [1, 7])})
        out.append(SimpleNamespace(id=name, study="s", spec={"snapshots": {}}))
    return out


def measured(runs, tmp_path, draws=2, least=1):
    measure(sized(WANTED), draws, least, runs, tmp_path / "runs", tmp_path / "operators.csv", list)
    return pd.read_csv(tmp_path / "operators.csv")


def manifest():
    own = {"run": ["run0", "run1"], "study": "s", "grids": "g", "seed": [0, 1], "model.net": "mlp"}
    return pd.DataFrame(own)


def test_errors_and_bits_are_those_of_the_operator(runs, tmp_path):
    rows = measured(runs, tmp_path)
    x = snapshots.load(tmp_path / "runs/s/run1", 7)["update/fc"][1].astype(float)
    one = rows.query(
        "run == 'run1' and round == 7 and source == 'update' and layer == 'fc' and client == 3"
    )
    energy = np.sort((x**2).ravel())[::-1]
    top = one.query("operator == 'topk' and budget == 0.25").iloc[0]
    kept = int(top.bits_values / 32)
    assert top.error == pytest.approx(energy[kept:].sum() / energy.sum(), rel=1e-6)
    assert (
        top.bits <= 0.25 * 32 * x.size
        and top.bits == top.bits_values + top.bits_indices + top.bits_metadata
    )
    s = np.linalg.svd(x, compute_uv=False) ** 2
    two = one.query("operator == 'two'").iloc[0]
    assert two.error == pytest.approx(s[2:].sum() / s.sum(), rel=1e-5)
    assert np.isnan(two.budget) and two["compressor.rank"] == 2
    assert one.stable_rank.iloc[0] == pytest.approx(s.sum() / s[0], rel=1e-9)


def test_only_what_can_be_measured_has_rows(runs, tmp_path):
    """No vectors, no layers below the least size, no zero tensors; one draw where nothing is random."""
    rows = measured(runs, tmp_path)
    points = len(sized(WANTED))
    assert set(rows.layer) == {"fc", "conv"} and set(rows.kind) == {"linear", "conv"}
    assert set(rows[rows.layer == "conv"].client) == {0}
    assert set(rows[rows.operator == "small"].layer) == {"conv"}  # the other has more than 300
    assert len(rows) == 2 * 2 * 2 * ((2 + 1) * points - 2 * 2)
    assert set(rows.groupby("operator").draws.first().items()) >= {("randk", 2), ("topk", 1)}
    assert (rows[rows.operator == "randk"].error_sd > 0).all()
    assert set(measured(runs, tmp_path, least=300).layer) == {"fc"}


def test_the_same_bytes_each_time_and_whatever_else_is_measured(runs, tmp_path):
    both = measured(runs, tmp_path)
    first = (tmp_path / "operators.csv").read_bytes()
    measured(runs, tmp_path)
    assert (tmp_path / "operators.csv").read_bytes() == first
    alone = measured(runs[1:], tmp_path)
    pd.testing.assert_frame_equal(both[both.run == "run1"].reset_index(drop=True), alone)


def test_a_lost_snapshot_is_one_line(runs, tmp_path):
    snapshots.path(tmp_path / "runs/s/run0", 7).unlink()
    with pytest.raises(ValueError, match=r"7\.npz: is missing or broken; delete the run's folder"):
        measured(runs, tmp_path)


def test_stable_rank():
    assert stable_rank(np.outer([1.0, 2], [3.0, 4, 5])) == pytest.approx(1)
    assert stable_rank(np.eye(6)) == pytest.approx(6)
    assert stable_rank(1e-30 * np.eye(4).reshape(4, 2, 2)) == pytest.approx(4)


def labelled(rows):
    return operators.load(labelled_study(), rows)


def labelled_study() -> dict:
    return {"operators": WANTED.model_dump()}


def test_estimators_give_one_number_a_seed(runs, tmp_path):
    rows = measured(runs, tmp_path)
    error = {"estimator": "operator_error", "operator": "topk", "budget": 0.25, "kind": "linear"}
    found = make(error).measure(manifest(), labelled(tmp_path))
    chosen = rows.query(
        "operator == 'topk' and budget == 0.25 and kind == 'linear' and source == 'update'"
    )
    for seed in (0, 1):
        assert found[seed] == pytest.approx(chosen[chosen.run == f"run{seed}"].error.mean())
    ratio = {
        "estimator": "ratio",
        "numerator": error,
        "denominator": error | {"source": "residual"},
    }
    assert make(ratio).reads == "operators"
    assert make(ratio).measure(manifest(), labelled(tmp_path)).between(0.5, 2).all()
    bound = make(error | {"relative_to": "gaussian"}).measure(manifest(), labelled(tmp_path))
    assert (bound > 1).all()  # these tensors are Gaussian
    largest = make({"estimator": "stable_rank", "statistic": "max"})
    assert (
        largest.measure(manifest(), labelled(tmp_path))[0]
        == rows[(rows.run == "run0") & (rows.source == "update")].stable_rank.max()
    )


def test_a_message_above_its_budget_counts_as_none(runs, tmp_path):
    """Rank 1 of 16 x 24 is more than 10 %: undefined for a claim, no cell in a table."""
    measured(runs, tmp_path)
    block = {"estimator": "operator_error", "operator": "svd", "budget": 0.1}
    assert make(block).measure(manifest(), labelled(tmp_path)).isna().all()
    table = tables.make("operator_errors", manifest(), labelled(tmp_path), {"budget": 0.1})
    assert "SVD" not in set(table["operator"]) and "sign" in set(table["operator"])
    assert table.iloc[-1]["operator"] == "Gaussian bound"
    assert table.iloc[-1, 1] == pytest.approx(2 ** -(2 * 3.2))


def test_a_mean_is_over_all_tensors_or_not_there(runs, tmp_path):
    """Messages that chance made short are not picked, nor tensors on which an operator happens to be short enough."""
    rows = measured(runs, tmp_path)
    lazy = rows.query("operator == 'lazy' and budget == 0.25")
    assert lazy.bits_expected.nunique() == 2 and (lazy.bits_expected <= 8 * 384).all()
    assert lazy.bits.nunique() > 2 and rows[rows.operator == "ties"].bits_expected.isna().all()
    table = tables.make("operator_errors", manifest(), labelled(tmp_path), {"budget": 0.25})
    table = table.set_index("operator")
    own = lazy.query("source == 'update' and kind == 'linear'")
    assert table.loc["lazy", "mlp, linear layers: gradient"] == pytest.approx(own.error.mean())
    assert np.isnan(table.loc["small", "mlp, linear layers: gradient"])
    assert table.loc["small", "mlp, convolution kernels: gradient"] == pytest.approx(
        table.loc["Top-k", "mlp, convolution kernels: gradient"]
    )
    inside = operators.of_runs(manifest(), operators.load(labelled_study(), tmp_path))
    inside = inside[inside["operator"].isin(["ties", "topk"])]
    shares = inside[inside["operator"] == "ties"]["bits"] / (32 * inside["numbers"])
    assert "ties" not in set(operators.on_all(inside, shares.min())["operator"])
    assert "ties" in set(operators.on_all(inside, shares.max())["operator"])


def test_operators_with_a_size_of_their_own(runs, tmp_path):
    rows = measured(runs, tmp_path).query("operator == 'ties' and source == 'residual'")
    options = {"source": "residual"}
    table = tables.make("operator_sizes", manifest(), labelled(tmp_path), options)
    assert table["operator"].tolist() == ["SVD, rank 2", "sign", "ties"]
    for kind, group in (("linear", "mlp, linear layers"), ("conv", "mlp, convolution kernels")):
        own, found = rows[rows.kind == kind], table.iloc[2]
        assert found[f"{group}: error"] == pytest.approx(own.error.mean())
        assert found[f"{group}: sent (%)"] == pytest.approx(
            (100 * own.bits / own.numbers / 32).mean()
        )
    with pytest.raises(AnalysisError, match="source: found 'x'; allowed: update, residual"):
        tables.make("operator_sizes", manifest(), labelled(tmp_path), {"source": "x"})


def test_the_study_of_operators_has_every_compressor():
    """A new compressor is named in config/studies/rate_distortion.yaml, under operators."""
    block = yaml.safe_load((ROOT / "config/studies/rate_distortion.yaml").read_text())["operators"]
    measured = {item["compressor"]["name"] for item in block["of"].values()}
    assert measured == set(registry.plugins("compressor"))


def test_parts_of_a_ratio_read_one_table():
    metric = {"estimator": "final", "metric": "loss"}
    error = {"estimator": "operator_error", "operator": "topk", "budget": 0.1}
    with pytest.raises(AnalysisError, match="read the same table"):
        make({"estimator": "ratio", "numerator": metric, "denominator": error})


def test_the_figure_and_tables_are_made(runs, tmp_path):
    measured(runs, tmp_path)
    kind = plugin("figure", {"name": "rate_distortion", "operators": ["topk", "randk", "sign"]})
    figure = make_figure(kind, manifest(), labelled(tmp_path))
    assert [axis.get_title(loc="left") for axis in figure.axes[:2]] == [
        "mlp, linear layers", "mlp, convolution kernels",
    ]  # fmt: skip
    ranks = tables.make("stable_ranks", manifest(), labelled(tmp_path), {})
    assert ranks["tensors"].tolist() == [8, 8, 4, 4]
    with pytest.raises(AnalysisError, match=r"operators\.csv: no such file; run: fewbits measure"):
        labelled(tmp_path / "nowhere")


def test_a_changed_compressor_is_measured_again(monkeypatch):
    def of(names):
        fingerprint.of_modules.cache_clear()
        fingerprint._read.cache_clear()
        return fingerprint.of_operators([{"name": name} for name in names])

    before = of(["topk", "svd"]), of(["svd"])
    source = fingerprint._source

    def edited(module):
        return source(module) + ("\nNEW = 1\n" if module.endswith(".topk") else "")

    with monkeypatch.context() as patch:
        patch.setattr(fingerprint, "_source", edited)
        after = of(["topk", "svd"]), of(["svd"])
    assert before[0] != after[0] and before[1] == after[1]
    assert (of(["topk", "svd"]), of(["svd"])) == before
