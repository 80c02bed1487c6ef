"""Figures of a study as files, the same bytes for the same results."""

from __future__ import annotations

import io
from pathlib import Path

from fewbits import registry
from fewbits.analysis.errors import AnalysisError
from fewbits.analysis.reads import rows_for
from fewbits.analysis.studyfile import entry, plain
from fewbits.files import write_bytes

FORMATS = ("pdf", "svg", "png")


def draw_figure(study, figure_id: str, folder: Path) -> list[Path]:
    """Draw one figure from `<folder>/{runs,metrics}.csv` to `<folder>/figures/<id>.*`."""
    from fewbits.analysis.selection import done, load_tables, pick

    study = plain(study)
    item = entry(study, "figures", figure_id)
    runs, metrics = load_tables(folder, study.get("methods"))
    try:
        kind = registry.make("figure", {"name": item["kind"]} | (item.get("options") or {}))
        chosen = pick(done(runs), item.get("grid"), item.get("select"))
        figure = make_figure(kind, chosen, rows_for(kind, metrics, study, folder))
    except ValueError as error:
        raise AnalysisError(f"study {study['study']}: figure {figure_id}: {error}") from error
    return save(figure, Path(folder) / "figures" / figure_id)


def make_figure(kind, runs, metrics):
    """`kind.draw(runs, metrics)` in the project's style, without a display."""
    import matplotlib

    matplotlib.use("Agg")
    from fewbits.analysis import style

    with matplotlib.rc_context(style.RC):
        figure = kind.draw(runs, metrics)
        figure.draw_without_rendering()  # settles the layout, once for all formats
        figure.set_layout_engine("none")
    return figure


def save(figure, stem: Path) -> list[Path]:
    """PDF, SVG and PNG without dates or random ids; closes the figure."""
    import matplotlib
    import matplotlib.pyplot as plt

    from fewbits.analysis import style

    metadata = {
        "pdf": {"CreationDate": None, "ModDate": None, "Producer": None, "Creator": "fewbits"},
        "svg": {"Date": None, "Creator": "fewbits"},
        "png": {"Software": None},
    }
    paths = []
    with matplotlib.rc_context(style.RC):
        for suffix in FORMATS:
            data = io.BytesIO()
            figure.savefig(data, format=suffix, metadata=metadata[suffix])
            path = stem.with_name(f"{stem.name}.{suffix}")
            write_bytes(path, data.getvalue())
            paths.append(path)
    plt.close(figure)
    return paths
