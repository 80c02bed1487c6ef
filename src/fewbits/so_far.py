"""A report on what is done so far, while hours of training go on or after they were stopped.

    results/runs -> results/SCALE-so-far/STUDY/{runs.csv, ..., claims.csv, figures, tables} -> a PDF

What counts is a study's grids that are done whole, since a tuned cell with a missing step would be another number. Figures and tables
are of those runs; a claim that rests on any other says so and has no verdict. Nothing of the pipeline's own results is touched.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from fewbits import fingerprint, studies
from fewbits.analysis.claims import judge_folder
from fewbits.analysis.collect import collect, rows_of
from fewbits.analysis.draw import draw_figure
from fewbits.analysis.errors import AnalysisError
from fewbits.analysis.studyfile import plain
from fewbits.analysis.tabulate import draw_table
from fewbits.files import read_json, write_text
from fewbits.measure import measure
from fewbits.report.build import build
from fewbits.report.provenance import collect_provenance
from fewbits.spectra import gather, kept
from fewbits.studies.operators import sized
from fewbits.train import is_done

Say = Callable[[str], None]


class Part(NamedTuple):
    """Of a study what can be shown: its document with the figures and tables that could be made, and its runs that count."""

    document: dict
    runs: list


def so_far(config: studies.Config, loaded: list, results: Path, pdf: Path, say: Say) -> Path:
    """Write the report to `pdf` and what it rests on to `results`/SCALE-so-far; returns `pdf`.

    Raises ValueError, one line, where no grid of any study is done.
    """
    folder = Path(results) / f"{config.scale}-so-far"
    shutil.rmtree(folder, ignore_errors=True)
    parts = [_part(config, study, Path(results) / "runs", folder, say) for study in loaded]
    parts = [part for part in parts if part.runs]
    if not parts:
        names = ", ".join(study.study for study in loaded)
        raise ValueError(
            f"{results}/runs: no grid of {names} is done at scale '{config.scale}' yet"
        )
    plan = studies.plan(config, loaded)
    counted = {run.id for part in parts for run in part.runs}
    manifest = folder / "plan" / "runs.csv"
    write_text(manifest, rows_of(studies.manifest(plan), counted))
    files = [config.path, *config.study_files]
    facts = collect_provenance(config.scale, files, manifest, Path(results) / "runs")
    facts["planned"] = sum(len(study.runs(config.scale)) for study in loaded)
    return build([part.document for part in parts], config.scale, folder, facts, pdf)


def _part(config, study, runs_dir: Path, results: Path, say: Say) -> Part:
    scale, folder = config.scale, results / study.study
    planned = study.runs(scale)
    done = {run.id for run in planned if _done(run, runs_dir)}
    whole = [name for name in _grids(planned) if _members(planned, name) <= done]
    runs = [run for run in planned if set(run.grids) & set(whole)]
    grids = ", ".join(whole) or "none whole"
    say(f"{study.study}: {len(done)} of {len(planned)} runs are done; grids: {grids}")
    if not runs:
        return Part({}, [])
    manifest = studies.manifest(studies.plan(config, [study]))
    collect(manifest, study.study, runs_dir, folder, {run.id for run in runs})
    if study.operators is not None:
        wanted = study.operators
        of = sized(wanted), wanted.draws, wanted.least
        measure(*of, runs, runs_dir, folder / "operators.csv", say)
    if any(kept(run.spec) for run in runs):
        gather(runs, runs_dir, folder / "spectra.csv")
    judge_folder(study.document, scale, folder)
    document = plain(study.document)
    for part, make, there in (
        ("figures", draw_figure, study.figures_at(scale)),
        ("tables", draw_table, study.tables_at(scale)),
    ):
        ids = {item.id for item in there}
        items = [_of_grids(i, whole) for i in document.get(part) or [] if i["id"] in ids]
        document[part] = [i for i in items if _made(make, document | {part: [i]}, i, folder, say)]
    return Part(document, runs)


def _of_grids(item: dict, whole: list[str]) -> dict:
    """A figure or table, of those of its grids that are whole."""
    grids = [item["grid"]] if isinstance(item.get("grid"), str) else item.get("grid")
    return item if grids is None else item | {"grid": [name for name in grids if name in whole]}


def _done(run, runs_dir: Path) -> bool:
    """Whether it was trained by today's code, on whatever device."""
    folder = runs_dir / run.study / run.id
    try:
        made = read_json(folder / "summary.json")["code"]
    except (OSError, ValueError, KeyError):
        return False
    return made.partition("+")[0] == fingerprint.of_run(run.spec) and is_done(
        folder, run.spec, made
    )


def _grids(runs: list) -> list[str]:
    return list(dict.fromkeys(name for run in runs for name in run.grids))


def _members(runs: list, grid: str) -> set[str]:
    return {run.id for run in runs if grid in run.grids}


def _made(make: Callable, study: dict, item: dict, folder: Path, say: Say) -> bool:
    """Whether a figure or table can be made of what is there."""
    if item.get("grid") == []:
        say(f"not yet: {item['id']}: none of its grids is whole")
        return False
    try:
        make(study, item["id"], folder)
    except AnalysisError as error:
        say(f"not yet: {error}")
        return False
    return True
