"""Training as a user meets it: same bytes however it is started, stopped, batched and repeated."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers import interrupted, metrics, result_bytes, run, summary, vary

from fewbits import fingerprint, train
from fewbits.algorithms.ef21 import EF21
from fewbits.compressors import topk
from fewbits.files import canonical, write_json
from fewbits.train import Places


def sweep(spec, rounds=300, factors=(1.0, 16.0, 256.0), seeds=(0, 1)):
    """A batch: step sizes x seeds, one lane of which converges early."""
    stop = {"grad_sq_below": 1e-5}
    return {
        f"x{factor:g}-s{seed}": vary(
            spec, step={"factor": factor}, seed=seed, rounds=rounds, stop=stop
        )
        for factor in factors
        for seed in seeds
    }


def test_adding_a_seed_trains_only_that_seed(spec, tmp_path):
    first = sweep(spec, seeds=(0,))
    run(tmp_path, **first)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("metrics.csv")}
    more = sweep(spec, seeds=(0, 1))
    assert train.train(more, Places(tmp_path), say=lambda line: None) == 3
    assert all(p.stat().st_mtime_ns == stamp for p, stamp in before.items())
    assert train.train(more, Places(tmp_path), say=lambda line: None) == 0


def test_interrupted_anywhere_ends_in_the_same_bytes(spec, tmp_path, monkeypatch):
    """Checkpoint at every recorded round; stop at some of them; go on with whatever is there."""
    monkeypatch.setattr(train, "CHECKPOINT_SECONDS", -1.0)
    specs = sweep(vary(spec, record_every=10))
    run(tmp_path / "whole", **specs)
    for stop_at in (30, 40, 120, 250):
        with interrupted(stop_at):
            run(tmp_path / "broken", **specs)
    run(tmp_path / "broken", **specs)
    assert result_bytes(tmp_path / "broken") == result_bytes(tmp_path / "whole")
    rounds = [json.loads(line) for line in journal_lines(tmp_path / "broken", "x1-s0")]
    assert [e["event"] for e in rounds].count("resume") == 4
    seen = {e["round"] for e in rounds if e["event"] == "round"}
    assert seen == set(range(0, 301, 10))
    assert not list((tmp_path / "broken").rglob("*.npz")), "checkpoints are removed at the end"


@pytest.mark.parametrize("which", [0, 3])
def test_interrupted_between_the_last_row_and_the_ends(spec, tmp_path, monkeypatch, which):
    """The checkpoint holds the row with which lanes end; some of them were not written yet."""
    monkeypatch.setattr(train, "CHECKPOINT_SECONDS", -1.0)
    specs = sweep(vary(spec, rounds=45, record_every=10))
    run(tmp_path / "whole", **specs)
    ended, calls = train.Desk.ended, []

    def interrupt(desk, *args):
        calls.append(args[0])
        if len(calls) == which + 1:
            raise KeyboardInterrupt
        ended(desk, *args)

    monkeypatch.setattr(train.Desk, "ended", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", **specs)
    monkeypatch.setattr(train.Desk, "ended", ended)
    run(tmp_path / "broken", **specs)
    assert result_bytes(tmp_path / "broken") == result_bytes(tmp_path / "whole")


def test_killed_process_resumes_to_the_same_bytes(spec, tmp_path):
    """SIGKILL of a real `fewbits train`, several times, then the same command."""
    long = vary(spec, rounds=8000, record_every=200, step={"factor": 4.0})
    write_json(tmp_path / "spec.json", long)
    command = [sys.executable, "-m", "fewbits.cli", "train", "--spec", str(tmp_path / "spec.json")]
    environment = os.environ | {"FEWBITS_CHECKPOINT_SECONDS": "0.2"}

    def go(folder, kill_after=None):
        process = subprocess.Popen(
            [*command, "--out", str(tmp_path / folder / "run")], env=environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        if kill_after is not None:
            time.sleep(kill_after)
            process.send_signal(signal.SIGKILL)
        errors = process.communicate()[1].decode()
        assert kill_after is not None or process.returncode == 0, errors

    go("whole")
    for seconds in (1.0, 4.0, 5.0):
        go("broken", kill_after=seconds)
    go("broken")
    assert result_bytes(tmp_path / "broken") == result_bytes(tmp_path / "whole")


def test_spoilt_checkpoint_or_results_are_redone(spec, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "CHECKPOINT_SECONDS", -1.0)
    specs = sweep(spec, factors=(1.0,), seeds=(0,))
    run(tmp_path, **specs)
    whole = result_bytes(tmp_path)
    folder = tmp_path / "ef21" / "x1-s0"
    (folder / "summary.json").write_text("{ half")
    state = tmp_path / "ef21" / ".state"
    (state / (next(state.glob("*.lock")).stem + ".npz")).write_bytes(b"not a checkpoint")
    run(tmp_path, **specs)
    assert result_bytes(tmp_path) == whole


def test_another_spec_in_the_same_folder_does_not_take_the_old_checkpoint(
    spec, tmp_path, monkeypatch
):
    """A run by hand is named after its folder, whatever its spec."""
    monkeypatch.setattr(train, "CHECKPOINT_SECONDS", -1.0)
    with interrupted(20):
        train.train_one(spec, tmp_path / "first" / "out", say=lambda line: None)
    other = vary(spec, compressor={"k": 4}, seed=7)
    for folder in ("first", "second"):
        train.train_one(other, tmp_path / folder / "out", say=lambda line: None)
    first, second = (result_bytes(tmp_path / folder) for folder in ("first", "second"))
    assert first == second


def test_damaged_table_is_made_again(spec, tmp_path):
    specs = sweep(spec, factors=(1.0,), seeds=(0,))
    run(tmp_path, **specs)
    whole = result_bytes(tmp_path)
    path = tmp_path / "ef21/x1-s0/metrics.csv"
    path.write_text(path.read_text()[:-100])
    run(tmp_path, **specs)
    assert result_bytes(tmp_path) == whole


def test_other_code_retrains_and_starts_a_new_journal(spec, tmp_path, monkeypatch):
    specs = sweep(spec, factors=(1.0,), seeds=(0,))
    run(tmp_path, **specs)
    monkeypatch.setattr(fingerprint, "of_run", lambda spec: "0123456789ab")
    assert train.train(specs, Places(tmp_path), say=lambda line: None) == 1
    lines = [json.loads(line) for line in journal_lines(tmp_path, "x1-s0")]
    assert [e["event"] for e in lines].count("start") == 1
    assert lines[0]["tags"]["code"] == "0123456789ab"


@pytest.mark.filterwarnings("ignore:overflow")
def test_a_loss_that_is_not_finite_is_divergence_whatever_the_gradient(spec, tmp_path):
    """A logistic loss grows without bound, its gradient does not."""
    wild = vary(spec, algorithm={"name": "gd"}, compressor=None, rounds=5, step={"value": 1e308})
    wild["model"] = {**spec["model"], "strength": 1e-12}
    table = run(tmp_path, wild=wild)["wild"]
    assert np.isfinite(table.grad_sq).all() and not np.isfinite(table.loss.iloc[-1])
    assert summary(tmp_path, "wild", wild)["status"] == "diverged" and len(table) == 2


def test_divergence_is_a_result(spec, tmp_path):
    model = {"name": "least_squares", "init": "normal", "init_scale": 2.0}
    wild = vary(spec, model=model, step={"factor": 1e6}, rounds=2000)
    calm = vary(spec, model=model, step={"factor": 1.0}, rounds=2000)
    tables = run(tmp_path, wild=wild, calm=calm)
    assert summary(tmp_path, "wild", wild)["status"] == "diverged"
    assert summary(tmp_path, "calm", calm)["status"] == "finished"
    assert len(tables["wild"]) < len(tables["calm"]) == 2001


def test_journal_tells_all_that_the_table_tells(spec, tmp_path):
    table = run(tmp_path, run=spec)["run"]
    lines = [json.loads(line) for line in journal_lines(tmp_path, "run")]
    assert lines[0]["event"] == "start" and lines[0]["spec"] == spec
    assert lines[-1]["event"] == "end" and lines[-1]["status"] == "finished"
    rounds = [line for line in lines if line["event"] == "round"]
    for column in table:
        assert np.array_equal(table[column], [line[column] for line in rounds]), column


def test_runs_that_differ_in_more_than_step_and_seed_do_not_share_a_batch(spec):
    runs = {"a": spec, "b": vary(spec, seed=1), "c": vary(spec, compressor={"k": 2})}
    assert sorted(map(sorted, train.batches(runs).values())) == [["a", "b"], ["c"]]
    random = {n: vary(s, partition={"name": "iid", "clients": 20}) for n, s in runs.items()}
    assert len(train.batches(random)) == 3


@pytest.fixture
def edited(monkeypatch):
    """Fingerprints as they are when a module's source is changed by a function."""
    original = fingerprint._source

    def edit(module, change):
        def source(name):
            return change(original(name)) if name == module else original(name)

        monkeypatch.setattr(fingerprint, "_source", source)
        forget()

    def forget():
        fingerprint.of_modules.cache_clear()
        fingerprint._read.cache_clear()

    yield edit
    forget()


