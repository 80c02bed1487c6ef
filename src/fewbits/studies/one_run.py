"""A single run's spec from a file, checked like a study's."""

from __future__ import annotations

from pathlib import Path

from fewbits.studies.errors import Problems
from fewbits.studies.expand import expand_grid
from fewbits.studies.files import shown
from fewbits.studies.grids import merge
from fewbits.studies.reading import read_mapping


def read_run(path: str | Path) -> dict:
    """The complete spec in a JSON or YAML file: the keys of a grid, each with one value.

    `study` may be left out (then "by_hand"). Raises StudyError, one line for each mistake.
    """
    path = Path(path)
    data, lines = read_mapping(path, shown(path))
    problems = Problems(shown(path), lines)
    study, start = data.pop("study", "by_hand"), data.pop("start", None)
    if data.get("compressor", ...) is None:
        del data["compressor"]
    _keep_lists(data.get("model"))
    runs = expand_grid(study, "run", merge({}, data, (), ()), problems)
    problems.raise_any()
    if len(runs) != 1:
        problems.add((), f"found {len(runs)} runs; allowed: one value for each key, no lists")
        problems.raise_any()
    return runs[0].spec | ({"start": start} if start else {})


def _keep_lists(model: object) -> None:
    """A list among a network's parameters is a value here, as in the spec that a run leaves, and no axis."""
    given = model.get("parameters") if isinstance(model, dict) else None
    for name, value in given.items() if isinstance(given, dict) else ():
        if isinstance(value, list) and not any(isinstance(item, list) for item in value):
            given[name] = [value]
