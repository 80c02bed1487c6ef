"""What the default pipeline spends beside training: interpreters, imports, tracking, Snakemake.

Runs `snakemake --cores 2 all` in a fresh copy of the project and adds up processor time, so that other work on
the machine does not count: of the training jobs what was not spent in rounds, of the recorder, and of Snakemake's
start (a call that finds nothing to do), during which the other core idles. The share is of the wall time that all
processor time makes on two cores that never wait. Named alternative: a process a run, at the cost of one round.
"""

from __future__ import annotations

import csv
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
PARTS = ("Snakefile", "workflow", "config", "profiles", "reports", "src")
CORES = 2


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for part in PARTS:
            source = ROOT / part
            (shutil.copytree if source.is_dir() else shutil.copy)(source, copy / part)
        (wall, whole), (_, start) = snakemake(copy), snakemake(copy)
        report(copy, wall, whole, start, empty_process(copy))


def snakemake(folder: Path) -> tuple[float, float]:
    """Wall and processor seconds of `snakemake --cores 2 all`, without the recorder, which ends after it."""
    command = [str(Path(sys.executable).parent / "snakemake"), "--cores", str(CORES), "all"]
    return seconds(command, folder)


def seconds(command: list[str], folder: Path) -> tuple[float, float]:
    """Wall and processor seconds of a command and all its children."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=folder, env=environment(folder), check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - began, used


def environment(folder: Path) -> dict[str, str]:
    """The copy's own sources, compiled once as on any machine."""
    own = {"PYTHONPATH": str(folder / "src"), "PYTHONDONTWRITEBYTECODE": ""}
    return os.environ | own


def empty_process(folder: Path) -> float:
    """Processor seconds of training one run for one round: what a process a run would cost beside its rounds."""
    run = next((folder / "results/runs/ef21").glob("*/spec.json"))
    spec = json.loads(run.read_text()) | {"rounds": 1, "record_every": 1}
    (folder / "spec.json").write_text(json.dumps(spec))
    fewbits = [sys.executable, "-m", "fewbits.cli"]
    return seconds([*fewbits, "train", "--spec", "spec.json", "--out", "one"], folder)[1]


def report(folder: Path, wall: float, whole: float, start: float, empty: float) -> None:
    journals = list(folder.glob("results/runs/*/*/journal.jsonl"))
    ends = [json.loads(path.read_text().splitlines()[-1]) for path in journals]
    logs = [path.read_text() for path in folder.glob("logs/train/*.log")]
    jobs = sum(said(log) for log in logs)
    elapsed = sum(job_seconds(path) for path in folder.glob("logs/train/*.tsv"))
    training = sum(end["seconds"] for end in ends) * jobs / elapsed  # journals hold wall time
    recorder = said((folder / "logs/recorder.log").read_text())
    overhead = (jobs - training + recorder) / CORES + start
    ideal = (whole - start + recorder) / CORES + start
    runs = len(ends)
    print(
        f"{runs} runs in {len(logs)} jobs; {wall:.0f} s of wall time on {CORES} cores as they were"
    )
    print(f"  in rounds                     {training:7.1f} s of a core")
    print(f"  the rest of training jobs     {jobs - training:7.1f} s")
    print(f"  the recorder                  {recorder:7.1f} s")
    print(f"  collecting, drawing, typeset  {whole - start - jobs:7.1f} s")
    print(f"  Snakemake's start             {start:7.1f} s, while the other core idles")
    share = 100 * overhead / ideal
    print(f"beside training: {overhead:.1f} s of {ideal:.0f} s of wall time, {share:.1f} %")
    print(f"a run: {overhead / runs:.3f} s; with a process a run {empty / CORES:.1f} s")


def said(log: str) -> float:
    """The processor time that a process says it took, in the last line of its log."""
    return float(log.split()[-3])


def job_seconds(path: Path) -> float:
    with path.open(newline="") as lines:
        return sum(float(row["s"]) for row in csv.DictReader(lines, delimiter="\t"))


if __name__ == "__main__":
    main()
