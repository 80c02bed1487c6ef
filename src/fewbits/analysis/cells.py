"""What runs end on by method and by an axis, for figures of cells, points and fronts."""

from __future__ import annotations

import numpy as np

from fewbits.analysis.curve import direction, level, running_best
from fewbits.analysis.per_run import tuned
from fewbits.analysis.selection import curves_of, varying


def outcome(curve, status: str, metric: str, value: str, share: float = 0.2) -> float:
    """`best`, `final` or `floor` (of the last `share` of rows) of a run's metric."""
    y, better = curve[metric], direction(metric)
    if value == "best":
        return float(running_best(y, better)[-1])
    return level(y, status, share if value == "floor" else 1e-9, better)


def ends(runs, metrics, metric: str, value: str, share: float = 0.2):
    """`runs` with `_value`, what each ends on."""
    curves = curves_of(runs, metrics, [metric])
    found = [
        outcome(curves[run], status, metric, value, share)
        for run, status in zip(runs["run"], runs["status"], strict=True)
    ]
    return runs.assign(_value=found)


def settled(group, small: bool) -> tuple[float, float, float]:
    """(median, lowest, highest) over the seeds of the setting whose median is best."""
    columns = varying(group)
    best = tuned(group, columns, small) if columns else group
    values = best["_value"].to_numpy(float)
    return float(np.median(values)), float(values.min()), float(values.max())


def table(options, runs, metrics):
    """Rows: methods in their order; columns: values of `options.columns`; cells (median, low, high)."""
    import pandas as pd

    small = direction(options.metric) == "lower"
    values = ends(runs, metrics, options.metric, options.value)
    across = values[options.columns]
    names = across.map(lambda v: f"{v:g}" if isinstance(v, float) else str(v)).where(
        across.notna(), options.absent
    )
    order = [f"{v:g}" if isinstance(v, float) else str(v) for v in sorted(across.dropna().unique())]
    order += [options.absent] if across.isna().any() else []
    grouped = values.assign(_column=names).groupby(["method", "_column"], observed=True, sort=True)
    found = {key: settled(group.drop(columns="_column"), small) for key, group in grouped}
    methods = [m for m in runs["method"].cat.categories if any(key[0] == m for key in found)]
    cells = [[found.get((m, c), (np.nan,) * 3) for c in order] for m in methods]
    frame = pd.DataFrame(
        {c: [row[i] for row in cells] for i, c in enumerate(order)}, index=pd.Index(methods)
    )
    frame.columns.name = None
    return frame


def shades(table, metric: str):
    """The medians from 0 (worst) to 1 (best); logarithms of metrics that fall by factors."""
    middle = table.map(lambda cell: cell[0]).astype(float)
    if direction(metric) == "lower":
        logs = np.log10(middle.where(np.isfinite(middle)).clip(lower=1e-300))
        middle = -logs.fillna(logs.max().max())
    low, high = middle.min().min(), middle.max().max()
    return (middle - low) / (high - low if high > low else 1.0)


def words(table):
    """Each cell's median, and its range on a second line."""
    return table.map(_words)


def _words(cell) -> str:
    middle, low, high = map(_short, cell)
    return f"{middle}\n({low}, {high})"


def _short(value: float) -> str:
    if not np.isfinite(value):
        return "diverged" if value > 0 else "none"
    if value and not 0.01 <= abs(value) < 100:
        mantissa, exponent = f"{value:.0e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:.3f}"


def lines(axis, values, x: str, looks: dict) -> None:
    """Each method's median over seeds at the values of the column x, and the range of its seeds."""
    methods = list(values.groupby("method", observed=True, sort=True))
    span = np.ptp(values[x].to_numpy(float)) or 1.0
    for order, (method, runs) in enumerate(methods):
        seeds = runs.groupby(x, sort=True)["_value"]
        at = np.array(list(seeds.groups), dtype=float)
        at = at + 0.01 * span * (order - (len(methods) - 1) / 2)  # so that bars stay apart
        axis.plot(at, seeds.median(), **looks[method], label=method, zorder=3)
        axis.vlines(
            at, seeds.min(), seeds.max(), color=looks[method]["color"], linewidth=0.9, zorder=2
        )
    axis.set_xticks(sorted(values[x].unique()))
