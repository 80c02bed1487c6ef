"""A picture of a partition: which client holds how many rows of which class."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from fewbits.analysis import style
from fewbits.files import read_json, write_bytes

DOTS = (40, 30)  # up to so many clients and classes are drawn as dots, more as a heat map
COLUMNS = 1000  # of a heat map; more clients share columns
NAME = "classes.png"


def draw(folder: Path) -> Path:
    """Write `classes.png` beside a partition's `summary.json`: clients from left to right, classes from below.

    Few clients: the area of a dot is its number of rows. Many: the colour is the class's share of the client's
    rows, and clients are in order of their most frequent class, so that skew shows as a staircase. Above: rows
    of each client. Of sequences, positions are counted in place of rows.
    """
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    summary = read_json(folder / "summary.json")
    counts = np.array(summary["class_counts"])
    clients, classes = counts.shape
    unit = "rows" if counts.sum() == sum(summary["rows"]) else "positions"
    height = float(np.clip(0.45 * classes, 4.5, 10.0))
    with plt.rc_context(style.RC):
        figure, (top, main) = plt.subplots(
            2, 1, figsize=style.size(height + 3.4), sharex=True, height_ratios=[1.6, height]
        )
        if clients <= DOTS[0] and classes <= DOTS[1]:
            _dots(main, counts, height, unit)
        else:
            counts = counts[_by_first_class(counts)]
            _heat_map(figure, main, counts, unit)
        _sizes(top, counts.sum(axis=1), unit)
        distance = summary["label_distance_mean"]
        facts = f"{counts.sum():,} {unit}, {clients:,} clients, {classes} classes"
        top.set_title(f"{folder.name}\n{facts}; mean label distance {distance:.2f}")
        data = io.BytesIO()
        figure.savefig(data, dpi=200, metadata={"Software": None})
        plt.close(figure)
    write_bytes(folder / NAME, data.getvalue())
    return folder / NAME


def _dots(axes, counts: np.ndarray, height: float, unit: str) -> None:
    clients, classes = counts.shape
    cell = min(13.0 / clients, height / classes, 0.7) * 72 / 2.54  # points
    area = (0.95 * cell) ** 2 / counts.max()
    client, label = np.nonzero(counts)
    look = {"color": style.COLOURS[0], "linewidths": 0}
    axes.scatter(client, label, s=np.maximum(counts[client, label] * area, 1.0), **look)
    shown = sorted({_round(counts.max() / part) for part in (1, 5, 25)})
    handles = [axes.scatter([], [], s=n * area, **look, label=f"{n:,}") for n in shown]
    axes.legend(
        handles=handles, title=unit, labelspacing=1.0, loc="center left", bbox_to_anchor=(1, 0.5)
    )
    axes.set(xlabel="client", ylabel="class", ylim=(-0.7, classes - 0.3))
    _whole_ticks(axes)


def _heat_map(figure, axes, counts: np.ndarray, unit: str) -> None:
    shares = counts / counts.sum(axis=1, keepdims=True)
    bins = np.array_split(shares, min(COLUMNS, len(shares)))
    dark = np.quantile(shares, 0.995)  # a few clients of one class leave the others their colours
    image = axes.imshow(
        np.stack([block.mean(axis=0) for block in bins], axis=1),
        extent=(-0.5, len(counts) - 0.5, -0.5, counts.shape[1] - 0.5),
        cmap="Blues",
        vmin=0,
        vmax=dark,
        aspect="auto",
        origin="lower",
        interpolation="nearest",
    )
    axes.set(xlabel="clients, in order of their most frequent class", ylabel="class")
    axes.grid(False)
    _whole_ticks(axes)
    more = "max" if shares.max() > dark else "neither"
    figure.colorbar(image, ax=axes, label=f"share of the client's {unit}", pad=0.01, extend=more)


def _sizes(axes, sizes: np.ndarray, unit: str) -> None:
    edges = np.arange(len(sizes) + 1) - 0.5
    if len(sizes) <= DOTS[0]:
        axes.bar(np.arange(len(sizes)), sizes, width=0.8, color=style.GREY)
    else:
        axes.stairs(sizes, edges, fill=True, color=style.GREY)
    axes.set(ylabel=unit, xlim=(edges[0] - 0.2, edges[-1] + 0.2), ylim=(0, None))
    axes.grid(False, axis="x")


def _whole_ticks(axes) -> None:
    from matplotlib.ticker import MaxNLocator

    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))


def _by_first_class(counts: np.ndarray) -> np.ndarray:
    """Clients by their most frequent class, within one those with most of it first."""
    first = counts.argmax(axis=1)
    return np.lexsort((-(counts.max(axis=1) / counts.sum(axis=1)), first))


def _round(number: float) -> int:
    """1, 2 or 5 times a power of ten: the largest up to `number`, at least 1."""
    power = 10 ** int(np.log10(max(number, 1)))
    return max(step * power for step in (1, 2, 5) if step * power <= max(number, 1))
