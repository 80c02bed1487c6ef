"""The pipeline as a user runs it: real Snakemake, real data, a study cut down to seconds."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

ROOT = Path(__file__).parents[1]
PARTS = ("Snakefile", "workflow", "config", "profiles", "reports", "src")
SNAKEMAKE = [str(Path(sys.executable).parent / "snakemake")]
VARYING = ("journal.jsonl", "provenance.json")  # hold times

pytestmark = pytest.mark.pipeline


def project(folder: Path) -> Path:
    """A copy of the project whose study takes seconds, with its own sources."""
    for part in PARTS:
        source = ROOT / part
        ignore = shutil.ignore_patterns("__pycache__", "*.pdf", "*.egg-info")
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=ignore)
        else:
            shutil.copy(source, folder / part)
    config = folder / "config/config.yaml"
    config.write_text(re.sub(r"(?m)^studies: .*", "studies: [ef21]", config.read_text()))
    edit(folder, shrink)
    return folder


def shrink(study: dict) -> None:
    study["base"]["seed"] = [0, 1]
    for grid in study["scales"]["default"]["grids"].values():
        grid["rounds"] = 400


def edit(folder: Path, change) -> None:
    path = folder / "config/studies/ef21.yaml"
    study = yaml.safe_load(path.read_text())
    change(study)
    path.write_text(yaml.dump(study, sort_keys=False, Dumper=Plain))


class Plain(yaml.SafeDumper):
    def ignore_aliases(self, data):
        return True


def snakemake(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(folder / "src")} | variables
    return subprocess.run(
        [*SNAKEMAKE, *arguments], cwd=folder, env=environment,
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip


def complete(folder: Path, cores: int = 2, **variables: str) -> str:
    done = snakemake(folder, "--cores", str(cores), "all", **variables)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout + done.stderr


def results(folder: Path) -> dict[str, bytes]:
    """All results that must be the same bytes each time (times and tracking left out)."""
    files = [p for p in (folder / "results").rglob("*") if p.is_file()]
    kept = [p for p in files if p.name not in VARYING and p.suffix != ".lock"]
    kept = [p for p in kept if "tracking" not in p.relative_to(folder).parts]
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(kept)}


def jobs(done: subprocess.CompletedProcess) -> dict[str, int]:
    """Rule -> number of jobs, from the table that Snakemake prints; {} if there is nothing to do."""
    assert done.returncode == 0, done.stderr[-3000:]
    text = done.stdout + done.stderr
    if "Nothing to be done" in text:
        return {}
    lines = text[text.rindex("Job stats:") :].splitlines()[3:]
    counts = {}
    for line in lines:
        if not line.strip():
            break
        rule, count = line.split()
        counts[rule] = int(count)
    return counts


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A project after `snakemake --cores 2 all`."""
    folder = project(tmp_path_factory.mktemp("finished"))
    complete(folder)
    return folder


@pytest.fixture
def copy(finished, tmp_path) -> Path:
    """A finished project to be changed."""
    shutil.copytree(finished, tmp_path / "copy", symlinks=True)
    return tmp_path / "copy"


def test_bare_call_and_target_all_are_the_same(tmp_path):
    folder = project(tmp_path)
    bare, named = snakemake(folder, "-n"), snakemake(folder, "-n", "all")
    assert jobs(bare) == jobs(named)
    assert jobs(bare)["train"] >= 1


def test_lint_has_nothing_but_environments_to_say():
    """One environment for all is by design; everything else would be a finding."""
    done = snakemake(ROOT, "--lint")
    lines = (done.stdout + done.stderr).splitlines()
    found = {line.strip("* :") for line in map(str.strip, lines) if line.startswith("* ")}
    assert found == {"Specify a conda environment or container for each rule."}


def test_everything_is_there(finished):
    assert (finished / "reports/report.pdf").read_bytes().startswith(b"%PDF")
    for kind in ("pdf", "svg", "png"):
        assert (finished / f"results/default/ef21/figures/bits.{kind}").stat().st_size > 1000
    recorded = json.loads((finished / "results/tracking/recorded.json").read_text())
    assert recorded["complete"] and len(recorded["runs"]) == len(
        list((finished / "results/runs/ef21").glob("*/summary.json"))
    )


def test_a_second_call_does_nothing(finished):
    assert jobs(snakemake(finished, "--cores", "2", "all")) == {}


@pytest.mark.parametrize("cores", [1, 8])
def test_other_numbers_of_cores_give_the_same_bytes(finished, tmp_path, cores):
    folder = project(tmp_path)
    complete(folder, cores)
    assert results(folder) == results(finished)


