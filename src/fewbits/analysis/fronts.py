"""What the Pareto figure is made of."""

from __future__ import annotations

import numpy as np

from fewbits.analysis.budgets import message_bits
from fewbits.analysis.cells import ends, settled
from fewbits.analysis.curve import direction
from fewbits.analysis.selection import curves_of

TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)


def points(options, runs, metrics):
    """A row per panel, method and size of message: `size` (% of dense), `middle`, `low`, `high`; `dense`."""
    import pandas as pd

    small = direction(options.metric) == "lower"
    curves = curves_of(runs, metrics, ["bits_up"])
    shares = [100 * message_bits(curves[run]) for run in runs["run"]]
    sizes = np.array(shares) / (32 * runs["constants.dim"].to_numpy(float))
    values = ends(runs, metrics, options.metric, options.value)
    values = values.assign(_size=[float(f"{size:.2g}") for size in sizes])
    panel = [options.panel] if options.panel else []
    rows = []
    for key, group in values.groupby([*panel, "method", "_size"], observed=True, sort=False):
        middle, low, high = settled(group.drop(columns="_size"), small)
        names = dict(zip([*panel, "method", "size"], key, strict=True))
        size = names["size"]  # without a compressor, a method may still send a part of the model
        whole = bool(group["compressor"].isna().all()) and not 0 < size < 95
        rows.append(names | {"middle": middle, "low": low, "high": high, "dense": whole})
    return pd.DataFrame(rows)


def front(size, value, small: bool) -> np.ndarray:
    """Which points no other beats: none has as few bits (or fewer) and a better value."""
    sign = 1 if small else -1
    order = np.lexsort((sign * np.asarray(value), np.asarray(size)))
    kept, best = np.zeros(len(order), bool), np.inf
    for i in order:
        if sign * value[i] < best:
            kept[i], best = True, sign * value[i]
    return kept


def plot(axis, group, looks: dict, options) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

    from fewbits.analysis import style

    sent = group[~group["dense"]]
    for method, line in sent.groupby("method", observed=True, sort=True):
        line = line.sort_values("size")
        look = looks[method] | ({} if options.joined else {"linestyle": ""})
        axis.plot(line["size"], line["middle"], **look, label=method, zorder=3)
        axis.vlines(
            line["size"], line["low"], line["high"], color=looks[method]["color"], linewidth=0.9,
            alpha=0.7, zorder=2,
        )  # fmt: skip
    size, value = sent["size"].to_numpy(float), sent["middle"].to_numpy(float)
    best = front(size, value, direction(options.metric) == "lower")
    order = np.argsort(size[best])
    axis.step(
        size[best][order], value[best][order], where="post", color="#222222", linewidth=3.5,
        alpha=0.25, zorder=1, label="front",
    )  # fmt: skip
    levels = group[group["dense"]]
    for _, dense in levels.iterrows():
        look = {"color": style.GREY, "linestyle": (0, (1, 2))}
        if len(levels) > 1:
            look = {key: looks[dense["method"]][key] for key in look}
        axis.axhline(dense["middle"], **look, linewidth=0.9, zorder=1, label=dense["method"])
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(FixedLocator(TICKS))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())
    if direction(options.metric) == "lower":
        axis.set_yscale("log")
    axis.set_ylim(bottom=options.y_min)
