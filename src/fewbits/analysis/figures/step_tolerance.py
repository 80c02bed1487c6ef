"""How large a step each method bears: the level a run ends on against its step size."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from fewbits.registry import plugin


@plugin
class StepTolerance:
    """One line per method: the median over seeds, with bars from the lowest to the highest.

    - value: of `metric`: `floor` (median of the last `share` of the rows), `final` or `best`
    - panel: one panel per value of this column

    Runs that diverged are drawn in a strip above the data.
    """

    name: ClassVar[str] = "step_tolerance"

    metric: str = "grad_sq"
    value: Literal["floor", "final", "best"] = "floor"
    share: Annotated[float, Field(gt=0, le=1)] = 0.2
    x: str = "step.factor"
    panel: str | None = "compressor.k"
    height_cm: Annotated[float, Field(gt=2)] = 7.4

    def draw(self, runs, metrics):
        from fewbits.analysis import style, tolerance

        values = tolerance.outcomes(self, runs, metrics)
        groups = tolerance.panels(values, self.panel)
        columns = 2 if len(groups) in (2, 4) else 3
        figure, axes = style.panels(len(groups), self.height_cm, most=columns)
        looks = style.method_styles(list(runs["method"].cat.categories))
        limits = tolerance.limits(values["_value"])
        for axis, (value, group) in zip(axes, groups, strict=True):
            tolerance.plot(axis, group, self.x, looks, limits)
            if self.panel:
                axis.set_title(style.panel_title(self.panel, value), loc="left")
        for axis in axes[::columns]:
            words = {"floor": "level reached", "final": "final", "best": "lowest"}[self.value]
            axis.set_ylabel(f"{words}, {style.label(self.metric)}")
        for axis in axes:
            axis.set_xlabel(style.label(self.x, runs))
        handles = style.handles(axes)
        style.legend_below(figure, list(handles.values()), list(handles), min(4, len(handles)))
        return figure
