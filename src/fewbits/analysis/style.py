"""One look for all figures: sizes at their final width on the page, serif type, colours that
survive greyscale.

Methods differ by colour, line style and marker at once (Okabe-Ito colours), so a figure can be read
in print without colour and by colour-blind readers.
"""

from __future__ import annotations

from itertools import cycle, islice

WIDTH_CM = 16.0
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6BB1",
           "#882255", "#999933", "#44AA99", "#332288", "#AA4499")  # fmt: skip
DASHES = (
    "-",
    (0, (5, 1.5)),
    (0, (1, 1)),
    (0, (5, 1.2, 1, 1.2)),
    (0, (8, 2)),
    (0, (3, 1, 1, 1, 1, 1)),
    "--",
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<")
GREY = "#666666"
PARTS = {  # of what is sent, as bars
    "values": {"color": COLOURS[0], "hatch": ""},
    "indices": {"color": COLOURS[4], "hatch": "///"},
    "metadata": {"color": COLOURS[6], "hatch": "..."},
}

RC = {
    "font.family": "STIXGeneral",
    "mathtext.fontset": "stix",
    "font.size": 9,
    "axes.labelsize": 9,
    "axes.titlesize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "axes.linewidth": 0.6,
    "axes.edgecolor": "#444444",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.4,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "lines.linewidth": 1.3,
    "lines.markersize": 4,
    "legend.frameon": False,
    "legend.handlelength": 2.8,
    "figure.constrained_layout.use": True,
    "svg.fonttype": "path",
    "svg.hashsalt": "fewbits",
    "pdf.fonttype": 42,
    "savefig.dpi": 150,
}

# How columns and metrics are written on axes, with their unit.
LABELS = {
    "round": "rounds",
    "test_accuracy": "test accuracy",
    "partition.clients": "clients",
    "partition.alpha": r"Dirichlet concentration $\alpha$",
    "grad_sq": r"$\|\nabla f(x)\|^2$",
    "grad_norm": r"$\|\nabla f(x)\|$",
    "message_error": "relative squared error of the messages",
    "loss": r"$f(x)$",
    "loss_gap": r"$f(x)-f^\star$",
    "distortion": r"$\frac{1}{n}\sum_i\|g_i-\nabla f_i(x)\|^2$",
    "step_sq": r"$\|x^{t+1}-x^t\|^2$",
    "bits_up": "sent by a client",
    "bits_up_paper": "sent by a client, values only",
    "bits_up_values": "values sent by a client",
    "counted": "sent by a client as the paper counts, in vectors of d numbers",
    "bits_down": "received by a client",
    "seconds": "simulated seconds",
    "busy": "share of the time that clients work",
    "apart": "root mean square distance of the replicas from their mean",
    "algorithm.delay": "delay D, local steps",
    "mixing": r"$\theta$ in $(1-\theta)\,y_1+\theta\,y_2$",
    "client_accuracy": "accuracy on own rows, mean of the clients",
    "client_accuracy_low": "accuracy on own rows, worst tenth of the clients",
    "client_test_accuracy": "accuracy on own test rows, mean of the clients",
    "client_test_accuracy_low": "accuracy on own test rows, worst tenth of the clients",
    "client_test_variance": "variance of the clients' accuracies",
    "algorithm.ratio": "k / d",
    "algorithm.strength": r"strength of the coupling, $\lambda$",
    "step.value": "step size",
    "step.factor": "step size / theoretical step",
}


def label(column: str, runs=None) -> str:
    """Axis label of a column, without unit. `runs`: a step factor is labelled by their rule."""
    if column == "step.factor" and runs is not None and (runs["step.rule"] == "gd").all():
        return r"step size $\times\ L$"
    return LABELS.get(column, column.replace("_", " ").replace(".", " "))


def panel_title(column: str | list[str], value) -> str:
    """A panel's heading: a data set by its title, anything else as `k = 2`; of several columns, all of them."""
    from fewbits import registry

    if isinstance(column, list):
        return ", ".join(map(panel_title, column, value))
    if column == "dataset":
        known = registry.plugins("dataset").get(value)
        return getattr(known, "title", None) or str(value).replace("_", " ")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"{short_name(column)} = {value}"


def short_name(column: str) -> str:
    """A column in a heading or a legend: `k` for compressor.k, `step` for step.value."""
    return "step" if column == "step.value" else column.rpartition(".")[2].replace("_", " ")


def method_styles(methods) -> dict[str, dict]:
    """Line properties for each method of an ordered category: the same method looks the same in all
    figures."""
    looks = zip(cycle(COLOURS), cycle(DASHES), cycle(MARKERS), strict=False)
    return {
        name: {
            "color": colour,
            "linestyle": dash,
            "marker": marker,
            "markerfacecolor": "white",
            "markeredgewidth": 0.9,
        }
        for name, (colour, dash, marker) in zip(methods, islice(looks, len(methods)), strict=True)
    }


def size(height_cm: float, width_cm: float = WIDTH_CM) -> tuple[float, float]:
    return width_cm / 2.54, height_cm / 2.54


def bit_unit(largest: float) -> tuple[float, str]:
    """(divisor, unit) that keeps the axis' numbers short."""
    for size_, unit in ((1e9, "Gbit"), (1e6, "Mbit"), (1e3, "kbit")):
        if largest >= 2 * size_:
            return size_, unit
    return 1.0, "bit"


def log_ticks(axis, limit: int = 7) -> None:
    """Powers of ten, at most `limit` of them, without minor clutter."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(numticks=limit))
    axis.set_minor_formatter(NullFormatter())


def panels(count: int, height_cm: float = 7.0, most: int = 2):
    """(figure, list of axes): `count` panels in rows of at most `most`, sharing the y axis within a
    row."""
    import matplotlib.pyplot as plt

    columns = min(count, most)
    rows = -(-count // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=size(height_cm * rows), squeeze=False, sharey="row"
    )
    flat = list(axes.flat)
    for unused in flat[count:]:
        unused.set_visible(False)
    return figure, flat[:count]


def legend_below(figure, handles, labels, columns: int) -> None:
    """A legend under the panels, outside the data."""
    figure.legend(handles, labels, loc="outside lower center", ncol=columns, columnspacing=1.6)


def handles(axes) -> dict:
    """Legend entries over all panels, each method once."""
    found = {}
    for axis in axes:
        for handle, text in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(text, handle)
    return found
