"""Run folders of one study into two tables.

    the study's plan + results/runs/<study>/<run>/ -> <out>/runs.csv, <out>/metrics.csv

Numbers of the runs' own metrics files are copied as text and never parsed, so the tables are the
same bytes whenever the runs are. Nothing heavy is imported.
"""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

from fewbits.analysis.errors import AnalysisError
from fewbits.files import write_text

# The status of a run that is not (wholly) there, in a report on what is done so far.
PLANNED = "planned"
REMEDY = "delete this folder and give the same command again"


def collect(
    manifest: str, study: str, runs_dir: Path, out_dir: Path, only: set[str] | None = None
) -> tuple[Path, Path]:
    """Write `runs.csv` and `metrics.csv` of `study` into `out_dir`; returns their paths.

    manifest: CSV text, as of studies.manifest. `runs_dir` is the folder that holds `<study>/<run>/`. runs.csv is
    the manifest's rows of the study with `status`, `rounds_done`, `final.*`, `best.*` and `constants.*` added; metrics.csv
    stacks the runs' metrics in the manifest's order, with a `run` column in front. only: ids of runs; the others are rows
    of runs.csv too, with the status PLANNED and no outcome. Raises AnalysisError, one line, for a run that is missing or incomplete.
    """
    header, planned = _rows(manifest, study)
    there = [row for row in planned if only is None or row["run"] in only]
    folders = {row["run"]: Path(runs_dir) / study / row["run"] for row in there}
    nothing = {"status": PLANNED}
    rows = [
        row | (_summary(folders[row["run"]]) if row["run"] in folders else nothing)
        for row in planned
    ]
    added = [key for row in rows for key in row if key not in header]
    runs = _csv(rows, header + _grouped(added))
    metrics = _stack(there, list(folders.values()))
    paths = Path(out_dir) / "runs.csv", Path(out_dir) / "metrics.csv"
    for path, text in zip(paths, (runs, metrics), strict=True):
        write_text(path, text)
    return paths


def rows_of(manifest: str, only: set[str]) -> str:
    """The manifest's rows of these runs."""
    reader = csv.DictReader(io.StringIO(manifest))
    rows = [row for row in reader if row["run"] in only]
    return _csv(rows, list(reader.fieldnames or []))


def _rows(manifest: str, study: str) -> tuple[list[str], list[dict]]:
    reader = csv.DictReader(io.StringIO(manifest))
    rows = [row for row in reader if row.get("study") == study]
    if not rows:
        raise AnalysisError(f"the plan has no run of study {study!r}")
    return list(reader.fieldnames or []), rows


def _summary(folder: Path) -> dict[str, str]:
    """The flat columns that a run's summary.json adds. Non-finite numbers (null there) become
    empty."""
    path = folder / "summary.json"
    if not path.is_file():
        state = "incomplete (no summary.json)" if folder.is_dir() else "missing"
        raise AnalysisError(f"{folder}: run is {state}; {REMEDY}")
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        flat = {"status": summary["status"], "rounds_done": _text(summary["rounds"])}
        for part in ("final", "best", "constants"):
            for key, value in summary.get(part, {}).items():
                flat[f"{part}.{key}"] = _text(value)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AnalysisError(f"{path}: not a run summary ({error!r}); {REMEDY}") from error
    return flat


def _text(value) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return repr(value) if isinstance(value, float) else str(value)


def _grouped(names: list[str]) -> list[str]:
    """Unique names, each kind together, first seen first within its kind."""
    order = ("", "final", "best", "constants")
    unique = list(dict.fromkeys(names))
    return sorted(unique, key=lambda name: order.index(name.rpartition(".")[0].split(".")[0]))


def _stack(manifest: list[dict], folders: list[Path]) -> str:
    header: dict[str, None] = {}
    for folder in folders:
        header |= dict.fromkeys(_read(folder)[0])
    columns = list(header)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["run", *columns])
    for row, folder in zip(manifest, folders, strict=True):
        own, lines = _read(folder, rows=True)
        place = {name: index for index, name in enumerate(own)}
        picks = [place.get(name) for name in columns]
        for line in lines:
            if len(line) != len(own):
                raise AnalysisError(f"{folder / 'metrics.csv'}: cut off; {REMEDY}")
            writer.writerow([row["run"], *("" if i is None else line[i] for i in picks)])
    return out.getvalue()


def _read(folder: Path, rows: bool = False) -> tuple[list[str], list[list[str]]]:
    path = folder / "metrics.csv"
    if not path.is_file():
        raise AnalysisError(f"{folder}: run is incomplete (no metrics.csv); {REMEDY}")
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        header = next(reader, None)
        lines = list(reader) if rows else []
    if not header or "round" not in header:
        raise AnalysisError(f"{path}: has no column 'round'; {REMEDY}")
    if rows and not lines:
        raise AnalysisError(f"{path}: holds no recorded round; {REMEDY}")
    return header, lines


def _csv(rows: list[dict], header: list[str]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, header, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()
