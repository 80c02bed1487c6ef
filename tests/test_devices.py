"""Networks on another device: the processor's numbers to rounding, whatever method and local work.

A GPU is tried where there is one; a stand-in (stand_in.py) shows everywhere that nothing mixes the two, and that what runs there is
computed there.
"""

from __future__ import annotations

import json

import pandas as pd
import pytest
import stand_in
import torch
from click.testing import CliRunner
from helpers import digits_run, interrupted, result_bytes, vary

from fewbits import devices
from fewbits.cli import main
from fewbits.train import OneRun, Places, train

MOON = {"moon": {}, "feddecorr": {"coefficient": 0.1, "loss_scale": "code"}}
BATCHES = {"name": "sgd", "step": 0.1, "epochs": 1, "batch": 8}
FEW = BATCHES | {"epochs": None, "steps": 2}
SPECS = {
    "gradient": {},
    "gradient of a batch": {"local": {"name": "gradient", "batch": 7}},
    "EF21": {"algorithm": {"name": "ef21"}, "compressor": {"name": "topk", "k": 20}},
    "weight decay, clients' accuracy": {"model": {"weight_decay": 0.01, "client_metrics": True}},
    "local SGD": {"local": BATCHES},
    "with momentum, near the model": {"local": BATCHES | {"momentum": 0.5, "proximal": 0.1}},
    "with terms": {"local": BATCHES | {"terms": MOON}},
    "AdamW": {"local": {"name": "adamw", "step": 0.01, "steps": 3, "batch": 8}},
    "SCAFFOLD": {"algorithm": {"name": "scaffold"}, "local": BATCHES},
    "models of their own": {
        "algorithm": {"name": "pfedme", "strength": 1.0}, "local": FEW,
        "model": {"client_tests": True, "train_metrics": False},
    },
    "delayed": {"algorithm": {"name": "dga", "delay": 3}, "local": FEW},
    "a space": {"local": BATCHES, "space": {"name": "mask", "share": 0.3}},
    "batch normalisation": {"model": {"parameters": {"hidden": [12], "norm": "batch"}}, "local": FEW},
    "convolutions": {"model": {"net": "digits_cnn", "parameters": {}}, "local": FEW, "rounds": 2},
    "snapshots": {
        "local": BATCHES, "snapshots": {"rounds": [2], "clients": 2, "keep": ["updates", "spectra"]},
    },
}  # fmt: skip


@pytest.fixture(params=["stand_in", "cuda"])
def device(request, monkeypatch):
    """The word to ask for it."""
    if request.param == "cuda":
        if not torch.cuda.is_available():
            pytest.skip("no GPU here")
        return "cuda"
    monkeypatch.setattr(devices, "find", lambda asked: asked)
    return stand_in.NAME


def trained(folder, spec: dict, device: str) -> pd.DataFrame:
    train({"run": spec}, Places(folder), say=lambda line: None, device=device)
    return pd.read_csv(folder / spec["study"] / "run" / "metrics.csv")


@pytest.mark.parametrize("changes", SPECS.values(), ids=SPECS.keys())
def test_numbers_are_the_processors_to_rounding(tmp_path, device, changes):
    spec = digits_run(**changes)
    here, there = (trained(tmp_path / d, spec, d) for d in ("cpu", device))
    pd.testing.assert_frame_equal(there, here, rtol=1e-7, atol=1e-9)
    same = [column for column in here if column.startswith("bits")]
    assert there[same].equals(here[same])


def test_the_network_is_really_there(tmp_path, device, monkeypatch):
    from fewbits.models.objectives.stack import StackObjective

    seen, apart = [], StackObjective.apart
    monkeypatch.setattr(
        StackObjective,
        "apart",
        lambda self, y, *rest: seen.append(y.device.type) or apart(self, y, *rest),
    )
    trained(tmp_path, digits_run(local=BATCHES), device)
    assert set(seen) == {device}


def test_killed_it_goes_on_and_ends_in_the_same_bytes(tmp_path, device, monkeypatch):
    monkeypatch.setattr("fewbits.train.CHECKPOINT_SECONDS", 0)
    spec = digits_run(local=BATCHES)
    trained(tmp_path / "whole", spec, device)
    with interrupted(2):
        trained(tmp_path / "killed", spec, device)
    trained(tmp_path / "killed", spec, device)
    assert result_bytes(tmp_path / "killed") == result_bytes(tmp_path / "whole")


def test_another_device_trains_again_and_the_same_does_not(tmp_path, device):
    network, linear = digits_run(), vary(digits_run(), model={"name": "logistic"})

    def times(spec: dict, folder: str, asked: str) -> int:
        return train({"run": spec}, OneRun(tmp_path / folder), lambda line: None, device=asked)

    assert [times(network, "net", d) for d in ("cpu", device, device, "cpu")] == [1, 1, 0, 1]
    # NumPy computes it wherever.
    assert [times(linear, "line", d) for d in ("cpu", device)] == [1, 0]


def test_a_gpu_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices.find("cpu") == devices.find("auto") == "cpu"
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps(digits_run()))
    call = ["train", "--spec", str(spec), "--out", str(tmp_path / "run")]
    found = CliRunner().invoke(main, [*call, "--device", "cuda"])
    assert found.exit_code == 1 and len(found.output.splitlines()) == 1
    assert "device: found 'cuda'" in found.output and "auto" in found.output
    found = CliRunner().invoke(main, call, env={"FEWBITS_DEVICE": "cuda"})
    assert found.exit_code == 1
    assert CliRunner().invoke(main, [*call, "--device", "auto"]).exit_code == 0


def test_auto_is_the_gpu_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    asked = []
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda *a, **k: asked.append(a))
    before = torch.backends.cudnn.allow_tf32
    assert devices.find("auto") == devices.find("cuda") == "cuda" and asked == [(True,)] * 2
    assert not torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = before
