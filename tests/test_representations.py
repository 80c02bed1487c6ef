"""Spectra of representations: of arrays whose answer is known, and of what runs keep."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import digits_run, run

from fewbits import registry
from fewbits.federation import representations, snapshots


def test_the_spectrum_of_a_known_covariance():
    """Three directions of known variance, one feature dead."""
    random = np.random.default_rng(0)
    basis = np.linalg.qr(random.standard_normal((5, 5)))[0][:, :3]
    rows = np.linalg.qr(random.standard_normal((200, 4)))[0]
    rows = np.linalg.qr(np.column_stack([np.ones(200), rows]))[0][:, 1:4] * 200**0.5
    z = np.zeros((200, 6))
    z[:, :5] = rows @ np.diag([3.0, 2.0, 0.1]) @ basis.T
    found = representations.spectrum(z + 7.0)
    np.testing.assert_allclose(found["singular"], [9, 4, 0.01, 0, 0, 0], atol=1e-12)
    np.testing.assert_allclose(found["variance"][:5], np.diag(np.cov(z[:, :5].T, bias=True)))
    assert (found["variance"] <= representations.DEAD).sum() == 1
    r = np.corrcoef(z[:, :5].T)
    assert found["correlation"] == pytest.approx((r[~np.eye(5, dtype=bool)] ** 2).mean())


def test_fewer_rows_than_features_and_nothing_alive():
    found = representations.spectrum(np.ones((3, 5), np.float32))
    assert found["singular"].tolist() == [0] * 5 and np.isnan(found["correlation"])


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_a_run_keeps_the_spectra_of_the_global_and_of_local_models(tmp_path, norm):
    """Against representations taken by torch's own modules, and FedAvg of one client: local is global."""
    net = {"net": "mlp", "parameters": {"hidden": [16, 8], "activation": "tanh"}}
    if norm == "batch":
        net = {"net": "resnet8", "parameters": {"norm": norm}}
    spec = digits_run(
        study="spectra",
        model={"train_metrics": False, "precision": "float32", **net},
        partition={"name": "iid", "clients": 1 if norm == "group" else 60},
        selection={"name": "uniform", "fraction": 1.0 if norm == "group" else 0.04},
        local={"name": "sgd", "step": 0.1, "steps": 2, "batch": 20},
        rounds=2,
        snapshots={"rounds": [2], "clients": 1, "keep": ["updates", "spectra"]},
    )
    run(tmp_path, one=spec)
    held = snapshots.load(tmp_path / "spectra" / "one", 2)
    width, clients = (8, 1) if norm == "group" else (64, 2)
    assert held["singular/global"].shape == (width,)
    assert held["variance/local"].shape == held["singular/local"].shape == (clients, width)
    assert (np.diff(held["singular/local"], axis=-1) <= 0).all()
    trace = held["variance/local"].sum(axis=-1)
    np.testing.assert_allclose(held["singular/local"].sum(axis=-1), trace, rtol=1e-9)
    if norm == "group":
        np.testing.assert_allclose(held["singular/local"][0], held["singular/global"], rtol=1e-4)
    assert len([key for key in held if key.startswith("update/")]) > 3
    only = spec | {"snapshots": spec["snapshots"] | {"keep": ["spectra"]}}
    run(tmp_path / "only", one=only)
    fewer = snapshots.load(tmp_path / "only" / "spectra" / "one", 2)
    assert set(fewer) == {
        key for key in held if key.split("/")[0] in ("singular", "variance", "correlation")
    }


def test_representations_of_test_rows_are_those_of_the_module():
    source = registry.find("dataset", "digits")
    data = registry.make("dataset", {"name": "digits"}).load()
    model = registry.make("model", {"name": "network", "net": "digits_cnn"})
    f = model.objective(data, [np.arange(20)], source)
    x = torch.from_numpy(f.start("digits", 3))
    torch.nn.utils.vector_to_parameters(x, f.net.parameters())
    rows = torch.from_numpy(data.test_x).float().reshape(-1, 1, 8, 8)
    torch.testing.assert_close(f.test_representations(x), f.net.features(rows).detach())
