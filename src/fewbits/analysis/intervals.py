"""Confidence intervals over seeds."""

from __future__ import annotations

import hashlib
import warnings

LEVEL = 0.95
RESAMPLES = 4999


def summarise(values, name: str, level: float = LEVEL) -> tuple[float, float, float]:
    """(median, low, high) of one value per seed: percentile bootstrap of the median.

    `name` seeds the resampling, so the same name and values give the same interval. Infinite values
    (a target never reached) are kept: quantiles are taken without interpolation. With one value, or
    equal values, the interval is that value.
    """
    import numpy as np
    from scipy.stats import bootstrap

    values = np.asarray(values, dtype=float)
    if np.isnan(values).any():
        return (float("nan"),) * 3
    middle = float(np.median(values))
    if np.all(values == values[0]):
        return middle, middle, middle
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore")  # SciPy's own interval is undefined for infinite medians
        resampled = bootstrap(
            (values,), np.median, n_resamples=RESAMPLES, confidence_level=level,
            method="percentile", vectorized=True, axis=-1, rng=np.random.default_rng(seed),
        ).bootstrap_distribution  # fmt: skip
    tail = (1 - level) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail], method="inverted_cdf")
    return middle, float(low), float(high)
