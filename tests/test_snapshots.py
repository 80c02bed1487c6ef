"""Updates kept on the way: what they hold, and that they survive whatever training survives."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import interrupted, result_bytes, run, summary, vary

from fewbits import train
from fewbits.federation import snapshots
from fewbits.files import read_json
from fewbits.studies import read_run
from fewbits.train import Places

KEPT = {"rounds": [1, 20, 45], "clients": 2}


@pytest.fixture
def network(spec):
    """A small network, trained with EF21."""
    del spec["step"]
    return vary(
        spec,
        dataset={"name": "digits"},
        model={"name": "network", "net": "mlp", "parameters": {"hidden": [12]}, "weight_decay": 0.0,
               "train_metrics": True, "precision": "float32"},
        partition={"name": "contiguous", "clients": 4},
        algorithm={"name": "ef21", "start": "gradient"},
        compressor={"name": "topk", "k": 8},
        step={"value": 0.2},
        rounds=45,
        record_every=15,
        stop={},
        snapshots=KEPT,
    )  # fmt: skip


def kept_bytes(folder):
    return {p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob("snapshots/*"))}


def test_a_snapshot_is_what_clients_wanted_to_send_and_what_was_compressed(network, tmp_path):
    """By layer; without compression, EF21's residual at t is the change of the gradient since t - 1."""
    everything = vary(network, compressor={"name": "identity", "wire": "float32"})
    everything["snapshots"] = {"rounds": [20, 21], "clients": 3}
    run(tmp_path, a=everything)
    before, after = (snapshots.load(tmp_path / everything["study"] / "a", t) for t in (20, 21))
    assert after["clients"].tolist() == [0, 1, 2]
    shapes = {key.partition("/")[2]: value.shape for key, value in after.items() if "/" in key}
    assert set(shapes.values()) == {(3, 12, 64), (3, 12), (3, 10, 12), (3, 10)}
    for layer in shapes:
        change = after[f"update/{layer}"] - before[f"update/{layer}"]
        scale = np.abs(after[f"update/{layer}"]).max()
        np.testing.assert_allclose(after[f"residual/{layer}"], change, atol=1e-6 * scale)


def test_snapshots_change_no_number_and_are_named_by_the_summary(network, tmp_path):
    plain = {key: value for key, value in network.items() if key != "snapshots"}
    tables = run(tmp_path, kept=network, plain=plain)
    assert tables["kept"].equals(tables["plain"])
    assert set(summary(tmp_path, "kept", network)["snapshots"]) == {"1", "20", "45"}
    assert "snapshots" not in summary(tmp_path, "plain", plain)


def test_without_error_feedback_what_is_compressed_is_the_update(network, tmp_path):
    dense = {k: v for k, v in network.items() if k != "compressor"} | {"algorithm": {"name": "gd"}}
    run(tmp_path, gd=dense)
    held = snapshots.load(tmp_path / dense["study"] / "gd", 20)
    for key in [key for key in held if key.startswith("update/")]:
        assert np.array_equal(held[key], held[key.replace("update/", "residual/")])


def test_only_the_cohort_is_kept(network, tmp_path):
    some = vary(network, selection={"name": "uniform", "fraction": 0.5})
    run(tmp_path, some=some)
    cohorts = [
        snapshots.load(tmp_path / some["study"] / "some", t)["clients"] for t in KEPT["rounds"]
    ]
    assert all(len(who) == 2 and (np.diff(who) > 0).all() for who in cohorts)
    assert len({tuple(who) for who in cohorts}) > 1


def test_interrupted_anywhere_keeps_the_same_snapshots(network, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "CHECKPOINT_SECONDS", -1.0)
    specs = {f"s{seed}": vary(network, seed=seed) for seed in (0, 1)}
    run(tmp_path / "whole", **specs)
    for stop_at in (15, 30):
        with interrupted(stop_at):
            run(tmp_path / "broken", **specs)
    lost = tmp_path / "broken" / network["study"] / "s1" / "snapshots" / "20.npz"
    lost.unlink()  # behind the checkpoint's back: that lane starts again
    run(tmp_path / "broken", **specs)
    assert len(kept_bytes(tmp_path / "whole")) == 6
    assert kept_bytes(tmp_path / "broken") == kept_bytes(tmp_path / "whole")
    assert result_bytes(tmp_path / "broken") == result_bytes(tmp_path / "whole")


@pytest.mark.parametrize("damage", [lambda p: p.unlink(), lambda p: p.write_bytes(b"PK")])
def test_a_run_is_not_done_without_its_snapshots(network, tmp_path, damage):
    run(tmp_path, a=network)
    whole = kept_bytes(tmp_path)
    folder = tmp_path / network["study"] / "a"
    damage(snapshots.path(folder, 20))
    with pytest.raises(ValueError, match=r"20\.npz: is missing or broken; delete"):
        snapshots.load(folder, 20)
    assert train.train({"a": network}, Places(tmp_path), say=lambda line: None) == 1
    assert kept_bytes(tmp_path) == whole
    assert train.train({"a": network}, Places(tmp_path), say=lambda line: None) == 0


def test_a_written_spec_is_read_again(network, tmp_path):
    run(tmp_path, a=vary(network, model={"parameters": {}}))
    spec = tmp_path / network["study"] / "a" / "spec.json"
    assert read_run(spec)["snapshots"] == read_json(spec)["snapshots"] == KEPT
