"""The measurement of compressors on random vectors: its numbers by hand, and what theory says of them."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import run

ONE = {
    "study": "means",
    "dataset": {"name": "digits"},
    "model": {"name": "network", "net": "mlp", "parameters": {"hidden": [13]}, "train_metrics": False},
    "partition": {"name": "contiguous", "clients": 4},
    "algorithm": {"name": "mean_estimation", "law": "gauss"},
    "compressor": {"name": "subsample", "fraction": 0.25},
    "layers": {"per": "whole"},
    "step": {"value": 1.0},
    "seed": 0,
    "rounds": 40,
    "record_every": 1,
    "stop": {},
}  # fmt: skip


@pytest.mark.parametrize("law", ["gauss", "lognormal", "sparse"])
def test_errors_are_those_of_an_unbiased_operator(tmp_path, law):
    """Of subsampling at 1/4, |C(v) - v|^2 is 3 |v|^2 in the mean; of a mean over t draws or n clients, so many times less."""
    spec = ONE | {"algorithm": {"name": "mean_estimation", "law": law}}
    same = spec | {"algorithm": spec["algorithm"] | {"same": True}}
    tables = run(tmp_path, own=spec, same=same)
    slack = 0.15 if law == "gauss" else 0.5
    for table in tables.values():
        assert table.error_one[1:].mean() == pytest.approx(3, rel=slack)
        assert table.error_mean[1:].mean() == pytest.approx(3 / 4, rel=slack)
        assert table.error_drawn.iloc[-1] == pytest.approx(3 / 40, rel=slack)
        assert table.test_loss.nunique() == 1  # nothing moves
        assert table.error_drawn[1] == table.error_one[1]


def test_what_is_sent_whole_has_no_error_and_a_bias_stays(tmp_path):
    whole = ONE | {"compressor": {"name": "identity", "wire": "float64"}}
    biased = ONE | {"compressor": {"name": "topk", "k": 100}}
    tables = run(tmp_path, whole=whole, biased=biased)
    errors = tables["whole"][["error_one", "error_mean", "error_drawn"]]
    assert (errors < 1e-12).all().all()  # of sums in float32
    errors = tables["biased"].error_drawn[1:]
    np.testing.assert_allclose(errors, errors[1], rtol=1e-6)
    assert 0.3 < errors[1] < 0.9
