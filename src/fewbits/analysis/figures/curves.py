"""Curves of a metric against bits or rounds: one line per method, a band over the seeds."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from fewbits.registry import plugin


@plugin
class Curves:
    """One panel per value of `panel` (a column or a list of them), one line per method: the median over seeds,
    and a band. Runs without the column are in all panels.

    x: `round`, `bits_up` (every bit of the messages), `bits_up_paper` (32 bits per value sent,
    start-up not counted: the literature's axis) or `counted` (vectors of d numbers, with the numbers that a paper
    counts for a message of each compressor, `counted`: {compressor: numbers}; d where it says nothing).

    best: of each method keep the tuned setting, that with fewest x to `target`, else the lowest final value;
    settings: say in the legend which it is. target: also drawn as a thin line. running: draw the best value so far.
    band over seeds: all of them (`range`), the middle half (`iqr`), each as a thin line (`each`), or `none`. y_min,
    y_max: limits; by default the data's, cut a little above the start. across: panels in a row.
    """

    name: ClassVar[str] = "curves"

    x: str = "bits_up"
    y: str = "grad_sq"
    panel: str | list[str] | None = "dataset"
    counted: dict[str, float] = Field(default_factory=dict)
    best: bool = False
    running: bool = False
    settings: bool = True
    target: float | None = None
    band: Literal["range", "iqr", "each", "none"] = "range"
    x_scale: Literal["log", "linear"] = "log"
    y_scale: Literal["log", "linear"] = "log"
    x_max: float | None = None
    y_min: float | None = None
    y_max: float | None = None
    across: Annotated[int, Field(ge=1, le=3)] = 2
    height_cm: Annotated[float, Field(gt=2)] = 8.2

    def columns(self) -> list[str]:
        x = {"bits_up_paper": "bits_up_values", "counted": "round"}.get(self.x, self.x)
        return list(dict.fromkeys(["round", x, self.y]))

    def draw(self, runs, metrics):
        """A matplotlib figure. `runs` have the ordered category `method`
        (selection.name_methods)."""
        from fewbits.analysis import lines, style
        from fewbits.analysis.selection import curves_of

        curves = curves_of(runs, metrics, self.columns())
        if self.x == "counted":
            curves = lines.with_counted(curves, runs, self.counted)
        groups = self._groups(runs)
        figure, axes = style.panels(len(groups), self.height_cm, most=self.across)
        looks = style.method_styles(list(runs["method"].cat.categories))
        divisor, unit = self._unit(curves)
        everything = [lines.method_lines(self, group, curves) for _, group in groups]
        for axis, (value, _), drawn in zip(axes, groups, everything, strict=True):
            lines.plot(axis, drawn, looks, divisor, self.band)
            lines.finish(axis, self, drawn, divisor)
            if self.panel:
                axis.set_title(style.panel_title(self.panel, value), loc="left")
            name = style.label(self.x)
            axis.set_xlabel(f"{name} ({unit})" if unit else name)
        for axis in axes[:: min(len(groups), self.across)]:
            axis.set_ylabel(style.label(self.y))
        lines.legends(figure, axes, everything)
        return figure

    def _groups(self, runs) -> list:
        """(value of `panel`, its runs) of every panel."""
        import pandas as pd

        if self.panel is None:
            return [("", runs)]
        groups = list(runs.groupby(self.panel, sort=False))
        if isinstance(self.panel, list):
            return groups
        everywhere = runs[runs[self.panel].isna()]
        return [(value, pd.concat([group, everywhere])) for value, group in groups]

    def _unit(self, curves) -> tuple[float, str]:
        from fewbits.analysis import lines, style

        if not self.x.startswith("bits"):
            return 1.0, ""
        largest = max(lines.x_values(curve, self.x)[-1] for curve in curves.values())
        return style.bit_unit(min(largest, self.x_max or largest))
