"""Tables of a study. Each kind is a function (runs, metrics, **options) -> data frame of plain
values.

Columns called `X`, `X low`, `X high` are a median and its confidence interval; in print they become
one column, `x [low, high]`. Importing this module is cheap: study files are checked against the
functions' signatures.
"""

from __future__ import annotations

import inspect
import itertools
import math
import re

from fewbits.analysis.client_table import clients
from fewbits.analysis.errors import AnalysisError, nearest
from fewbits.analysis.gains import gains
from fewbits.analysis.message_table import messages
from fewbits.analysis.numbers import interval, latex, number
from fewbits.analysis.operators import operator_errors, operator_sizes, stable_ranks
from fewbits.analysis.projections import projections
from fewbits.analysis.published_table import published_beside, published_cells
from fewbits.analysis.selection import at_default
from fewbits.analysis.spectra import collapse
from fewbits.analysis.style import panel_title
from fewbits.analysis.uploads import search


def settings(runs, metrics):
    """What was run, one row per setting and one column per grid; constant columns of one grid
    included, parameters that are at their plug-in's default in every run left out."""
    import pandas as pd

    from fewbits.analysis.selection import is_axis

    grids = sorted_grids(runs)
    member = runs["grids"].map(lambda text: str(text).split(";"))
    asked = ("record_every",)
    columns = [
        c for c in runs.columns if is_axis(c) or c in asked or c.startswith(("stop.", "snapshots."))
    ]
    columns = [c for c in columns if not at_default(runs, c)]
    columns.sort(
        key=lambda c: SETTINGS.index(c.partition(".")[0]) if c.partition(".")[0] in SETTINGS else 99
    )
    rows = []
    for column in columns:
        row = {"setting": column}
        for grid in grids:
            inside = runs[member.map(lambda names, grid=grid: grid in names)]
            row[grid] = ", ".join(_listed(inside[column]))
        rows.append(row)
    rows.append({"setting": "runs", **{g: _count(member, g) for g in grids}})
    table = pd.DataFrame(rows)
    return table[(table[grids] != "").any(axis=1)].reset_index(drop=True)


def constants(runs, metrics):
    """Per data set and compressor setting: the problem's constants and the step sizes at 1x."""
    import pandas as pd

    keep = ["dataset", "model", "step.rule", *[c for c in runs if c.startswith("compressor.")]]
    keep = [c for c in keep if c in runs and (c == "dataset" or runs[c].nunique() > 1)]
    order = ("L", "L_tilde", "L_mean", "L_max", "mu", "dim", "clients", "alpha", "theta", "beta")
    named = [f"constants.{name}" for name in order]
    named += [c for c in runs if c.startswith("constants.") and c not in named]
    named = [c for c in named if c in runs and runs[c].notna().any()]
    problem = runs.copy()
    if "step.factor" in problem:
        problem["constants.step"] = problem["constants.step"] / problem["step.factor"]
    rows = []
    for key, group in problem.groupby(keep, sort=False, dropna=False):
        row = dict(zip(keep, key, strict=True))
        for name in named:
            values = group[name].dropna()
            same = len(values) and values.max() - values.min() <= 1e-9 * abs(values.max())
            row[name.partition(".")[2]] = values.median() if same else None
        rows.append(row)
    table = pd.DataFrame(rows).rename(columns={"step": "step 1×"}).dropna(axis=1, how="all")
    for column in [c for c in keep if c not in ("dataset", "model")]:
        # Left out where it makes no difference to the constants.
        without = table.drop(columns=column, errors="ignore").round(12).drop_duplicates()
        if not without.duplicated([c for c in keep if c in without]).any():
            table = table.loc[without.index].drop(columns=column, errors="ignore")
    return table.reset_index(drop=True)


def to_target(runs, metrics, target: float, metric: str = "grad_sq", by: list | None = None):
    """Per method, at the setting that needs the fewest real bits: messages and bits until `metric`
    reaches `target`.

    Medians over seeds with 95 % intervals. `paper kbit` are 32 per value sent, start-up not
    counted; `real kbit` are those of the encoded messages, split into values, indices and metadata
    at the time of arrival.
    """
    import pandas as pd

    from fewbits.analysis.intervals import summarise
    from fewbits.analysis.per_run import tuned
    from fewbits.analysis.selection import curves_of, describe, varying
    from fewbits.analysis.targets import BitsToTarget

    parts = ("values", "indices", "metadata")
    needed = ["round", metric, "bits_up", *(f"bits_up_{part}" for part in parts)]
    curves = curves_of(runs, metrics, needed)
    measure = BitsToTarget(metric=metric, target=target)
    by = by or (["dataset"] if runs["dataset"].nunique() > 1 else [])
    rows = []
    for key, group in runs.groupby([*by, "method"], observed=True, sort=False):
        columns = varying(group)
        values = [measure.value(curves[run], None) for run in group["run"]]
        best = tuned(group.assign(_value=values), columns, True) if columns else group
        arrivals = pd.DataFrame([_arrival(curves[run], measure, parts) for run in best["run"]])
        row = dict(zip([*by, "method"], key, strict=True))
        if any(column.startswith("algorithm.") for column in by):  # said by that column already
            row["method"] = row["method"].partition(" (")[0]
        reached = arrivals["messages"].lt(math.inf)
        row["setting"] = describe(best.iloc[0], columns) if reached.any() else "not reached"
        for name in ("messages", "real kbit", "paper kbit"):
            label = f"to_target/{'/'.join(map(str, key))}/{name}"
            row |= _cells(name, summarise(arrivals[name], label))
        row |= {f"{part} kbit": float(arrivals[f"{part} kbit"].median()) for part in parts}
        rows.append(row | {"reached by": f"{reached.sum()} of {len(best)}"})
    return pd.DataFrame(rows)


