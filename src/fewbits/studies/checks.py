"""What a study's figures, tables and claims refer to: grids, columns, plug-ins, estimators, the bibliography."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError

from fewbits import registry
from fewbits.studies.choices import make
from fewbits.studies.errors import Path, Problems, found, show
from fewbits.studies.grids import Alternative
from fewbits.studies.messages import report
from fewbits.studies.operators import check_names
from fewbits.studies.schema import SCALES, Study

_SHORT = ("grid", "select")  # what makes a mapping inside `measure` a selection of runs
Index = dict[str, dict[str, dict[str, dict]]]  # scale -> grid -> run -> flat columns


def check_references(study: Study, problems: Problems) -> dict[tuple[str, str], tuple[str, ...]]:
    """Check figures, tables and claims against the runs.

    Returns the scales at which each figure and table can be made: {("figures", id): ("default",)}.
    """
    index = _index(study)
    used = {}
    for key in ("figures", "tables", "claims"):
        _check_ids([item.id for item in getattr(study, key)], key, problems)
    for name, select in study.methods.items():
        at = ("methods", name)
        check_selection(None, select, at, tuple(index), index, problems, False, select_at=at)
    for key in ("figures", "tables"):
        for i, item in enumerate(getattr(study, key)):
            used[(key, item.id)] = _check_item(item, (key, i), index, problems)
            check_kind = _check_figure_kind if key == "figures" else _check_table_kind
            check_kind(item.kind, item.options, (key, i), problems)
            at, scales = (key, i, "options"), used[(key, item.id)]
            _check_read(_reads(key, item.kind), item.options, at, scales, study, problems)
    for i, claim in enumerate(study.claims):
        _check_claim(claim, ("claims", i), study, index, problems)
    return used


def check_paper(study: Study, file: FilePath, problems: Problems) -> None:
    """Check that `paper` is a key in reports/references.bib of the project that holds the study."""
    for folder in file.resolve().parents[:4] if study.paper else ():
        bibliography = folder / "reports" / "references.bib"
        if bibliography.is_file():
            text = bibliography.read_text(encoding="utf-8", errors="replace")
            keys = re.findall(r"^\s*@\w+\s*\{\s*([^,\s]+)\s*,", text, flags=re.MULTILINE)
            if study.paper not in keys:
                allowed = "a key in reports/references.bib"
                problems.wrong(("paper",), study.paper, allowed, keys)
            return


def _index(study: Study) -> Index:
    index: Index = {scale: {name: {} for name in s.grids} for scale, s in study.scales.items()}
    for scale, grids in index.items():
        for run in study.runs(scale):
            columns = run.columns
            for grid in run.grids:
                grids[grid][run.id] = columns
    return index


def _check_ids(ids: list[str], key: str, problems: Problems) -> None:
    for i, name in enumerate(ids):
        if name in ids[:i]:
            problems.wrong((key, i, "id"), name, f"an id that no other of the {key} has")


def _check_item(item: Any, at: Path, index: Index, problems: Problems) -> tuple[str, ...]:
    for i, scale in enumerate(item.scales or ()):
        if scale not in index:
            problems.wrong((*at, "scales", i), scale, [s for s in SCALES if s in index])
            return ()
    scales = tuple(item.scales or index)
    return check_selection(item.grid, item.select, at, scales, index, problems, bool(item.scales))


def check_selection(
    grids: list[str] | None,
    select: dict,
    at: Path,
    scales: tuple[str, ...],
    index: Index,
    problems: Problems,
    everywhere: bool,
    select_at: Path | None = None,
) -> tuple[str, ...]:
    """The scales at which a selection finds runs. `everywhere`: it must do so at all of `scales`. `select_at`:
    where `select` stands, if not under `at`."""
    select_at = select_at or (*at, "select")
    having = [scale for scale in scales if all(grid in index[scale] for grid in grids or ())]
    if not having or (everywhere and len(having) < len(scales)):
        known = list(dict.fromkeys(grid for scale in scales for grid in index[scale]))
        shared = [g for g in known if all(g in index[s] for s in scales)] if everywhere else known
        bad = next((g for g in grids or () if g not in shared), None)
        if bad is not None:
            problems.wrong((*at, "grid"), bad, shared)
        else:
            problems.wrong((*at, "grid"), grids, "grids of one scale")
        return ()
    runs = {scale: _rows(index[scale], grids) for scale in having}
    known = {column for rows in runs.values() for row in rows for column in row}
    for column in select:
        if column not in known:
            problems.unknown_key((*select_at, column), sorted(known))
            return ()
    everything = [row for rows in runs.values() for row in rows]
    for column, wanted in select.items():
        for i, one in enumerate(wanted if isinstance(wanted, list) else ()):
            if not any(_same(row.get(column), one) for row in everything):
                _explain_value(one, column, everything, (*select_at, column, i), problems)
                return ()
    matching = {
        scale: [row for row in rows if _matches(row, select)] for scale, rows in runs.items()
    }
    good = tuple(scale for scale, rows in matching.items() if rows)
    if not good or (everywhere and len(good) < len(having)):
        empty = next(scale for scale, rows in matching.items() if not rows)
        _explain(select, runs[empty], select_at, problems)
    return good


def _rows(grids: dict[str, dict[str, dict]], names: list[str] | None) -> list[dict]:
    """The flat columns of the runs of these grids (all if None), each run once."""
    chosen: dict[str, dict] = {}
    for name in names or grids:
        chosen |= grids[name]
    return list(chosen.values())


def _matches(row: dict, select: dict) -> bool:
    return all(_equal(row.get(column), wanted) for column, wanted in select.items())


def _equal(value: object, wanted: object) -> bool:
    options = wanted if isinstance(wanted, list) else [wanted]
    return any(_same(value, one) for one in options)


def _same(value: object, wanted: object) -> bool:
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted
    return value == wanted


def _explain(select: dict, rows: list[dict], at: Path, problems: Problems) -> None:
    """Note which condition of `select` no run of the grids meets."""
    for column, wanted in select.items():
        if not any(_equal(row.get(column), wanted) for row in rows):
            _explain_value(wanted, column, rows, (*at, column), problems)
            return
    problems.add(
        at,
        f"found {show(select)}, which no run has; allowed: values that occur together",
    )


def _explain_value(
    wanted: object, column: str, rows: list[dict], path: Path, problems: Problems
) -> None:
    values = list(dict.fromkeys(_hashable(row.get(column)) for row in rows))
    listed = ", ".join(show(value, True) for value in values)
    problems.wrong(path, wanted, listed, [value for value in values if isinstance(value, str)])


def _hashable(value: object) -> object:
    return value if isinstance(value, str | int | float | bool | None) else show(value)


def _check_figure_kind(kind: str, options: dict, at: Path, problems: Problems) -> None:
    known = registry.plugins("figure")
    if kind not in known:
        problems.wrong((*at, "kind"), kind, known)
        return
    options_at = (*at, "options")
    parts = {key: (*options_at, key) for key in options}
    make("figure", kind, options, Alternative(options, options_at, parts), problems)


def _check_table_kind(kind: str, options: dict, at: Path, problems: Problems) -> None:
    tables = _tables()
    if not tables:
        return
    if kind not in tables:
        problems.wrong((*at, "kind"), kind, tables)
        return
    known = dict(
        list(inspect.signature(tables[kind]).parameters.items())[2:]
    )  # after runs, metrics
    for option in options:
        if option not in known:
            problems.unknown_key((*at, "options", option), known)
    required = [name for name, item in known.items() if item.default is item.empty]
    for option in required:
        if option not in options:
            problems.missing_key((*at, "options", option), f"'{kind}' needs it")


@cache
def _tables() -> dict[str, Callable]:
    """Table functions `(runs, metrics, **options)` by name; {} if there is no such module. Light to import."""
    try:
        from fewbits.analysis.tables import TABLES
    except ModuleNotFoundError:
        return {}
    return TABLES


@cache
def _estimators() -> dict[str, type]:
    """Estimators by name; {} if there is no such module. It must be light to import."""
    try:
        from fewbits.analysis.estimators import ESTIMATORS
    except ModuleNotFoundError:
        return {}
    return ESTIMATORS


def _reads(key: str, kind: str) -> str:
    """The table that a figure's or a table's kind reads."""
    known = registry.plugins("figure") if key == "figures" else _tables()
    return getattr(known.get(kind), "reads", "metrics")


def _check_read(
    table: str, options: dict, at: Path, scales: tuple[str, ...], study: Study, problems: Problems
) -> None:
    """Check what is read beside the runs' metrics: operators that are named, spectra that are kept."""
    if table == "operators":
        check_names(options, at, study, problems)
    for scale in scales if table == "spectra" else ():
        if not any(
            "spectra" in r.spec.get("snapshots", {}).get("keep", ()) for r in study.runs(scale)
        ):
            text = f"found a kind that reads spectra, but no run at scale '{scale}' keeps them; allowed: "
            problems.add(at, text + "snapshots: {rounds: [...], keep: [spectra]} in a grid")


