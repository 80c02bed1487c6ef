"""Where a report's numbers come from: code, configuration, versions, machine, seeds, time spent."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from fewbits import environment
from fewbits.analysis.errors import AnalysisError

PACKAGES = (
    "fewbits", "torch", "numpy", "scipy", "pandas", "scikit-learn", "matplotlib", "seaborn",
    "snakemake", "mlflow", "typst",
)  # fmt: skip


def collect_provenance(
    scale: str, config_files: Iterable[Path], manifest_csv: Path, runs_dir: Path, command: str = ""
) -> dict:
    """Facts as a JSON-able dict. `config_files` are hashed, contents in the order given.

    Times come from the runs' journals: `training_seconds` is the sum over runs of the training time they
    report (runs that share a computation report shares of it), `elapsed_seconds` is from the first start to the
    last end. A run trained elsewhere or earlier counts with the time it took then.
    """
    manifest_csv = Path(manifest_csv)
    if not manifest_csv.is_file():
        raise AnalysisError(f"{manifest_csv}: no such manifest; run: fewbits plan")
    with manifest_csv.open(newline="", encoding="utf-8") as file:
        runs = list(csv.DictReader(file))
    commit, _, changes = environment.commit().partition("+")
    return {
        "scale": scale,
        "command": command,
        "git_commit": commit,
        "dirty": bool(changes),
        "config_hash": _hash(config_files),
        "python": environment.describe()["python"],
        "packages": {name: environment.package_version(name) for name in PACKAGES},
        "machine": environment.machine(),
        "studies": list(dict.fromkeys(run["study"] for run in runs)),
        "seeds": sorted({int(run["seed"]) for run in runs}),
        "runs": len(runs),
        **_times(Path(runs_dir) / run["study"] / run["run"] for run in runs),
    }


def _hash(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        content = Path(path).read_bytes()
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()


def _times(folders: Iterable[Path]) -> dict:
    """First start, last end and training time over the journals of these runs."""
    starts, ends, seconds = [], [], 0.0
    for folder in folders:
        first, last = _first_and_last(folder / "journal.jsonl")
        if first:
            starts.append(first["time"])
        if last and last.get("event") == "end":
            ends.append(last["time"])
            seconds += float(last.get("seconds") or 0.0)
    return {
        "training_seconds": round(seconds, 1),
        "elapsed_seconds": round(max(ends) - min(starts), 1) if starts and ends else None,
    }


def _first_and_last(path: Path) -> tuple[dict | None, dict | None]:
    """The first and the last line of a journal; None where there is none (or it is cut off)."""
    try:
        with path.open("rb") as file:
            first = file.readline()
            file.seek(max(0, os.path.getsize(path) - 8192))
            last = file.read().rstrip(b"\n").rpartition(b"\n")[2]
    except OSError:
        return None, None
    return _json(first), _json(last)


def _json(line: bytes) -> dict | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
