"""Estimators of one recorded metric of every run: its last value, its best, the level it ends on."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from fewbits.analysis.per_run import PerRun

Share = Annotated[float, Field(gt=0, le=1)]


class OfMetric(PerRun):
    metric: str = "grad_sq"
    better: Literal["lower", "higher"] | None = None

    def direction(self) -> str:
        from fewbits.analysis.curve import direction

        return self.better or direction(self.metric)

    def best_is_small(self) -> bool:
        return self.direction() == "lower"


class Final(OfMetric):
    """The last recorded value, of the first `until` rounds if that is given; infinite for a run that diverged."""

    until: Annotated[int, Field(ge=0)] | None = None

    def value(self, curve, run) -> float:
        from fewbits.analysis.curve import cleaned, level

        if self.until is not None:
            seen = curve[curve["round"] <= self.until]
            return float(cleaned(seen[self.metric], self.direction())[-1])
        return level(curve[self.metric].iloc[-1:], run["status"], 1.0, self.direction())


class Best(OfMetric):
    """The best recorded value, of the first `until` rounds if that is given."""

    until: Annotated[int, Field(ge=0)] | None = None

    def value(self, curve, run) -> float:
        from fewbits.analysis.curve import running_best

        seen = curve if self.until is None else curve[curve["round"] <= self.until]
        return float(running_best(seen[self.metric], self.direction())[-1])


class Rise(OfMetric):
    """How far a metric gets worse again: its worst value after the best of the first `until` rounds, over that best.

    The inverse for a metric that is better when higher, so that 1 is always "does not get worse".
    """

    until: Annotated[int, Field(ge=0)]

    def best_is_small(self) -> bool:
        return True

    def value(self, curve, run) -> float:
        from fewbits.analysis.curve import cleaned

        values = cleaned(curve[self.metric], self.direction())
        seen = values[(curve["round"] <= self.until).to_numpy()]
        if self.direction() == "lower":
            return float(values[seen.argmin() :].max() / seen.min())
        return float(seen.max() / values[seen.argmax() :].min())


class Floor(OfMetric):
    """The level a run ends on: median over the last `share` of its recorded rows.

    The last value where the run was stopped for having converged, infinite where it diverged.
    """

    share: Share = 0.2

    def value(self, curve, run) -> float:
        from fewbits.analysis.curve import level

        return level(curve[self.metric], run["status"], self.share, self.direction())


class Spread(OfMetric):
    """How much a run swings: the standard deviation over the last `share` of its recorded rows."""

    share: Share = 0.5

    def best_is_small(self) -> bool:
        return True

    def value(self, curve, run) -> float:
        rows = max(2, math.ceil(self.share * len(curve)))
        return float(curve[self.metric].iloc[-rows:].std())


class Mean(OfMetric):
    """The mean of the recorded values after the first row; infinite for a run that diverged."""

    def value(self, curve, run) -> float:
        if run["status"] == "diverged":
            return math.inf if self.best_is_small() else -math.inf
        return float(curve[self.metric].iloc[1:].mean())


def bits(curve, axis: str):
    """Cumulative uplink bits per client of a run's rows, on the real or the paper's axis."""
    if axis == "real":
        return curve["bits_up"].to_numpy(float)
    values = curve["bits_up_values"].to_numpy(float)
    return values - values[0]


class AtBits(OfMetric):
    """The last value recorded before a client has sent more than `bits`."""

    bits: Annotated[float, Field(gt=0)]
    axis: Literal["real", "paper"] = "real"

    def needed(self) -> list[str]:
        return [*super().needed(), "bits_up" if self.axis == "real" else "bits_up_values"]

    def value(self, curve, run) -> float:
        from fewbits.analysis.curve import cleaned

        sent = bits(curve, self.axis)
        return float(cleaned(curve[self.metric], self.direction())[sent <= self.bits][-1])


class Slope(OfMetric):
    """Rate of a log-linear decay: the least-squares slope of log10(metric).

    Against rounds or, with `per: kbit`, against kbit sent; over the rows after the first `skip` share
    and while the metric is above `above`.
    """

    per: Literal["rounds", "kbit"] = "rounds"
    above: float = 0.0
    skip: Annotated[float, Field(ge=0, lt=1)] = 0.0

    def value(self, curve, run) -> float:
        from fewbits.analysis.curve import slope

        x = curve["round"].to_numpy(float) if self.per == "rounds" else bits(curve, "real") / 1000
        return slope(x, curve[self.metric], self.above, self.skip)