def _check_claim(claim: Any, at: Path, study: Study, index: Index, problems: Problems) -> None:
    for scale, here in claim.scales.items():
        path = (*at, "scales", scale)
        if scale not in index:
            text = found(
                f"scale '{scale}', at which nothing is run", [s for s in SCALES if s in index]
            )
            problems.add(path, text)
            continue
        if here.reproduced.within_factor is not None and claim.published.value is None:
            others = "below, above, between or equals, or give published.value"
            text = found("within_factor, but no published.value", others)
            problems.add((*path, "reproduced", "within_factor"), text)
        before = len(problems)
        _check_estimator(here.measure, (*path, "measure"), problems)
        if len(problems) == before:
            _check_selections(here.measure, (*path, "measure"), scale, index, problems)
            measure = _estimators()[here.measure["estimator"]].model_validate(here.measure)
            _check_read(measure.reads, here.measure, (*path, "measure"), (scale,), study, problems)


def _check_estimator(measure: dict, at: Path, problems: Problems) -> None:
    """Check a `measure` block, and those inside it, with the estimators' own models."""
    known = _estimators()
    if not known:
        return
    before = len(problems)
    for key, value in measure.items():
        if isinstance(value, dict) and "estimator" in value:
            _check_estimator(value, (*at, key), problems)
    if len(problems) > before:
        return
    name = measure.get("estimator")
    if name is None:
        problems.missing_key((*at, "estimator"), ", ".join(known))
    elif not isinstance(name, str) or name not in known:
        problems.wrong((*at, "estimator"), name, known)
    else:
        try:
            known[name].model_validate(measure)
        except ValidationError as error:
            report(error, problems, measure, known[name], at)
        except ValueError as error:
            problems.add(at, f"found {show(measure)}; allowed: {error}")


def _check_selections(value: Any, at: Path, scale: str, index: Index, problems: Problems) -> None:
    """Check every selection of runs inside a `measure` block."""
    if isinstance(value, list):
        for i, item in enumerate(value):
            _check_selections(item, (*at, i), scale, index, problems)
    if not isinstance(value, dict):
        return
    if any(key in value for key in _SHORT):
        grid, select = value.get("grid"), value.get("select") or {}
        grids = [grid] if isinstance(grid, str) else grid
        if isinstance(select, dict) and (grids is None or isinstance(grids, list)):
            check_selection(grids, select, at, (scale,), index, problems, True)
    for key, item in value.items():
        if key not in _SHORT:
            _check_selections(item, (*at, key), scale, index, problems)
