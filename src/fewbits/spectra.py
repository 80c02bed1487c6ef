"""The spectra of representations in the snapshots of a study's runs, as one table.

    results/runs/STUDY/RUN/snapshots/ROUND.npz -> results/SCALE/STUDY/spectra.csv

One row for each model that was looked at (federation/representations.py). Columns:

    run, round, model (global, local), client (of a local model)
    features, dead, correlation         how many, how many of them do not vary, mean squared correlation of those that do
    singular                            singular values of the covariance, falling, six digits, with spaces between
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from fewbits.federation import snapshots
from fewbits.federation.representations import DEAD
from fewbits.files import read_json, write_text

HEADER = ("run", "round", "model", "client", "features", "dead", "correlation", "singular")


def kept(spec: dict) -> bool:
    """Whether runs of this spec keep spectra."""
    return "spectra" in spec.get("snapshots", {}).get("keep", ())


def gather(runs: Iterable, runs_dir: Path, out: Path) -> Path:
    """Write spectra.csv to `out`. Raises ValueError, one line, where a snapshot is missing.

    runs: studies.runs.Run; runs_dir: the folder that holds STUDY/RUN.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for run in runs:
        if kept(run.spec):
            writer.writerows(_rows(run.id, Path(runs_dir) / run.study / run.id))
    write_text(out, text.getvalue())
    return out


def _rows(run: str, folder: Path) -> Iterator[tuple]:
    for number in map(int, read_json(folder / "summary.json").get("snapshots", {})):
        held = snapshots.load(folder, number)
        for model in [model for model in ("global", "local") if f"singular/{model}" in held]:
            parts = [held[f"{name}/{model}"] for name in ("singular", "variance", "correlation")]
            if model == "global":
                parts = [part[None] for part in parts]
            for client, (singular, variance, correlation) in enumerate(zip(*parts, strict=True)):
                own = "" if model == "global" else client
                dead = int((variance <= DEAD).sum())
                linked = "" if np.isnan(correlation) else f"{correlation:.6g}"
                values = " ".join(f"{value:.6g}" for value in singular)
                yield run, number, model, own, len(variance), dead, linked, values