def test_fingerprint_follows_imports_and_ignores_words(spec, edited):
    """Touching Top-k changes the runs that use it and no others; comments and docstrings change none."""
    descent = vary(spec, algorithm={"name": "gd"}, compressor=None)
    before = fingerprint.of_run(spec), fingerprint.of_run(descent)
    edited(topk.__name__, lambda text: "# A comment.\n" + text.replace('"""Keep', '"""Hold'))
    assert (fingerprint.of_run(spec), fingerprint.of_run(descent)) == before
    edited(topk.__name__, lambda text: text + "\nTIES = 'highest index'")
    assert fingerprint.of_run(spec) != before[0]
    assert fingerprint.of_run(descent) == before[1]


def test_a_plugins_name_in_figures_is_no_reason_to_train(spec, edited, monkeypatch):
    before = fingerprint.of_run(spec), fingerprint.of_analysis("fewbits.analysis.draw")
    edited(EF21.__module__, lambda text: text.replace('= "EF21"', '= "Error feedback 21"'))
    monkeypatch.setattr(EF21, "label", "Error feedback 21")
    fingerprint._shown.cache_clear()
    assert fingerprint.of_run(spec) == before[0]
    assert fingerprint.of_analysis("fewbits.analysis.draw") != before[1]
    fingerprint._shown.cache_clear()


def test_runs_with_equal_specs_have_equal_canonical_form(spec):
    assert canonical(spec) == canonical(json.loads(json.dumps(spec)))


def test_metrics_are_readable_and_ordered(spec, tmp_path):
    run(tmp_path, run=spec)
    table = metrics(tmp_path, "run", spec)
    assert table["round"].is_monotonic_increasing and table.bits_up.is_monotonic_increasing
    assert list(table.columns[:8]) == [
        "round", "bits_up", "bits_up_values", "bits_up_indices",
        "bits_up_metadata", "bits_down", "loss", "grad_sq",
    ]  # fmt: skip


def journal_lines(folder, name):
    return (folder / "ef21" / name / "journal.jsonl").read_text().splitlines()
