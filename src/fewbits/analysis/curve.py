"""Numbers read off one recorded curve. Plain NumPy; NaN in a lower-is-better metric counts as
infinite.

All take x (rounds or bits, increasing) and y (the metric) of equal length.
"""

from __future__ import annotations

import numpy as np


def direction(metric: str) -> str:
    """Which way a metric is better: `higher` for accuracies, `lower` for all else."""
    return "higher" if "accuracy" in metric else "lower"


def cleaned(y, better: str = "lower") -> np.ndarray:
    """y as floats with NaN (a diverged run's values) put at the bad end."""
    y = np.asarray(y, dtype=float)
    return np.where(np.isnan(y), np.inf if better == "lower" else -np.inf, y)


def running_best(y, better: str = "lower") -> np.ndarray:
    accumulate = np.minimum if better == "lower" else np.maximum
    return accumulate.accumulate(cleaned(y, better))


def reach(x, y, target: float, better: str = "lower", interpolate: str = "linear") -> float:
    """The x at which the running best of y first reaches `target`; inf if it never does.

    Between two records the running best is interpolated linearly, or, with `interpolate="log"`,
    linearly in log y: squared gradient norms fall by factors, so a straight line between distant
    records would come too late.
    """
    x = np.asarray(x, dtype=float)
    best = running_best(y, better)
    reached = best <= target if better == "lower" else best >= target
    if not reached.any():
        return float("inf")
    i = int(np.argmax(reached))
    if i == 0 or not np.isfinite(best[i - 1]):
        return float(x[i])
    before, after, wanted = best[i - 1], best[i], target
    if interpolate == "log" and min(after, target) > 0:
        before, after, wanted = np.log(before), np.log(after), np.log(wanted)
    share = (before - wanted) / (before - after)
    return float(x[i - 1] + share * (x[i] - x[i - 1]))


def level(y, status: str, share: float, better: str = "lower") -> float:
    """What a run ends on: infinite (at the bad end) if it diverged, its last value if it was stopped
    for having converged, else its `floor`."""
    if status == "diverged":
        return float("inf") if better == "lower" else float("-inf")
    return float(cleaned(y, better)[-1]) if status == "converged" else floor(y, share, better)


def floor(y, share: float, better: str = "lower") -> float:
    """Median over the last `share` of the recorded rows (at least one row)."""
    y = cleaned(y, better)
    rows = max(1, int(np.ceil(share * len(y))))
    return float(np.median(y[-rows:]))


def slope(x, y, above: float = 0.0, skip: float = 0.0) -> float:
    """Least-squares slope of log10 y against x, over rows after the first `skip` share while y >
    `above`.

    NaN with fewer than two usable rows.
    """
    x, y = np.asarray(x, dtype=float), cleaned(y)
    low = np.flatnonzero(y <= max(above, 0.0))
    end = int(low[0]) if len(low) else len(y)
    keep = np.arange(len(y)) >= int(skip * len(y))
    keep &= (np.arange(len(y)) < end) & np.isfinite(y)
    if keep.sum() < 2:
        return float("nan")
    return float(np.polyfit(x[keep], np.log10(y[keep]), 1)[0])


def worst_ratio(lhs, rhs, ignore_below: float = 0.0) -> float:
    """max lhs/rhs over the rounds whose rhs exceeds `ignore_below` (rounding error is all that is
    left there)."""
    lhs, rhs = np.asarray(lhs, dtype=float), np.asarray(rhs, dtype=float)
    usable = np.isfinite(lhs) & np.isfinite(rhs) & (rhs > ignore_below)
    return float(np.max(lhs[usable] / rhs[usable])) if usable.any() else float("nan")
