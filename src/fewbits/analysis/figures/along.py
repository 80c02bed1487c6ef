"""What runs end on along a parameter, beside the levels of methods that do not have it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from fewbits.registry import plugin


@plugin
class Along:
    """One line per method over the values of column `x`, at the best of its other settings: the median over seeds, a bar over their
    range. A method without that column is a level, its range a band. panel: one panel for each value of this column.
    """

    name: ClassVar[str] = "along"

    x: str
    metric: str = "test_accuracy"
    value: Literal["best", "final", "floor"] = "final"
    panel: str | None = None
    x_scale: Literal["log", "linear"] = "log"
    y_scale: Literal["log", "linear"] = "linear"
    y_min: float | None = None
    height_cm: Annotated[float, Field(gt=2)] = 8.2

    def draw(self, runs, metrics):
        from fewbits.analysis import style
        from fewbits.analysis.cells import ends
        from fewbits.analysis.errors import AnalysisError

        if self.x not in runs:
            raise AnalysisError(f"options.x: found {self.x!r}, which no run has")
        values = ends(runs, metrics, self.metric, self.value)
        groups = list(values.groupby(self.panel, sort=False)) if self.panel else [("", values)]
        figure, axes = style.panels(len(groups), self.height_cm, most=2)
        looks = style.method_styles(list(runs["method"].cat.categories))
        for axis, (value, group) in zip(axes, groups, strict=True):
            for method, own in group.groupby("method", observed=True, sort=True):
                self._method(axis, str(method), own, looks[method])
            axis.set_xscale(self.x_scale)
            axis.set_yscale(self.y_scale)
            axis.set_ylim(bottom=self.y_min)
            axis.set_xlabel(style.label(self.x))
            if self.panel:
                axis.set_title(style.panel_title(self.panel, value), loc="left")
        axes[0].set_ylabel(style.label(self.metric))
        found = style.handles(axes)
        style.legend_below(figure, list(found.values()), list(found), min(3, len(found)))
        return figure

    def _method(self, axis, method: str, runs, look: dict) -> None:
        import numpy as np

        from fewbits.analysis.cells import settled
        from fewbits.analysis.curve import direction

        small = direction(self.metric) == "lower"
        flat = runs[runs[self.x].isna()]
        if len(flat):
            middle, low, high = settled(flat.drop(columns=self.x), small)
            line = {key: look[key] for key in ("color", "linestyle")}
            axis.axhline(middle, **line, linewidth=1.0, label=method)
            axis.axhspan(low, high, color=look["color"], alpha=0.08, linewidth=0)
        along = runs.dropna(subset=self.x)
        if len(along):
            points = [
                (x, *settled(g.drop(columns=self.x), small)) for x, g in along.groupby(self.x)
            ]
            x, middle, low, high = np.array(points, float).T
            axis.plot(x, middle, **look, label=method, zorder=3)
            axis.vlines(x, low, high, color=look["color"], linewidth=0.9, alpha=0.7, zorder=2)
