"""What clients upload, and how often: what the figures `upload` and `fairness` and the table `search` are made of."""

from __future__ import annotations

import re

from fewbits.analysis.errors import AnalysisError
from fewbits.analysis.selection import curves_of, varying

COLUMN = re.compile(r"upload_p(\d+)")


def shares(runs, metrics):
    """A row for each method: `values`, `indices` and `metadata` of a round's messages over d float32 numbers, mean over runs."""
    import pandas as pd

    from fewbits.analysis.message_table import messages

    table = messages(runs, metrics)
    total = sum(table[f"{part} bit"] for part in ("values", "indices", "metadata"))
    parts = {
        p: table[f"{p} bit"] / total * table["of dense"] for p in ("values", "indices", "metadata")
    }
    return pd.DataFrame({"method": table["method"].astype(str), **parts})


def percentiles(options, runs, metrics):
    """A row for each panel, method and percentile of the clients: `low`, `middle`, `high` over seeds of the share of
    rounds in which that client uploaded; `equal`, if all did as often."""
    import pandas as pd

    names = {int(m[1]): m[0] for m in map(COLUMN.fullmatch, metrics.columns) if m}
    if not names:
        raise AnalysisError(
            "figure: no run recorded who uploads; allowed: selection: qualification"
        )
    curves = curves_of(runs, metrics, list(names.values()))
    panel = [options.panel] if options.panel else []
    rows = []
    for key, group in runs.groupby([*panel, "method"], observed=True, sort=True):
        others = varying(group)
        if others:
            raise AnalysisError(
                f"figure: {key[-1]} has several settings, differing in {', '.join(others)}: add to select"
            )
        ends = pd.DataFrame([curves[run].iloc[-1][list(names.values())] for run in group["run"]])
        named = dict(zip([*panel, "method"], key, strict=True))
        named["equal"] = float(group["selection.keep"].iloc[0])
        for percentile, column in sorted(names.items()):
            values = ends[column].astype(float)
            spread = {"low": values.min(), "middle": values.median(), "high": values.max()}
            rows.append(named | {"percentile": percentile} | spread)
    found = pd.DataFrame(rows)
    return found.astype({"method": runs["method"].dtype})


def search(runs, metrics, metric: str = "test_accuracy", price: float = 0.0):
    """The settings that were tried, best first: median over seeds of the level that `metric` ends on, of what a client
    sends in a round (`upload`, share of d float32 numbers), and of the score: metric - price * upload."""
    import pandas as pd

    from fewbits.analysis.budgets import message_bits
    from fewbits.analysis.cells import ends

    curves = curves_of(runs, metrics, ["bits_up", metric])
    table = ends(runs, metrics, metric, "floor").rename(columns={"_value": metric})
    bits = [message_bits(curves[run]) for run in runs["run"]]
    table["upload"] = pd.Series(bits, index=runs.index) / (32 * runs["constants.dim"])
    table["score"] = table[metric] - price * table["upload"]
    columns = varying(runs)
    found = table.groupby(columns, sort=False, dropna=False)[[metric, "upload", "score"]].median()
    return found.sort_values("score", ascending=False).reset_index()