def test_killed_at_random_moments_it_ends_in_the_same_bytes(finished, tmp_path):
    folder = project(tmp_path)
    environment = os.environ | {
        "PYTHONPATH": str(folder / "src"), "FEWBITS_CHECKPOINT_SECONDS": "0",
    }  # fmt: skip
    moments = random.Random(21)
    for everything in (True, True, False):
        process = subprocess.Popen(
            [*SNAKEMAKE, "--cores", "2", "all"], cwd=folder, env=environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        wait_for_training(folder, process)
        time.sleep(moments.uniform(0, 1))
        # Snakemake alone: its jobs go on, and the next call must cope with them; or all of them.
        jobs_too = psutil.Process(process.pid).children(recursive=True) if everything else []
        for victim in [process, *jobs_too]:
            victim.kill()
        process.wait()
    complete(folder)
    assert results(folder) == results(finished)
    resumed = [path for path in journals(folder) if '"resume"' in path.read_text()]
    assert resumed, "no kill hit a run in training"


def wait_for_training(folder: Path, process: subprocess.Popen) -> None:
    """Until some run of this call has recorded rounds and is not at its end."""
    seen = {path: size(path) for path in journals(folder)}
    while process.poll() is None:
        for path in journals(folder):
            if size(path) > seen.get(path, 0) + 2000 and '"end"' not in path.read_text():
                return
        time.sleep(0.02)


def journals(folder: Path) -> list[Path]:
    return list((folder / "results/runs/ef21").glob("*/journal.jsonl"))


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def test_same_report_bytes_when_typeset_again(copy):
    before = (copy / "reports/report.pdf").read_bytes()
    (copy / "reports/report.pdf").unlink()
    complete(copy)
    assert (copy / "reports/report.pdf").read_bytes() == before


def test_one_figure_s_options_redraw_that_study(copy):
    edit(copy, lambda study: study["figures"][0]["options"].update(y_min=1e-9))
    planned = jobs(snakemake(copy, "-n"))
    assert set(planned) == {"plan", "draw_ef21", "report", "provenance", "all", "total"}, planned


def test_plot_style_redraws_and_retrains_nothing(copy):
    path = copy / "src/fewbits/analysis/style.py"
    path.write_text(path.read_text() + "\nNEW = True\n")
    planned = jobs(snakemake(copy, "-n"))
    assert planned["draw_ef21"] == 1 and planned["report"] == 1
    assert not {"train", "collect", "partition"} & set(planned)


def test_one_study_of_several_by_the_command_line(copy):
    """`--config studies=` reaches every job."""
    second = (copy / "config/studies/ef21.yaml").read_text().replace("study: ef21", "study: second")
    (copy / "config/studies/second.yaml").write_text(second)
    config = copy / "config/config.yaml"
    config.write_text(config.read_text().replace("[ef21]", "[ef21, second]"))
    done = snakemake(copy, "--cores", "2", "all", "--config", "studies=ef21")
    assert done.returncode == 0, done.stderr[-3000:]
    assert not (copy / "results/runs/second").exists()


def test_training_goes_in_the_order_of_the_plan(tmp_path):
    """So that whoever stops early has the first grids whole."""
    folder = project(tmp_path)
    edit(
        folder,
        lambda study: [g.update(rounds=40) for g in study["scales"]["default"]["grids"].values()],
    )
    done = snakemake(folder, "--cores", "1", "--until", "train", "--config", "job_seconds=0.1")
    begun = [int(n) for n in re.findall(r"wildcards: job=ef21-([0-9]+)", done.stdout + done.stderr)]
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(begun) > 3 and begun == sorted(begun)


def test_adding_a_seed_trains_only_that_seed(copy):
    tables = list((copy / "results/runs/ef21").glob("*/metrics.csv"))
    before = {path: path.stat().st_mtime_ns for path in tables}
    edit(copy, lambda study: study["base"].update(seed=[0, 1, 2]))
    complete(copy)
    after = set((copy / "results/runs/ef21").glob("*/metrics.csv"))
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())
    new = after - set(before)
    assert len(new) * 2 == len(before) and all("-s2-" in str(path) for path in new)


def test_changed_compressor_retrains_only_its_runs(copy):
    path = copy / "src/fewbits/compressors/topk.py"
    source = path.read_text()
    path.write_text(source + "\n# A comment.\n")
    assert jobs(snakemake(copy, "-n")) == {}
    path.write_text(source + "\nRETRAIN = True\n")
    summaries = list((copy / "results/runs/ef21").glob("*/summary.json"))
    before = {path: path.stat().st_mtime_ns for path in summaries}
    complete(copy)
    trained = {path for path in summaries if path.stat().st_mtime_ns != before[path]}
    assert trained == {path for path in summaries if "-topk-" in path.parent.name}
    assert len(trained) < len(summaries)


def test_lost_run_is_trained_again(copy):
    whole = results(copy)
    runs = sorted((copy / "results/runs/ef21").glob("gd-*"))
    shutil.rmtree(runs[0])
    (runs[1] / "metrics.csv").unlink()
    complete(copy)
    assert results(copy) == whole


def test_a_mistake_stops_before_any_job_with_one_line(copy):
    edit(copy, lambda s: s["scales"]["default"]["grids"]["sweep"]["compressor"].update(name="tokp"))
    done = snakemake(copy, "--cores", "1", "all")
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if "ef21.yaml" in line]
    assert len(lines) == 1
    assert all(word in lines[0] for word in ("compressor.name", "tokp", "topk", "did you mean"))
    assert "Traceback" not in done.stderr


def test_store_out_of_reach_stops_nothing_and_is_made_up_for(tmp_path, finished):
    folder = project(tmp_path)
    said = complete(folder, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert "record is incomplete" in said
    assert (folder / "reports/report.pdf").exists()
    assert not (folder / "results/tracking/recorded.json").exists()
    assert results(folder) == results(finished)
    complete(folder)
    recorded = json.loads((folder / "results/tracking/recorded.json").read_text())
    assert recorded["complete"] and not recorded["missing"]
