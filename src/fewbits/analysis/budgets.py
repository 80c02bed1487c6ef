"""What the budget figure is made of."""

from __future__ import annotations

import numpy as np

from fewbits.analysis.selection import curves_of


def points(options, runs, metrics):
    """A row per panel, family and method: `size` of a message (share of d float32), bits until the target `low`,
    `middle`, `high` over the seeds at the best setting, infinite where it is not reached. Family "" is dense."""
    import pandas as pd

    from fewbits.analysis.per_run import tuned
    from fewbits.analysis.selection import varying
    from fewbits.analysis.targets import BitsToTarget

    measure = BitsToTarget(metric=options.metric, target=options.target)
    curves = curves_of(runs, metrics, measure.needed())
    panel = [options.panel] if options.panel else []
    rows = []
    for key, group in runs.groupby([*panel, "method"], observed=True, sort=False):
        group = group.assign(_value=[measure.value(curves[run], None) for run in group["run"]])
        columns = varying(group)
        best = tuned(group, columns, True) if columns else group
        name = best["compressor"].iloc[0]
        per_message = [message_bits(curves[run]) for run in best["run"]]
        rows.append(
            dict(zip([*panel, "method"], key, strict=True))
            | {
                "family": "" if pd.isna(name) else options.labels.get(name, name),
                "size": float(np.mean(per_message)) / (32 * best["constants.dim"].iloc[0]),
                "low": best["_value"].min(),
                "middle": best["_value"].median(),
                "high": best["_value"].max(),
            }
        )
    return pd.DataFrame(rows)


def message_bits(curve, column: str = "bits_up") -> float:
    """Mean bits of a message of one run, without what was sent before the first round."""
    sent = curve[column].to_numpy(float)
    return float((sent[-1] - sent[0]) / curve["round"].iloc[-1])


def limits(values) -> tuple[float, float, float]:
    """(bottom, top, place of what never arrives) of the log axis."""
    finite = values[["low", "middle", "high"]].to_numpy(float)
    finite = finite[np.isfinite(finite) & (finite > 0)]
    low, high = (finite.min(), finite.max()) if len(finite) else (1.0, 10.0)
    decades = max(1.0, np.log10(high / low))
    top = high * 10 ** (0.08 * decades)
    return low / 10 ** (0.08 * decades), top, top * 10 ** (0.07 * decades)


def plot(axis, group, looks: dict, edges: tuple[float, float, float]) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

    from fewbits.analysis import style

    bottom, top, gone = edges
    for family, line in group[group["family"] != ""].groupby("family", sort=False):
        line = line.sort_values("size")
        size = 100 * line["size"].to_numpy()
        shown, low, high = (
            np.where(np.isfinite(line[name]), line[name], gone)
            for name in ("middle", "low", "high")
        )
        look = looks[family]
        axis.plot(size, shown, **look, label=family, zorder=3)
        axis.vlines(size, low, high, color=look["color"], linewidth=0.9, alpha=0.7, zorder=2)
    for _, dense in group[group["family"] == ""].iterrows():
        if np.isfinite(dense["middle"]):
            axis.axhline(
                dense["middle"], color=style.GREY, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1,
                label=f"{dense['method']}, dense",
            )  # fmt: skip
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.xaxis.set_major_locator(FixedLocator([0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100]))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())
    style.log_ticks(axis.yaxis)
    strip = gone * (gone / top)
    axis.set_ylim(bottom, strip)
    axis.axhspan(top, strip, color="#f0f0f0", zorder=0)
    axis.text(
        0.98, gone, "not reached", transform=axis.get_yaxis_transform(), fontsize=7.5, va="center",
        ha="right", color=style.GREY, style="italic",
    )  # fmt: skip
