"""Singular values of the covariance of representations: how many dimensions models use."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from fewbits.registry import plugin

MODELS = {"global": "global model", "local": "local models"}


@plugin
class Spectra:
    """A row of panels for each of `models`, a column for each method; in a panel a line for each way the rows were divided.

    A line is the geometric mean over seeds (and, of local models, over clients) of the singular value of each index, on a
    logarithmic axis; its band is the 95 % t interval over seeds. methods: which, in this order (absent: all that are
    there); first: how many indices are drawn.
    """

    name: ClassVar[str] = "spectra"
    reads: ClassVar[str] = "spectra"

    models: list[Literal["global", "local"]] = Field(default_factory=lambda: ["global", "local"])
    methods: list[str] | None = None
    first: Annotated[int, Field(ge=2)] | None = None
    least: Annotated[float, Field(gt=0)] = 1e-6
    height_cm: Annotated[float, Field(gt=0)] = 6.0

    def draw(self, runs, metrics):
        import matplotlib.pyplot as plt

        from fewbits.analysis import spectra, style

        rows = spectra.of_runs(runs, metrics)
        names = spectra.skews(rows)
        looks = style.method_styles(names)
        methods = self.methods or list(runs["method"].cat.categories)
        methods = [m for m in methods if (rows["method"] == m).any()]
        figure, axes = plt.subplots(
            len(self.models), len(methods), squeeze=False, sharex=True, sharey=True,
            figsize=style.size(self.height_cm * len(self.models) + 1.2),
        )  # fmt: skip
        for line, model in zip(axes, self.models, strict=True):
            for axis, method in zip(line, methods, strict=True):
                own = rows[(rows["model"] == model) & (rows["method"] == method)]
                self._panel(axis, own, names, looks)
                axis.set_xlim(left=0)
            line[0].set_ylabel(f"{MODELS[model]}:\nsingular value of the covariance")
        for top, bottom, method in zip(axes[0], axes[-1], methods, strict=True):
            top.set_title(method, loc="left")
            bottom.set_xlabel("index")
        found = style.handles(axes.flat)
        style.legend_below(figure, list(found.values()), list(found), min(6, len(found)))
        return figure

    def _panel(self, axis, rows, names, looks) -> None:
        import numpy as np

        from fewbits.analysis import spectra, style

        for place, name in enumerate(names):
            own = rows[rows["skew"] == name]
            if own.empty:
                continue
            logs = np.log10(np.maximum(np.stack(list(own["singular"])), spectra.FLOOR))
            seeds = np.array(
                [logs[own["seed"] == seed].mean(axis=0) for seed in own["seed"].unique()]
            )
            middle, half = _interval(seeds[:, : self.first])
            index = np.arange(1, len(middle) + 1)
            look = looks[name] | {"markevery": (place * 2, 12), "markersize": 3.5}
            axis.fill_between(
                index, 10 ** (middle - half), 10 ** (middle + half), color=look["color"], alpha=0.18, linewidth=0
            )  # fmt: skip
            axis.plot(index, 10**middle, **look, label=name, zorder=3)
        axis.set_yscale("log")
        axis.set_ylim(bottom=self.least)
        style.log_ticks(axis.yaxis)


def _interval(values):
    """Mean over the first axis and half of its 95 % t interval (0 for one seed)."""
    import numpy as np
    from scipy.stats import t

    count = len(values)
    if count == 1:
        return values[0], np.zeros_like(values[0])
    spread = values.std(axis=0, ddof=1) / count**0.5
    return values.mean(axis=0), t.ppf(0.975, count - 1) * spread
