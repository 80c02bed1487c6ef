"""What the bits were spent on until the target: values, indices, metadata, per method at its best
setting."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from fewbits.registry import plugin


@plugin
class Payload:
    """Horizontal stacked bars, medians over seeds; methods that never reach the target say so."""

    name: ClassVar[str] = "payload"

    target: float
    metric: str = "grad_sq"
    panel: str | None = "dataset"
    bar_cm: Annotated[float, Field(gt=0)] = 0.75

    def draw(self, runs, metrics):
        import matplotlib.pyplot as plt

        from fewbits.analysis import style
        from fewbits.analysis.tables import to_target

        groups = list(runs.groupby(self.panel, sort=False)) if self.panel else [("", runs)]
        tables = [
            (value, to_target(group, metrics, target=self.target, metric=self.metric))
            for value, group in groups
        ]
        bars = max(len(table) for _, table in tables)
        figure, axes = plt.subplots(
            1, len(groups), figsize=style.size(2.6 + self.bar_cm * bars), squeeze=False
        )
        for axis, (value, table) in zip(axes.flat, tables, strict=True):
            _bars(axis, table)
            if self.panel:
                axis.set_title(style.panel_title(self.panel, value), loc="left")
        style.legend_below(figure, *axes.flat[0].get_legend_handles_labels(), 3)
        return figure


def _name(row) -> str:
    return (
        f"{row['method']} ({row['setting']})"
        if row["setting"] not in ("", "not reached")
        else row["method"]
    )


def _bars(axis, table) -> None:
    import numpy as np

    from fewbits.analysis import style

    names = [_name(row) for _, row in table.iterrows()]
    place = np.arange(len(table))[::-1]
    total = table["real kbit"].to_numpy(float) * 1000
    divisor, unit = style.bit_unit(max(total[np.isfinite(total)], default=1.0))
    left = np.zeros(len(table))
    for part, look in style.PARTS.items():
        width = np.nan_to_num(table[f"{part} kbit"].to_numpy(float), posinf=0.0) * 1000 / divisor
        axis.barh(
            place, width, left=left, height=0.62, label=part, edgecolor="white", linewidth=0.4, **look
        )  # fmt: skip
        left += width
    for y, reached in zip(place, np.isfinite(total), strict=True):
        if not reached:
            axis.text(0, y, "  target not reached", va="center", fontsize=8, color=style.GREY)
    axis.set_yticks(place, names)
    axis.grid(False, axis="y")
    axis.set_xlabel(f"sent by a client until the target ({unit})")