def summary(
    runs, metrics, metric: str = "grad_sq", value: str = "floor", share: float = 0.2,
    columns: str = "step.factor",
):  # fmt: skip
    """Median over seeds of the level each setting ends on (`floor`, `final` or `best`).

    One row per method and setting, one column per value of `columns`; inf where most seeds diverged.
    """
    from fewbits.analysis.estimators import ESTIMATORS
    from fewbits.analysis.selection import curves_of, varying

    if value not in ("floor", "final", "best"):
        raise AnalysisError(f"options.value: found {value!r}; allowed: floor, final, best")
    if columns not in runs:
        raise AnalysisError(f"options.columns: found {columns!r}, which no run has")
    options = {"metric": metric} | ({"share": share} if value == "floor" else {})
    measure = ESTIMATORS[value](**options)
    curves = curves_of(runs, metrics, [metric])
    values = [measure.value(curves[row["run"]], row) for _, row in runs.iterrows()]
    keep = [
        c for c in varying(runs, without=("seed", columns)) if c.partition(".")[0] != "algorithm"
    ]
    keep = [c for c in keep if c != "rounds"]
    data = runs.assign(_value=values)
    first = [c for c in keep if c == "dataset"]
    index = [*first, "method", *[c for c in keep if c not in first]]
    table = data.pivot_table(
        index=index, columns=columns, values="_value", aggfunc="median", observed=True, dropna=False,
        sort=False,
    )  # fmt: skip
    table = (
        table[sorted(table.columns)].dropna(how="all").sort_index(level=index, sort_remaining=True)
    )
    heads = {c: f"{c:g}×" if columns == "step.factor" else number(c) for c in table.columns}
    return table.rename(columns=heads).reset_index()


# The order in which settings are listed.
SETTINGS = (
    "dataset", "model", "partition", "algorithm", "compressor", "selection", "local", "space", "sending", "server", "clock",
    "aggregation", "attack", "step", "seed", "rounds",
    "record_every", "stop",
)  # fmt: skip

MOST_LISTED = 12  # values in a cell of the table of settings

# How columns are headed in print; others are printed as they are called.
HEADS = {
    "dataset": "data set",
    "compressor.k": "k",
    "compressor.share": "p",
    "sending.count": "NS",
    "upload": "upload / dense",
    "step.factor": "step",
    "L_tilde": "L̃",
    "L_mean": "mean Lᵢ",
    "L_max": "max Lᵢ",
    "dim": "d",
    "clients": "n",
    "alpha": "α",
    "1 - alpha": "1 − α",
    "partition.clients": "n",
    "counted": "numbers counted",
    "theta": "θ",
    "beta": "β",
    "mu": "μ",
    "step 1×": "γ at 1×",
    "values kbit": "values",
    "indices kbit": "indices",
    "metadata kbit": "metadata",
}

TABLES = {
    "settings": settings,
    "constants": constants,
    "to_target": to_target,
    "messages": messages,
    "published_beside": published_beside,
    "published_cells": published_cells,
    "summary": summary,
    "operator_errors": operator_errors,
    "operator_sizes": operator_sizes,
    "stable_ranks": stable_ranks,
    "clients": clients,
    "projections": projections,
    "collapse": collapse,
    "search": search,
    "gains": gains,
}


def check_options(kind: str, options: dict) -> str | None:
    """What is wrong with a table's kind or options, as one line, or None."""
    if kind not in TABLES:
        return f"kind: found {kind!r}; allowed: {', '.join(TABLES)}{nearest(kind, TABLES)}"
    known = list(inspect.signature(TABLES[kind]).parameters.values())[2:]
    names = [p.name for p in known]
    for name in options:
        if name not in names:
            allowed = ", ".join(names) or "none"
            return f"options.{name}: unknown option of {kind}; allowed: {allowed}{nearest(name, names)}"
    for p in known:
        if p.default is inspect.Parameter.empty and p.name not in options:
            return f"options.{p.name}: is required by {kind}"
    return None


