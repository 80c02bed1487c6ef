"""What a run ends on against the size of its messages: a line for each family, and the Pareto front."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from fewbits.registry import plugin


@plugin
class Pareto:
    """A point is a method with messages of one size, at the best of its other settings: the median over seeds, with a bar
    over their range. Lines join the sizes of a method. The front, of all points that no other beats in both,
    is drawn dark; a method that sends everything is a dotted level. joined: draw the lines. panel: one panel per value of this
    column.
    """

    name: ClassVar[str] = "pareto"

    metric: str = "test_accuracy"
    value: Literal["best", "final", "floor"] = "best"
    panel: str | None = None
    joined: bool = True
    y_min: float | None = None
    height_cm: Annotated[float, Field(gt=2)] = 8.2

    def draw(self, runs, metrics):
        from fewbits.analysis import fronts, style

        points = fronts.points(self, runs, metrics)
        groups = list(points.groupby(self.panel, sort=False)) if self.panel else [("", points)]
        figure, axes = style.panels(len(groups), self.height_cm, most=2)
        looks = style.method_styles(list(runs["method"].cat.categories))
        for axis, (value, group) in zip(axes, groups, strict=True):
            fronts.plot(axis, group, looks, self)
            if self.panel:
                axis.set_title(style.panel_title(self.panel, value), loc="left")
            axis.set_xlabel("message / dense float32 update (%)")
        axes[0].set_ylabel(style.label(self.metric))
        found = style.handles(axes)
        style.legend_below(figure, list(found.values()), list(found), min(4, len(found)))
        return figure
