"""What a change of the method brings, seed by seed: the same partition, start and cohorts with and without it."""

from __future__ import annotations

from fewbits.analysis.errors import AnalysisError
from fewbits.analysis.spectra import skew, skews

LEVEL = 0.95


def differences(runs, pairs: dict[str, list[str]], metric: str):
    """A row for each pair, skew and seed: `pair`, `skew`, `seed`, `without`, `gain`.

    pairs: name -> [method without, method with]; metric: a column of what runs ended with, such as final.test_accuracy.
    """
    import pandas as pd

    if metric not in runs:
        raise AnalysisError(f"metric: found {metric!r}, which no run has")
    runs = runs.assign(skew=[skew(row) for _, row in runs.iterrows()])
    order, out = skews(runs), []
    for pair, (first, second) in pairs.items():
        sides = [runs[runs["method"] == name] for name in (first, second)]
        for name, side in zip((first, second), sides, strict=True):
            if side.empty:
                raise AnalysisError(f"pairs: found {name!r}, a method that no selected run has")
        both = sides[0].merge(sides[1], on=["skew", "seed"], suffixes=("", "_with"))
        if both.duplicated(["skew", "seed"]).any():
            raise AnalysisError(f"pairs: {pair!r} has several runs of one seed: add to select")
        gain = both[f"{metric}_with"] - both[metric]
        own = pd.DataFrame({"skew": both["skew"], "seed": both["seed"], "without": both[metric]})
        own = own.assign(pair=pair, gain=gain, _order=own["skew"].map(order.index))
        out.append(own.sort_values(["_order", "seed"]))
    return pd.concat(out, ignore_index=True)


def interval(values) -> tuple[float, float, float]:
    """Mean over seeds and its 95 % t interval, which for one seed is the value."""
    from scipy.stats import t

    middle, count = float(values.mean()), len(values)
    half = t.ppf((1 + LEVEL) / 2, count - 1) * values.std(ddof=1) / count**0.5 if count > 1 else 0.0
    return middle, middle - half, middle + half


def gains(runs, metrics, pairs: dict, metric: str = "final.test_accuracy"):
    """Paired differences: means over seeds, with 95 % t intervals of the difference, and how many seeds gained."""
    import pandas as pd

    found = differences(runs, pairs, metric)
    rows = []
    for (pair, name), own in found.groupby(["pair", "skew"], sort=False):
        row = {"method": pair, "rows": name, "seeds": len(own), "without": own["without"].mean()}
        row |= dict(zip(("gain", "gain low", "gain high"), interval(own["gain"]), strict=True))
        rows.append(row | {"seeds that gained": f"{int((own['gain'] > 0).sum())} of {len(own)}"})
    return pd.DataFrame(rows)
