"""What runs end on against a number that was set, on plain axes."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from fewbits.registry import plugin


@plugin
class Against:
    """One line per method: the median over seeds at each value of the column `x`, with bars from the lowest to the highest.

    value: of `metric`: `floor` (median of the last fifth of the rows), `final` or `best`. panel: one panel per value of this
    column, or of these columns; where a run has none, the heading leaves it out.
    """

    name: ClassVar[str] = "against"

    x: str
    metric: str = "test_accuracy"
    value: Literal["floor", "final", "best"] = "floor"
    panel: str | list[str] | None = None
    y_min: float | None = None
    y_max: float | None = None
    height_cm: Annotated[float, Field(gt=2)] = 6.6

    def draw(self, runs, metrics):
        from fewbits.analysis import cells, style

        values = cells.ends(runs, metrics, self.metric, self.value)
        columns = [self.panel] if isinstance(self.panel, str) else self.panel or []
        groups = (
            list(values.groupby(columns, sort=False, dropna=False)) if columns else [((), values)]
        )
        figure, axes = style.panels(len(groups), self.height_cm, most=2)
        looks = style.method_styles(list(runs["method"].cat.categories))
        for axis, (key, group) in zip(axes, groups, strict=True):
            cells.lines(axis, group, self.x, looks)
            named = [(c, v) for c, v in zip(columns, key, strict=True) if v == v]
            axis.set_title(", ".join(style.panel_title(c, v) for c, v in named), loc="left")
            axis.set_xlabel(style.label(self.x))
            if self.y_min is not None or self.y_max is not None:
                axis.set_ylim(self.y_min, self.y_max)
        low, high = (edge(axis.get_ylim()[i] for axis in axes) for i, edge in enumerate((min, max)))
        for axis in axes:
            axis.set_ylim(low, high)
        for axis in axes[::2]:
            axis.set_ylabel(style.label(self.metric))
        handles = style.handles(axes)
        if len(handles) > 1:
            style.legend_below(figure, list(handles.values()), list(handles), min(4, len(handles)))
        return figure
