"""What a change of the method brings, by method and skew, with every seed shown."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from fewbits.registry import plugin


@plugin
class Gains:
    """A line for each pair of methods ([without, with]) and each way the rows were divided: the mean over seeds of the paired
    difference of `metric` and its 95 % t interval; small marks are the seeds."""

    name: ClassVar[str] = "gains"

    pairs: Annotated[dict[str, list[str]], Field(min_length=1)]
    metric: str = "final.test_accuracy"
    axis: str = "gain in test accuracy, percentage points"
    scale: float = 100.0
    row_cm: Annotated[float, Field(gt=0)] = 0.5

    def draw(self, runs, metrics):
        import matplotlib.pyplot as plt

        from fewbits.analysis import gains, style

        found = gains.differences(runs, self.pairs, self.metric)
        groups = list(found.groupby(["pair", "skew"], sort=False))
        figure, axis = plt.subplots(figsize=style.size(1.6 + self.row_cm * len(groups)))
        for place, (_, own) in enumerate(groups):
            values = self.scale * own["gain"]
            middle, low, high = gains.interval(values)
            axis.plot(
                values, [place + 0.22] * len(values), "|", color=style.GREY, markersize=4, zorder=2
            )
            axis.errorbar(
                middle, place, xerr=[[middle - low], [high - middle]], fmt="o", color=style.COLOURS[0],
                markersize=4, elinewidth=1.2, capsize=2, zorder=3,
            )  # fmt: skip
        axis.axvline(0, color="#000000", linewidth=0.8, zorder=1)
        axis.set_yticks(range(len(groups)), [f"{pair}, {name}" for (pair, name), _ in groups])
        axis.invert_yaxis()
        axis.grid(axis="y", visible=False)
        axis.set_xlabel(self.axis)
        return figure
