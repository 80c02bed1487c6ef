"""The table that sets a paper's printed numbers beside the measured ones, cell by cell."""

from __future__ import annotations

import math
from pathlib import Path

from fewbits.analysis.errors import AnalysisError


def published_beside(
    runs, metrics, file: str, table: str, target: float | None = None, base: dict | None = None,
    metric: str = "test_accuracy", match: list | None = None, where: dict | None = None, ratio: bool = False,
    times: float = 1.0,
):  # fmt: skip
    """Rounds to `target` as printed and as measured, a row per printed cell of which there are runs.

    Without a target it is the level of `metric` that runs end on (median of the last fifth), `times` that many, to be in the
    unit of the print.

    file: under config/published/, without its ending; table: a key of its `tables`. A cell's runs are those that agree
    with it in the symbols `match` (absent: all); `where` keeps only some of the printed cells. Measured: median over
    the seeds and its interval, at the setting (the step, most often) whose median is smallest. `base` names the cell, by the
    symbols that differ, over which the speed-up is taken (absent: none): printed over printed, measured over measured.
    `ratio`: measured over printed, which makes sense where the problem is the paper's own.
    """
    import pandas as pd

    printed = read(file, table)
    cells = [cell for cell in printed["rows"] if (where or {}).items() <= cell.items()]
    names = [n for n in match or printed["columns"] if any(n in cell for cell in cells)]
    columns = {name: printed["columns"][name] for name in names}
    measure = _estimator(metric, target)
    found = [(cell, _measured(runs, metrics, cell, columns, measure, times)) for cell in cells]
    found = [(cell, own) for cell, own in found if own is not None]
    by_key = {_key(cell, names): (cell, own) for cell, own in found}
    rows = []
    for cell, own in found:
        row = {name: _symbol(cell[name]) for name in names}
        reference = None if base is None else by_key.get(_key(cell | base, names))
        row |= {"published": _printed(cell), **{k: v for k, v in own.items() if k != "setting"}}
        if ratio:
            row["measured / published"] = _over(own["measured"], cell.get("value"))
        if reference is not None:
            row["speed-up published"] = _over(reference[0].get("value"), cell.get("value"))
            row["speed-up"] = _over(reference[1]["measured"], own["measured"])
        rows.append(row | {"tuned": own["setting"] or None})
    if not rows:
        raise AnalysisError(f"published_beside: no run is of a cell of table {table!r} in {file}")
    return pd.DataFrame(rows).dropna(axis=1, how="all")


def published_cells(runs, metrics, file: str, table: str, across: str):
    """Printed numbers alone, a column for each value of the symbol `across`: where the runs measure something else."""
    import pandas as pd

    printed = pd.DataFrame(read(file, table)["rows"])
    printed[across] = [f"{across} = {v:g}" if v == v else "iid" for v in printed[across]]
    order = list(dict.fromkeys(printed[across]))
    index = [name for name in printed if name not in (across, "value")]
    wide = printed.pivot_table(index=index, columns=across, values="value", sort=False)
    return wide[order].reset_index().rename_axis(columns=None)


def read(file: str, table: str) -> dict:
    """A table of config/published/: its `what`, `rows`, and the file's `columns`."""
    import yaml

    path = published_file(file)
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml"))) or "none"
        raise AnalysisError(f"{path}: no such file; published numbers there are: {known}")
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if table not in content["tables"]:
        known = ", ".join(content["tables"])
        raise AnalysisError(f"{path}: has no table {table!r}; it has: {known}")
    return content["tables"][table] | {"columns": content["columns"]}


def published_file(name: str) -> Path:
    """Where published numbers of a paper lie, from the project's folder."""
    return Path("config/published") / f"{name}.yaml"


def _estimator(metric: str, target: float | None):
    """Rounds to the target; without one, the level that runs end on."""
    from fewbits.analysis.of_metric import Floor
    from fewbits.analysis.targets import RoundsToTarget

    return Floor(metric=metric) if target is None else RoundsToTarget(metric=metric, target=target)


def _measured(runs, metrics, cell, columns, measure, times: float) -> dict | None:
    """The estimator's value of a cell's runs at the best setting; None if there are no such runs."""
    from fewbits.analysis.intervals import summarise
    from fewbits.analysis.per_run import told, tuned
    from fewbits.analysis.selection import curves_of, varying

    own = runs
    for symbol, column in columns.items():
        same = own[column].isna() if cell[symbol] is None else own[column] == cell[symbol]
        own = own[same]
    if own.empty:
        return None
    curves = curves_of(own, metrics, measure.needed())
    values = [times * measure.value(curves[row["run"]], row) for _, row in own.iterrows()]
    own = own.assign(_value=values)
    settings = [name for name in varying(own) if name != "rounds"]
    best = tuned(own, settings, measure.best_is_small()) if settings else own
    middle, low, high = summarise(best["_value"], f"published/{_key(cell, list(columns))}")
    said = told(best, own, settings) if math.isfinite(middle) else "not reached"
    return {"measured": middle, "measured low": low, "measured high": high, "setting": said}


def _key(cell: dict, names: list[str]) -> str:
    return "/".join(str(cell[name]) for name in names)


def _printed(cell: dict):
    """What stands in the paper; nothing where the number could not be checked against it."""
    return "not reached" if cell.get("value", 0) is None else cell.get("value")


def _symbol(value):
    return "all" if value is None else value


def _over(top, bottom) -> float:
    """top / bottom; not a number where either was not reached."""
    if top is None or bottom is None or not math.isfinite(top) or not math.isfinite(bottom):
        return math.nan
    return top / bottom
