"""What the step-tolerance figure is made of."""

from __future__ import annotations

import numpy as np

from fewbits.analysis.cells import ends
from fewbits.analysis.errors import AnalysisError
from fewbits.analysis.selection import varying


def outcomes(options, runs, metrics):
    """`runs` with `_value`: what each run ends on (inf where it diverged)."""
    if options.x not in runs or runs[options.x].isna().any():
        raise AnalysisError(f"figure: some selected runs have no {options.x}; add to select")
    if options.panel and (options.panel not in runs or runs[options.panel].isna().any()):
        raise AnalysisError(f"figure: some selected runs have no {options.panel}; add to select")
    within = [
        "method",
        *([options.panel] if options.panel else []),
    ]  # panels may differ, in rounds too
    for (method, *_), group in runs.groupby(within, observed=True):
        others = varying(group, without=("seed", options.x))
        if others:
            raise AnalysisError(
                f"figure: {method} has several settings, differing in {', '.join(others)}; "
                "add to select"
            )
    return ends(runs, metrics, options.metric, options.value, options.share)


def panels(values, column: str | None) -> list[tuple]:
    """(value, rows) per panel: numbers in their order, names in the manifest's."""
    if column is None:
        return [("", values)]
    return list(values.groupby(column, sort=values[column].dtype.kind in "if"))


def limits(values) -> tuple[float, float, float]:
    """(bottom, top, where diverged runs are drawn) of the log axis; top = diverged place when none
    diverged."""
    values = np.asarray(values, dtype=float)
    finite = values[np.isfinite(values) & (values > 0)]
    if not len(finite):
        return 0.1, 100.0, 30.0
    decades = max(1.0, np.log10(finite.max() / finite.min()))
    bottom = finite.min() / 10 ** (0.06 * decades)
    top = finite.max() * 10 ** (0.08 * decades)
    return bottom, top, top * 10 ** (0.07 * decades)


def sideways(factors, methods: int) -> float:
    """How far apart the bars of `methods` methods are drawn, in octaves: all within 0.4 of the way to the next factor."""
    octaves = np.log2(sorted(set(factors)))
    gap = np.diff(octaves).min() if len(octaves) > 1 else 1.0
    return min(0.16, 0.4 * gap / max(1, methods - 1))


def plot(axis, group, x: str, looks: dict, edges: tuple[float, float, float]) -> None:
    from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

    from fewbits.analysis import style

    bottom, top, gone = edges
    any_gone = False
    methods = list(group.groupby("method", observed=True, sort=True))
    shift = sideways(group[x], len(methods))
    for order, (method, runs) in enumerate(methods):
        seeds = runs.groupby(x, sort=True)["_value"]
        factor = np.array(list(seeds.groups), dtype=float)
        # Small sideways shifts keep the bars of different methods apart.
        factor = factor * 2 ** (shift * (order - (len(methods) - 1) / 2))
        middle = seeds.median().to_numpy()
        low, high = seeds.min().to_numpy(), seeds.max().to_numpy()
        shown = np.where(np.isfinite(middle), middle, gone)
        any_gone |= not np.isfinite(high).all()
        look = looks[method]
        axis.plot(factor, shown, **look, label=method, zorder=3)
        axis.vlines(
            factor, np.where(np.isfinite(low), low, gone), np.where(np.isfinite(high), high, gone),
            color=look["color"], linewidth=0.9, alpha=0.7, zorder=2,
        )  # fmt: skip
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    ticks = sorted(set(group[x]))
    axis.xaxis.set_major_locator(FixedLocator(ticks))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xticklabels([f"{tick:g}" for tick in ticks])
    axis.yaxis.set_minor_formatter(NullFormatter())
    style.log_ticks(axis.yaxis)
    if any_gone:
        strip = gone * (gone / top)
        axis.set_ylim(bottom, strip)
        ticks = [tick for tick in axis.get_yticks() if bottom <= tick <= top]
        axis.yaxis.set_major_locator(FixedLocator(ticks))
        axis.axhspan(top, strip, color="#f0f0f0", zorder=0)
        axis.text(
            0.02, gone, "diverged", transform=axis.get_yaxis_transform(), fontsize=7.5,
            va="center", color=style.GREY, style="italic",
        )  # fmt: skip
    else:
        axis.set_ylim(bottom, top)
