"""How clients fare under each method, in numbers, beside training alone."""

from __future__ import annotations

from fewbits.analysis.errors import AnalysisError

COLUMNS = {
    "accuracy": "client_test_accuracy",
    "worst tenth": "client_test_accuracy_low",
    "variance": "client_test_variance",
}


def clients(runs, metrics, by: list | None = None, beside: str = "local"):
    """Per method, at the setting with the best mean accuracy: accuracy on the (benign) clients' own test rows, that of the worst tenth, its
    variance over clients (in squared points), and the paired difference to the method `beside`, in points.

    Medians over seeds with 95 % intervals; bits of a client and round, each way. by: columns that tell groups of rows apart.
    """
    import pandas as pd

    from fewbits.analysis.intervals import summarise
    from fewbits.analysis.per_run import tuned
    from fewbits.analysis.selection import curves_of, describe, varying

    by = by or ["partition"]
    for column in by:
        if column not in runs:
            raise AnalysisError(f"options.by: found {column!r}, which no run has")
    needed = ["round", "bits_up", "bits_down", *COLUMNS.values()]
    curves = curves_of(runs, metrics, needed)
    last = pd.DataFrame([curves[run].iloc[-1] for run in runs["run"]], index=runs.index)
    runs = runs.assign(**{f"_{name}": last[column] for name, column in COLUMNS.items()})
    runs = runs.assign(
        _value=runs["_accuracy"],
        _up=last["bits_up"] / last["round"],
        _down=last["bits_down"] / last["round"],
    )
    rows = []
    for key, group in runs.groupby(by, sort=False, dropna=False):
        alone = group[group["method"] == beside].set_index("seed")["_accuracy"]
        for method, own in group.groupby("method", observed=True, sort=True):
            columns = [c for c in varying(own) if not c.startswith("_")]
            best = tuned(own, columns, small=False) if columns else own
            row = dict(zip(by, key, strict=True)) | {"method": str(method)}
            row["setting"] = describe(
                best.iloc[0], [c for c in columns if c != "algorithm.reference_step"]
            )
            gain = 100 * (best.set_index("seed")["_accuracy"] - alone)
            parts = {"accuracy": 100 * best["_accuracy"], "worst tenth": 100 * best["_worst tenth"]}
            parts |= {"variance": 1e4 * best["_variance"], f"minus {beside}": gain.dropna()}
            for name, values in parts.items():
                label = f"clients/{'/'.join(map(str, key))}/{method}/{name}"
                found = summarise(values.to_numpy(), label) if len(values) else (float("nan"),) * 3
                edges = (name, f"{name} low", f"{name} high")
                row |= dict(zip(edges, (round(value, 2) for value in found), strict=True))
            row |= {
                "kbit up": float(best["_up"].median()) / 1e3,
                "kbit down": float(best["_down"].median()) / 1e3,
            }
            rows.append(row)
    return pd.DataFrame(rows)
