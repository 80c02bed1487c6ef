"""What a client uploads in a round: values, positions and the rest of its messages, as a share of a dense update."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from fewbits.registry import plugin


@plugin
class Upload:
    """Stacked bars, one for each method: bits of a round's messages, mean over all clients, those that did not upload included,
    over d float32 numbers; at the end of a bar, how many times less than dense that is."""

    name: ClassVar[str] = "upload"

    bar_cm: Annotated[float, Field(gt=0)] = 0.75

    def draw(self, runs, metrics):
        import matplotlib.pyplot as plt
        import numpy as np

        from fewbits.analysis import style, uploads

        table = uploads.shares(runs, metrics)
        figure, axis = plt.subplots(figsize=style.size(2.6 + self.bar_cm * len(table)))
        place, left = np.arange(len(table))[::-1], np.zeros(len(table))
        for part, look in style.PARTS.items():
            width = 100 * table[part].to_numpy(float)
            axis.barh(
                place, width, left=left, height=0.62, label=part, edgecolor="white", linewidth=0.4, **look
            )  # fmt: skip
            left += width
        for y, total in zip(place, left, strict=True):
            axis.text(total, y, f"  {100 / total:.1f} times less", va="center", fontsize=8)
        axis.set_yticks(place, table["method"])
        axis.set_xlim(right=1.25 * left.max())
        axis.grid(False, axis="y")
        axis.set_xlabel("sent by a client in a round / dense float32 update (%)")
        style.legend_below(figure, *axis.get_legend_handles_labels(), 3)
        return figure
