"""The command line: help everywhere, single runs by hand, and mistakes answered in one line."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from helpers import result_bytes, run, vary

from fewbits.cli import main
from fewbits.files import write_json


def fewbits(*arguments) -> object:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def one_line(result) -> str:
    """The only line of an error answer."""
    assert result.exit_code == 1, result.output
    lines = result.output.strip().splitlines()
    assert len(lines) == 1, result.output
    return lines[0]


@pytest.mark.parametrize("command", sorted(main.commands))
def test_every_command_has_help(command):
    result = fewbits(command, "--help")
    assert result.exit_code == 0
    assert main.commands[command].help and "Usage:" in result.output


def test_commands_cover_the_steps_of_the_pipeline():
    steps = {"plan", "partition", "train", "collect", "judge", "draw", "report", "sync"}
    assert steps <= set(main.commands)


def test_one_run_by_hand_is_the_run_of_the_pipeline(spec, tmp_path):
    run(tmp_path / "pipeline", run=spec)
    again = fewbits(
        "train", "--spec", tmp_path / "pipeline/ef21/run/spec.json", "--out", tmp_path / "by/run"
    )
    assert again.exit_code == 0, again.output
    first = {p.rsplit("/", 1)[-1]: c for p, c in result_bytes(tmp_path / "pipeline").items()}
    second = {p.rsplit("/", 1)[-1]: c for p, c in result_bytes(tmp_path / "by").items()}
    assert first == second


def test_a_short_spec_in_yaml_is_completed_from_defaults(tmp_path):
    short = {
        "dataset": "breast_cancer",
        "model": "logistic",
        "partition": {"name": "iid", "clients": 5},
        "algorithm": "gd",
        "step": {"value": 0.1},
        "rounds": 5,
    }
    (tmp_path / "run.yaml").write_text(yaml.dump(short))
    result = fewbits("train", "--spec", tmp_path / "run.yaml", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    spec = json.loads((tmp_path / "out/spec.json").read_text())
    assert spec["model"]["strength"] == 0.1 and spec["seed"] == 0


def test_a_starting_point_from_a_file_is_used(spec, tmp_path):
    write_json(tmp_path / "spec.json", vary(spec, rounds=3))
    np.save(tmp_path / "x0.npy", np.zeros(30))
    arguments = ("train", "--spec", tmp_path / "spec.json", "--out", tmp_path / "zero")
    assert fewbits(*arguments, "--start", tmp_path / "x0.npy").exit_code == 0
    first = (tmp_path / "zero/metrics.csv").read_text().splitlines()[1]
    assert float(first.split(",")[6]) == pytest.approx(np.log(2))  # f(0), no regulariser
    np.save(tmp_path / "x0.npy", np.zeros(29))
    line = one_line(fewbits(*arguments, "--start", tmp_path / "x0.npy"))
    assert "x0.npy" in line and "(29,)" in line and "(30,)" in line
    (tmp_path / "x0.npy").write_text("not numbers")
    assert "x0.npy" in one_line(fewbits(*arguments, "--start", tmp_path / "x0.npy"))


def test_mistakes_in_a_spec_are_one_line(spec, tmp_path):
    write_json(tmp_path / "spec.json", vary(spec, compressor={"k": 31}))
    line = one_line(fewbits("train", "--spec", tmp_path / "spec.json", "--out", tmp_path / "out"))
    assert "spec.json" in line and "compressor" in line and "30" in line
    line = one_line(fewbits("train", "--spec", tmp_path / "none.json", "--out", tmp_path / "out"))
    assert "none.json" in line
    assert not (tmp_path / "out").exists()


def test_theory_needs_a_contractive_compressor(spec, tmp_path):
    qsgd = {"name": "qsgd", "levels": 7}
    write_json(tmp_path / "spec.json", vary(spec, compressor=qsgd))
    line = one_line(fewbits("train", "--spec", tmp_path / "spec.json", "--out", tmp_path / "out"))
    assert all(word in line for word in ("spec.json", "step", "qsgd", "contraction", "value"))
    write_json(tmp_path / "spec.json", vary(spec, compressor=qsgd) | {"step": {"value": 0.01}})
    result = fewbits("train", "--spec", tmp_path / "spec.json", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output


def test_check_says_what_is_wrong(tmp_path):
    (tmp_path / "ef21.yaml").write_text("study: ef21\ntitel: x\n")
    result = fewbits("check", tmp_path / "ef21.yaml")
    assert result.exit_code == 1 and "titel" in result.output and "title" in result.output


def test_partitions_of_a_study_are_made_once(tmp_path):
    options = (
        "partition",
        "--study",
        "ef21",
        "--results",
        tmp_path,
        "--receipt",
        tmp_path / "r.json",
    )
    first = fewbits(*options)
    assert first.exit_code == 0, first.output
    receipt = json.loads((tmp_path / "r.json").read_text())
    summaries = {
        path.parent.name: path.stat().st_mtime_ns
        for path in tmp_path.glob("partitions/*/summary.json")
    }
    assert receipt and set(receipt) == set(summaries)
    (tmp_path / "partitions" / next(iter(receipt)) / "summary.json").write_text(
        "{}"
    )  # other code's
    again = fewbits(*options)
    assert f"1 of {len(receipt)} partitions made" in again.output
    assert json.loads((tmp_path / "r.json").read_text()) == receipt


@pytest.mark.parametrize(
    "words", [(), ("--study", "ef21", "--out", "x"), ("--dataset", '{"name": "digits"}')]
)
def test_a_partition_is_of_a_study_or_by_hand(words):
    result = fewbits("partition", *words)
    assert (
        result.exit_code == 2
        and "give --dataset, --partition and --out, or --study" in result.output
    )


def test_training_needs_a_folder():
    for words in (("--spec", "spec.json"), ("--job", "job.json")):
        result = fewbits("train", *words)
        assert result.exit_code == 2 and "Missing option '--out'" in result.output


@pytest.mark.parametrize(
    "dataset, partition, message",
    [
        ("digits", '"iid"', "--dataset: found 'digits'; allowed: JSON"),
        ('["digits"]', '"iid"', "--dataset: found [digits]; allowed: a9a, "),
        ('{"name": "digitz"}', '"iid"', "(did you mean 'digits'?)"),
        ('"digits"', '{"name": "iid", "clients": true}', "--partition: clients: found true; allowed: a number"),
        ('"digits"', '{"name": "dirichlet", "clients": 5, "alpha": 0}', "alpha: found 0; allowed: at least 1e-06"),
        ('"digits"', '{"name": "fixed_classes", "clients": 5, "classes": 11}', "--partition: the data set has 10 classes"),
        ('"digits"', '{"name": "iid", "clients": 1438}', "--partition: 1438 clients cannot share 1437 rows"),
    ],
)  # fmt: skip
def test_mistakes_in_a_partition_by_hand_are_one_line(tmp_path, dataset, partition, message):
    words = ("--dataset", dataset, "--partition", partition, "--out", tmp_path / "made")
    result = fewbits("partition", *words)
    assert result.exit_code == 1 and message in result.output
    assert len(result.output.splitlines()) == 1 and not (tmp_path / "made").exists()
