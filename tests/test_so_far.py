"""A report while runs are missing: what is whole is shown and judged as ever, the rest is said to be missing."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from study_text import GOOD, project

from fewbits import fingerprint, studies
from fewbits.cli import main
from fewbits.train import Places, train

REPORTS = Path(__file__).parents[1] / "reports"
STUDY = GOOD.replace("rounds: 400", "rounds: 40").replace("rounds: 200", "rounds: 40") + """\
  - id: C2
    statement: "It descends."
    published: {text: "below 1", where: "nowhere"}
    scales:
      default:
        measure: {estimator: final, grid: dense, metric: grad_sq}
        reproduced: {below: 1.0}
"""  # fmt: skip


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    project(tmp_path, STUDY)
    for name in ("report.typ", "template.typ", "references.bib"):
        shutil.copy(REPORTS / name, tmp_path / "reports")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def runs(grid: str | None = None) -> dict[str, dict]:
    found = studies.load_study("config/studies/good.yaml").runs("default")
    return {run.id: run.spec for run in found if grid is None or grid in run.grids}


def trained(chosen: dict[str, dict]) -> None:
    train(chosen, Places(Path("results/runs")), say=lambda line: None)


def fewbits(*words: str) -> str:
    found = CliRunner().invoke(main, words)
    assert found.exit_code == 0, found.output
    return found.output


def claims(folder: str) -> dict[str, dict]:
    with Path(folder, "good/claims.csv").open(newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def test_whole_grids_are_judged_and_the_rest_said_to_be_missing(place):
    some = dict(list(runs("sweep").items())[:5])
    trained(runs("dense") | some)
    said = fewbits("so-far")
    assert "7 of 26 runs are done; grids: dense" in said
    found = claims("results/default-so-far")
    assert found["C2"]["verdict"] == "reproduced"
    assert found["C1"]["verdict"] == "not run at this scale"
    assert found["C1"]["note"] == "2 of its 2 runs are not done yet"
    assert Path("reports/report-default-so-far.pdf").stat().st_size > 10_000
    assert not Path("results/default").exists()  # the pipeline's own
    assert Path("results/default-so-far/good/figures/bits.pdf").exists()


def test_when_all_is_done_it_says_what_the_pipeline_says(place):
    trained(runs())
    fewbits("so-far")
    fewbits("collect", "--study", "good")
    fewbits("judge", "--study", "good")
    for name in ("runs.csv", "metrics.csv", "claims.csv"):
        ours, theirs = (Path(f"results/{f}/good", name) for f in ("default-so-far", "default"))
        assert ours.read_bytes() == theirs.read_bytes()


def test_nothing_done_is_one_line(place):
    trained(dict(list(runs("sweep").items())[:5]))
    found = CliRunner().invoke(main, ["so-far"])
    assert found.exit_code == 1 and "no grid of good is done" in found.output
    assert "5 of 26 runs are done; grids: none whole" in found.output


def test_runs_of_other_code_do_not_count(place, monkeypatch):
    trained(runs())
    of_run = fingerprint.of_run
    monkeypatch.setattr(fingerprint, "of_run", lambda spec: of_run(spec)[::-1])
    assert "0 of 26 runs are done" in CliRunner().invoke(main, ["so-far"]).output
