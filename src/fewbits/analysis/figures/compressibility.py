"""Whether one method's updates are harder to compress than another's: stable rank, and error against bits."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from fewbits.registry import plugin

TICKS = (0.1, 0.3, 1, 3, 10)


@plugin
class Compressibility:
    """First panel: stable rank of the layers of clients' updates, by how rows were divided and by round, a mark a method: the
    median over tensors, bars their quartiles. Then a panel for each way rows were divided: relative squared error of
    `operators` (medians) against bits a number; full lines and marks: the first method, dashed and hollow: the second.
    """

    name: ClassVar[str] = "compressibility"
    reads: ClassVar[str] = "operators"

    operators: Annotated[list[str], Field(min_length=1)]
    methods: Annotated[list[str], Field(min_length=2, max_length=2)]
    height_cm: Annotated[float, Field(gt=0)] = 7.0

    def draw(self, runs, metrics):
        import matplotlib.pyplot as plt

        from fewbits.analysis import operators, spectra, style

        runs = runs.assign(skew=[spectra.skew(row) for _, row in runs.iterrows()])
        rows = operators.of_runs(runs, metrics)
        rows = rows[rows["method"].isin(self.methods) & (rows["source"] == "update")]
        skews = spectra.skews(rows)
        figure, axes = plt.subplots(1, 1 + len(skews), figsize=style.size(self.height_cm))
        self._ranks(axes[0], rows, skews)
        for axis, name in zip(axes[1:], skews, strict=True):
            self._rates(axis, rows[rows["skew"] == name])
            axis.set_title(name, loc="left")
        for axis in axes[2:]:
            axis.sharey(axes[1])
            axis.tick_params(labelleft=False)
        axes[1].set_ylabel("relative squared error")
        found = style.handles(axes[1:])
        style.legend_below(figure, list(found.values()), list(found), 2)
        return figure

    def _ranks(self, axis, rows, skews) -> None:
        from fewbits.analysis import operators

        tensors = rows.drop_duplicates(list(operators.TENSOR))
        rounds = sorted(tensors["round"].unique())
        places = [(name, number) for name in skews for number in rounds]
        for order, method in enumerate(self.methods):
            for place, (name, number) in enumerate(places):
                own = tensors[(tensors["skew"] == name) & (tensors["round"] == number)]
                low, middle, high = own.loc[own["method"] == method, "stable_rank"].quantile(
                    [0.25, 0.5, 0.75]
                )
                axis.errorbar(
                    place + 0.24 * order - 0.12, middle, yerr=[[middle - low], [high - middle]], fmt="os"[order],
                    color="#000000", markerfacecolor=("#000000", "white")[order], markersize=4.5,
                    capsize=2, label=method if place == 0 else None,
                )  # fmt: skip
        axis.set_xticks(range(len(places)), [f"{name}\nround {number}" for name, number in places])
        axis.set_ylabel("stable rank of updates")
        axis.set_ylim(1, 1 + 1.35 * (axis.get_ylim()[1] - 1))  # room for the legend
        axis.legend(loc="upper left", handlelength=1, borderaxespad=0)

    def _rates(self, axis, rows) -> None:
        from fewbits.analysis import style

        labels = rows.drop_duplicates("operator").set_index("operator")["label"]
        for place, name in enumerate(self.operators):
            for order, method in enumerate(self.methods):
                own = rows[(rows["operator"] == name) & (rows["method"] == method)]
                own = own.assign(rate=own["bits"] / own["numbers"])
                line = own.groupby("budget", dropna=False)[["rate", "error"]].median()
                colour = style.COLOURS[place]
                axis.plot(
                    line["rate"], line["error"], color=colour, linestyle=("-", (0, (3, 1.5)))[order],
                    marker=style.MARKERS[place], markerfacecolor=(colour, "white")[order],
                    label=f"{labels[name]}, {method}",
                )  # fmt: skip
        axis.set_xscale("log")
        axis.set_yscale("log")
        low, high = axis.get_xlim()
        shown = [tick for tick in TICKS if low <= tick <= high]
        axis.set_xticks(shown, list(map(str, shown)))
        axis.minorticks_off()
        axis.set_xlabel("bits a number")
