"""Error of operators against the bits they take, with the bound for a Gaussian source."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from fewbits.registry import plugin

TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20)


@plugin
class RateDistortion:
    """Relative squared error against bits a number, both logarithmic: a column of panels for each group of layers, a row
    for what was compressed.

    A point is the median over tensors, its bar their quartiles; a line joins the budgets of one operator. Operators are left out at
    a budget that one of their messages exceeds. The axis ends at the decade of the smallest median, or at `error_min`. The dotted line is 2^(-2R), which no code for white Gaussian numbers beats.
    """

    name: ClassVar[str] = "rate_distortion"
    reads: ClassVar[str] = "operators"

    operators: Annotated[list[str], Field(min_length=1)]
    by: list[str] | None = None
    error_min: Annotated[float, Field(gt=0)] = 1e-5
    error_max: Annotated[float, Field(gt=0)] = 2.0
    height_cm: Annotated[float, Field(gt=0)] = 5.6

    def draw(self, runs, metrics):
        import matplotlib.pyplot as plt

        from fewbits.analysis import operators, style

        rows = operators.of_runs(runs, metrics)
        rows = rows[rows["operator"].isin(self.operators)]
        labels = rows.drop_duplicates("operator").set_index("operator")["label"]
        looks = style.method_styles([name for name in self.operators if name in labels])
        groups = list(operators.groups(rows, self.by))
        panels = [
            [operators.on_all(inside[inside["source"] == source]) for _, inside in groups]
            for source in operators.SOURCES
        ]
        figure, axes = plt.subplots(
            len(panels), len(groups), squeeze=False, sharex=True, sharey=True,
            figsize=style.size(self.height_cm * len(panels) + 1.6),
        )  # fmt: skip
        for line, inside, what in zip(axes, panels, operators.SOURCES.values(), strict=True):
            for axis, own in zip(line, inside, strict=True):
                self._panel(axis, own, looks, labels)
            line[0].set_ylabel(f"{what}:\nrelative squared error")
        for column, (title, _) in enumerate(groups):
            axes[0][column].set_title(title, loc="left")
            axes[-1][column].set_xlabel("bits a number")
        axes[0][0].set_ylim(self._lowest(panels), self.error_max)
        style.legend_below(figure, *axes[0][0].get_legend_handles_labels(), 3)
        return figure

    def _lowest(self, panels) -> float:
        """Where the axis of errors ends."""
        from math import floor, log10

        at = ["operator", "budget"]
        medians = [
            median
            for own in (rows for line in panels for rows in line)
            for median in own.groupby(at, dropna=False)["error"].median()
        ]
        shown = [median for median in medians if median > self.error_min]
        return 10 ** floor(log10(min(shown, default=self.error_min)))

    def _panel(self, axis, rows, looks, labels) -> None:
        import numpy as np

        from fewbits.analysis import operators, style

        rows = rows.assign(rate=rows["bits"] / rows["numbers"])
        for place, (name, look) in enumerate(looks.items()):
            own = rows[rows["operator"] == name]
            at = own.groupby(own["budget"].fillna(0))
            # A little aside for each operator, so that bars do not hide each other.
            x = at["rate"].mean() * (1 + 0.012 * (place - len(looks) / 2))
            low, middle, high = (at["error"].quantile(q) for q in (0.25, 0.5, 0.75))
            axis.errorbar(
                x, middle, yerr=[middle - low, high - middle], **look, label=labels[name],
                elinewidth=0.6, capsize=0, zorder=3 + place / 100,
            )  # fmt: skip
        rate = np.geomspace(rows["rate"].min() / 1.3, rows["rate"].max() * 1.3, 60)
        axis.plot(
            rate, operators.gaussian(rate), color=style.GREY, linestyle=":", zorder=2,
            label="bound for Gaussian numbers",
        )  # fmt: skip
        axis.set_xscale("log")
        axis.set_yscale("log")
        shown = [tick for tick in TICKS if rate[0] <= tick <= rate[-1]]
        axis.set_xticks(shown, list(map(str, shown)))
        axis.minorticks_off()
