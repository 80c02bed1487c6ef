"""A table of shades: a row for each method, a column for each value of an axis."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from fewbits.registry import plugin


@plugin
class Heat:
    """Each cell: the median over seeds of what runs end on, their range beneath, at the best setting run.

    - value: of `metric`: `best` (running best), `final` or `floor` (median of the last fifth)
    - columns: the axis across; runs without it are in a column called `absent`
    """

    name: ClassVar[str] = "heat"

    metric: str = "test_accuracy"
    value: Literal["best", "final", "floor"] = "best"
    columns: str = "partition.alpha"
    absent: str = "none"
    row_cm: Annotated[float, Field(gt=0.3)] = 0.72

    def draw(self, runs, metrics):
        import matplotlib.pyplot as plt
        import seaborn

        from fewbits.analysis import cells, style

        table = cells.table(self, runs, metrics)
        shade, words = cells.shades(table, self.metric), cells.words(table)
        height = 1.6 + self.row_cm * len(shade)
        figure, axis = plt.subplots(figsize=style.size(height))
        seaborn.heatmap(
            shade, annot=words, fmt="", cmap="Greys", vmin=0, vmax=1.15, cbar=False, ax=axis,
            linewidths=1.5, annot_kws={"fontsize": 7.5, "linespacing": 1.0},
        )  # fmt: skip
        axis.set_xlabel(f"{style.label(self.columns)}")
        axis.set_ylabel("")
        axis.tick_params(length=0)
        axis.set_title(f"{style.label(self.metric)} (darker is better)", loc="left")
        return figure