def make(kind: str, runs, metrics, options: dict):
    """The table, or AnalysisError."""
    problem = check_options(kind, options)
    if problem:
        raise AnalysisError(problem)
    return TABLES[kind](runs, metrics, **options)


def to_csv(table) -> str:
    """The table's values; whole numbers without a decimal point."""
    import numpy as np

    table = table.copy()
    for name in table.columns:
        values = table[name]
        if values.dtype.kind == "f" and not np.isinf(values).any():
            whole = values.dropna()
            if len(whole) and (whole == whole.round()).all() and whole.abs().max() < 2**53:
                table[name] = values.astype("Int64")
    return table.to_csv(index=False, lineterminator="\n")


def read(path):
    """A table as `to_csv` wrote it; empty text cells stay empty text."""
    import pandas as pd

    return pd.read_csv(path, keep_default_na=False, na_values=[""])


def display(table) -> tuple[list[str], list[list[str]]]:
    """(headings, rows of text) as printed: numbers typeset, `X low`/`X high` merged into `X`."""
    heads = [c for c in table.columns if not _is_edge(c, table.columns)]
    rows = []
    for _, row in table.iterrows():
        cells = []
        for head in heads:
            text = _cell(head, row[head])
            if f"{head} low" in table.columns and math.isfinite(_number(row[head])):
                low, high = row[f"{head} low"], row[f"{head} high"]
                text += f" {interval(low, high)}" if low != high else ""
            cells.append(text)
        rows.append(cells)
    return [_head(head) for head in heads], rows


def alignment(heads: list[str], rows: list[list[str]]) -> list[str]:
    """`l` or `r` per column: numbers to the right."""
    columns = zip(*rows, strict=True) if rows else [()] * len(heads)
    return ["r" if _numeric(cells) else "l" for cells in columns]


def to_latex(table, caption: str) -> str:
    """The printed table as a LaTeX tabular with booktabs rules."""
    import pandas as pd

    heads, rows = display(table)
    cells = [[latex(cell) for cell in row] for row in rows]
    frame = pd.DataFrame(cells, columns=[latex(head) for head in heads])
    body = frame.to_latex(index=False, escape=False, column_format="".join(alignment(heads, rows)))
    return f"% {caption}\n% needs \\usepackage{{booktabs}}\n{body}"


def _numeric(cells) -> bool:
    return any(cells) and all(not c or c[0] in "−–∞" or c[0].isdigit() for c in cells)


def _head(name: str) -> str:
    if name in HEADS:
        return HEADS[name]
    owner, _, short = name.partition(".")
    return (short if owner in SETTINGS and short else name).replace("_", " ")


def _is_edge(name: str, columns) -> bool:
    return any(name == f"{c} {edge}" for c in columns for edge in ("low", "high"))


def _number(value) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _cell(head: str, value) -> str:
    import pandas as pd

    if pd.isna(value):
        return ""
    if isinstance(value, str):
        return panel_title(head, value) if head == "dataset" else value
    return number(value, 4 if head in ("L", "L_tilde", "L_mean", "L_max") else 3)


def _cells(name: str, estimate: tuple[float, float, float]) -> dict:
    return dict(zip((name, f"{name} low", f"{name} high"), estimate, strict=True))


def _arrival(curve, measure, parts) -> dict:
    """Messages and bits of one run at the moment its real bits reach the target."""
    import numpy as np

    from fewbits.analysis.of_metric import bits

    real = bits(curve, "real")
    at = measure.value(curve, None)
    names = ["messages", "real kbit", "paper kbit", *(f"{part} kbit" for part in parts)]
    if not math.isfinite(at):
        return dict.fromkeys(names, math.inf)
    columns = [curve["round"], real / 1000, bits(curve, "paper") / 1000]
    columns += [curve[f"bits_up_{part}"] / 1000 for part in parts]
    at_arrival = [float(np.interp(at, real, np.asarray(column, float))) for column in columns]
    return dict(zip(names, at_arrival, strict=True))


def sorted_grids(runs) -> list[str]:
    """Grids in the manifest's order."""
    return list(dict.fromkeys(name for text in runs["grids"] for name in str(text).split(";")))


def _count(member, grid: str) -> int:
    return int(member.map(lambda names: grid in names).sum())


def _listed(column) -> list[str]:
    values = list(dict.fromkeys(column.dropna()))
    if values and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        values = sorted(values)
        whole = all(float(v).is_integer() for v in values)
        steps = {b - a for a, b in itertools.pairwise(values)}
        if whole and len(values) > 3 and steps == {1}:
            return [f"{int(values[0])} to {int(values[-1])}"]
        if len(values) > MOST_LISTED:
            return [f"{len(values)} values from {number(values[0])} to {number(values[-1])}"]
        return [number(v) for v in values]
    return [re.sub(r'[]["]', "", str(v)) for v in values]  # lists without their marks
