"""How clients fare under each method: their mean accuracy and that of the worst tenth, on test rows of their own."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from fewbits.registry import plugin

MEAN, LOW = "client_test_accuracy", "client_test_accuracy_low"


@plugin
class Clients:
    """A row per method, at the setting with the best mean: the mean over (benign) clients and the mean of the worst tenth of them, each the
    median over seeds with a bar over their range. `beside`: a method whose mean is drawn as a line through all rows. panel: as elsewhere.
    """

    name: ClassVar[str] = "clients"

    panel: str | None = None
    beside: str | None = None
    row_cm: Annotated[float, Field(gt=0.2)] = 0.5

    def draw(self, runs, metrics):
        from fewbits.analysis import style
        from fewbits.analysis.cells import ends

        values = ends(runs, metrics, MEAN, "final")
        values = values.assign(_low=ends(runs, metrics, LOW, "final")["_value"])
        groups = list(values.groupby(self.panel, sort=False)) if self.panel else [("", values)]
        methods = [m for m in runs["method"].cat.categories if (runs["method"] == m).any()]
        figure, axes = style.panels(len(groups), 2.4 + self.row_cm * len(methods), most=2)
        for axis, (value, group) in zip(axes, groups, strict=True):
            for row, method in enumerate(methods):
                self._row(axis, len(methods) - row, group[group["method"] == method])
            own = group[group["method"] == self.beside]
            if len(own):
                axis.axvline(
                    own["_value"].median(), color=style.GREY, linewidth=0.8, linestyle=(0, (2, 2))
                )
            axis.set_yticks(range(len(methods), 0, -1), methods)
            axis.grid(axis="y", visible=False)
            axis.set_xlabel("accuracy on own test rows")
            if self.panel:
                axis.set_title(style.panel_title(self.panel, value), loc="left")
        found = style.handles(axes)
        style.legend_below(figure, list(found.values()), list(found), 2)
        return figure

    def _row(self, axis, y: int, runs) -> None:
        from fewbits.analysis.per_run import tuned
        from fewbits.analysis.selection import varying

        if runs.empty:
            return
        columns = [c for c in varying(runs) if not c.startswith("_")]
        best = tuned(runs, columns, small=False) if columns else runs
        mean, low = best["_value"], best["_low"]
        axis.plot([low.median(), mean.median()], [y, y], color="#bbbbbb", linewidth=1.2, zorder=1)
        for part, marker, face, text in (
            (mean, "o", "#222222", "mean of the clients"),
            (low, "^", "white", "worst tenth of the clients"),
        ):
            axis.hlines(y, part.min(), part.max(), color="#222222", linewidth=0.8, zorder=2)
            axis.plot(
                [part.median()],
                [y],
                marker,
                color="#222222",
                markerfacecolor=face,
                label=text,
                zorder=3,
            )
