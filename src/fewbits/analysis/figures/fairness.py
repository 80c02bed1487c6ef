"""How often each client uploads: the share of the rounds in which it was let through, from the least to the most lucky one."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from fewbits.registry import plugin


@plugin
class Fairness:
    """A line for each method: the median over seeds of the clients' percentiles, with a band over the range. Dotted: if all
    were let through equally often. The runs' selection must judge (`qualification`). panel: one panel per value of this column.
    """

    name: ClassVar[str] = "fairness"

    panel: str | None = None
    height_cm: Annotated[float, Field(gt=2)] = 7.0

    def draw(self, runs, metrics):
        from fewbits.analysis import style, uploads

        points = uploads.percentiles(self, runs, metrics)
        groups = list(points.groupby(self.panel)) if self.panel else [("", points)]
        figure, axes = style.panels(len(groups), self.height_cm, most=3)
        looks = style.method_styles(list(runs["method"].cat.categories))
        for axis, (value, group) in zip(axes, groups, strict=True):
            for order, (method, line) in enumerate(group.groupby("method", observed=True)):
                axis.fill_between(
                    line["percentile"], 100 * line["low"], 100 * line["high"],
                    color=looks[method]["color"], alpha=0.15, linewidth=0,
                )  # fmt: skip
                axis.plot(
                    line["percentile"], 100 * line["middle"], **looks[method],
                    label=method, zorder=3 + order,
                )  # fmt: skip
            axis.axhline(
                100 * group["equal"].iloc[0], color=style.GREY, linewidth=0.9, linestyle=(0, (1, 2)),
                label="all alike",
            )  # fmt: skip
            if self.panel:
                axis.set_title(style.panel_title(self.panel, value), loc="left")
            axis.set_xlabel("clients, least to most often (%)")
        axes[0].set_ylabel("uploads in rounds (%)")
        found = style.handles(axes)
        style.legend_below(figure, list(found.values()), list(found), min(4, len(found)))
        return figure
