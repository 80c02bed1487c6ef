"""Named estimators: what a claim's `measure` may ask for.

An estimator is a pydantic model whose fields are the options; `measure(runs, metrics)` gives one
value per seed (a Series indexed by seed), or raises AnalysisError when the runs or the metric are
not there. Importing this module is cheap, because study files are checked against it.

Conventions. A metric is better when lower unless its name contains "accuracy" or `better: higher`
says so. A run that diverged has the value inf (lower is better). Bits are means per client, uplink:
`axis: real` counts every bit of the encoded messages, `axis: paper` the literature's 32 bits per
sent value without the start-up message.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from fewbits.analysis.errors import AnalysisError
from fewbits.analysis.inequalities import (
    Contraction,
    DistortionRecursion,
    Ef21Rate,
    LyapunovDescent,
    PlRate,
)
from fewbits.analysis.operators import OperatorError, StableRank
from fewbits.analysis.per_run import Estimator, PerRun, Selection
from fewbits.analysis.projections import Projection
from fewbits.analysis.spectra import Spectrum

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


class ToTarget(OfMetric):
    """Where the running best first reaches `target`.

    Metrics that are positive and fall by factors (grad_sq, grad_norm, loss_gap, distortion) are interpolated
    linearly in their logarithm, the others linearly, unless `interpolate` says otherwise.
    """

    target: float
    interpolate: Literal["linear", "log"] | None = None

    def best_is_small(self) -> bool:
        return True  # fewer rounds, fewer bits

    def axis_values(self, curve):
        raise NotImplementedError

    def value(self, curve, run) -> float:
        from fewbits.analysis.curve import reach

        falls = self.metric in ("grad_sq", "grad_norm", "loss_gap", "distortion")
        way = self.interpolate or ("log" if falls else "linear")
        x = self.axis_values(curve)
        return reach(x, curve[self.metric], self.target, self.direction(), way)


class RoundsToTarget(ToTarget):
    """Rounds until the target (inf: never)."""

    unit: ClassVar[str] = "rounds"

    def axis_values(self, curve):
        return curve["round"].to_numpy(float)


class SecondsToTarget(ToTarget):
    """Simulated seconds until the target (inf: never)."""

    unit: ClassVar[str] = "s"

    def needed(self) -> list[str]:
        return [*super().needed(), "seconds"]

    def axis_values(self, curve):
        return curve["seconds"].to_numpy(float)


def bits(curve, axis: str):
    """Cumulative uplink bits per client of a run's rows, on the real or the paper's axis."""
    if axis == "real":
        return curve["bits_up"].to_numpy(float)
    values = curve["bits_up_values"].to_numpy(float)
    return values - values[0]


class BitsToTarget(ToTarget):
    """Uplink bits per client until the target (inf: never)."""

    unit: ClassVar[str] = "bit"
    axis: Literal["real", "paper"] = "real"

    def needed(self) -> list[str]:
        return [*super().needed(), "bits_up" if self.axis == "real" else "bits_up_values"]

    def axis_values(self, curve):
        return bits(curve, self.axis)


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


class Reaching(ToTarget):
    """Base of the estimators that ask which of a seed's runs reach the target."""

    def axis_values(self, curve):
        return curve["round"].to_numpy(float)

    def reached(self, runs, metrics):
        from fewbits.analysis.selection import curves_of, pick

        chosen = pick(runs, self.grid, self.select)
        curves = curves_of(chosen, metrics, self.needed())
        reached = [math.isfinite(self.value(curves[r["run"]], r)) for _, r in chosen.iterrows()]
        return chosen.assign(_reached=reached)


class LargestFactor(Reaching):
    """The largest `step.factor` at which a seed's run reaches the target; 0 if none does."""

    def measure(self, runs, metrics):
        chosen = self.reached(runs, metrics)
        if "step.factor" not in chosen or chosen["step.factor"].isna().any():
            raise AnalysisError("largest_factor needs runs with a step.factor")
        others = varying_but_factor(chosen)
        if others and self.over == "one":
            raise AnalysisError(
                f"several runs per seed and factor, differing in {', '.join(others)}: "
                "add to select, or set over: max"
            )
        factor = chosen["step.factor"].where(chosen["_reached"], 0.0)
        series = factor.astype(float).groupby(chosen["seed"]).max()
        series.attrs |= {"runs": list(chosen["run"]), "tuned": ""}
        return series


def varying_but_factor(chosen) -> list[str]:
    from fewbits.analysis.selection import varying

    return varying(chosen, without=("seed", "step.factor"))


class ShareReaching(Reaching):
    """The share of a seed's selected runs that reach the target."""

    def measure(self, runs, metrics):
        chosen = self.reached(runs, metrics)
        series = chosen["_reached"].astype(float).groupby(chosen["seed"]).mean()
        series.attrs |= {"runs": list(chosen["run"]), "tuned": ""}
        return series


class OfTwo(Estimator):
    """Base of the estimators that put two others together, seed by seed."""

    parts: ClassVar[tuple[str, str]]
    between: ClassVar[str]

    def model_post_init(self, _context) -> None:
        first, second = (make(getattr(self, name), name) for name in self.parts)
        if first.reads != second.reads:
            raise ValueError(f"{' and '.join(self.parts)} that read the same table")

    @property
    def reads(self) -> str:
        """The table that both parts read."""
        return make(getattr(self, self.parts[0])).reads

    def combine(self, first, second):
        raise NotImplementedError

    def measure(self, runs, metrics):
        both = [make(getattr(self, name)).measure(runs, metrics) for name in self.parts]
        first, second = both
        if set(first.index) != set(second.index):
            names = " and ".join(self.parts)
            raise AnalysisError(f"{self.estimator}: {names} were run with different seeds")
        series = self.combine(first, second.reindex(first.index))
        series.attrs |= {
            "runs": list(dict.fromkeys(run for part in both for run in part.attrs["runs"])),
            "tuned": self.between.join(p.attrs["tuned"] for p in both if p.attrs["tuned"]),
        }
        return series


class Ratio(OfTwo):
    """numerator / denominator, each an estimator of its own, paired by seed.

    x/inf is 0 and x/0 is inf; inf/inf and 0/0 are undefined, which makes a claim inconclusive.
    """

    parts: ClassVar[tuple[str, str]] = ("numerator", "denominator")
    between: ClassVar[str] = " over "
    numerator: dict[str, Any]
    denominator: dict[str, Any]

    def combine(self, first, second):
        ratio = (first / second).where(second != 0, math.inf)
        return ratio.where((first != 0) | (second != 0))


class Difference(OfTwo):
    """of - minus, each an estimator of its own, paired by seed."""

    parts: ClassVar[tuple[str, str]] = ("of", "minus")
    between: ClassVar[str] = " minus "
    of: dict[str, Any]
    minus: dict[str, Any]

    def combine(self, first, second):
        return first - second


class Paired(Estimator):
    """Two selections, `of: [{grid, select}, {grid, select}]`, of runs that pair up.

    Pairs agree in seed and in every other axis along which the runs of a selection differ. One value
    per pair; the largest of a seed counts.
    """

    of: Annotated[list[Selection], Field(min_length=2, max_length=2)]
    metric: str = "grad_sq"

    def compare(self, a, b) -> float:
        raise NotImplementedError

    def measure(self, runs, metrics):
        import pandas as pd

        from fewbits.analysis.selection import curves_of, varying

        left, right = (selection.pick(runs) for selection in self.of)
        told_apart = {name for s in self.of for name in s.select}
        common = [n for n in dict.fromkeys(varying(left) + varying(right)) if n not in told_apart]
        common = [n for n in common if left[n].notna().any() and right[n].notna().any()]
        common += [n for n in varying(left) if n in varying(right) and n not in common]
        keys = ["seed", *common]
        for part in (left, right):
            if part.duplicated(keys).any():
                others = [name for name in varying(part) if name not in keys]
                raise AnalysisError(f"pairs are ambiguous: add {', '.join(others)} to select")
        pairs = pd.merge(left[[*keys, "run"]], right[[*keys, "run"]], on=keys, suffixes=("", "_b"))
        if len(pairs) != len(left) or len(pairs) != len(right):
            raise AnalysisError(
                f"the two selections do not pair up by {', '.join(keys)}: "
                f"{len(left)} and {len(right)} runs, {len(pairs)} pairs"
            )
        used = runs[runs["run"].isin({*pairs["run"], *pairs["run_b"]})]
        curves = curves_of(used, metrics, ["round", self.metric])
        values = [
            self.compare(*self._common_rounds(curves[a], curves[b]))
            for a, b in zip(pairs["run"], pairs["run_b"], strict=True)
        ]
        series = pairs.assign(_value=values).groupby("seed", sort=True)["_value"].max()
        series.attrs |= {"runs": list(used["run"]), "tuned": ""}
        return series

    def _common_rounds(self, a, b):
        a, b = (curve.set_index("round")[self.metric] for curve in (a, b))
        rounds = a.index.intersection(b.index)
        if not len(rounds):
            raise AnalysisError("two paired runs have no recorded round in common")
        return a.loc[rounds].to_numpy(float), b.loc[rounds].to_numpy(float)


class MaxLog10Gap(Paired):
    """Largest distance between the two curves, in powers of ten, over the rounds recorded by both.

    Values that are both infinite or both zero do not differ; one alone is infinitely far.
    """

    unit: ClassVar[str] = "decades"

    def compare(self, a, b) -> float:
        import numpy as np

        same = (a == b) | (np.isnan(a) & np.isnan(b))
        with np.errstate(divide="ignore", invalid="ignore"):
            gap = np.where(same, 0.0, np.abs(np.log10(a) - np.log10(b)))
        return float(np.max(np.where(np.isnan(gap), np.inf, gap)))


class Identical(Paired):
    """The number of recorded rounds at which the two curves differ in any digit."""

    unit: ClassVar[str] = "rounds"
    everywhere: ClassVar[bool] = True

    def compare(self, a, b) -> float:
        import numpy as np

        return float(np.sum((a != b) & ~(np.isnan(a) & np.isnan(b))))


def make(measure: dict, where: str = "measure") -> Estimator:
    """The estimator a `measure` block asks for. Raises AnalysisError with one line per problem."""
    from pydantic import ValidationError

    from fewbits.analysis.errors import nearest

    name = measure.get("estimator")
    if name not in ESTIMATORS:
        known = ", ".join(ESTIMATORS)
        raise AnalysisError(
            f"{where}.estimator: found {name!r}; allowed: {known}{nearest(name, ESTIMATORS)}"
        )
    try:
        return ESTIMATORS[name](**measure)
    except ValidationError as error:
        lines = [_plain(problem, where, ESTIMATORS[name]) for problem in error.errors()]
        raise AnalysisError("\n".join(lines)) from error


def _plain(problem: dict, where: str, cls: type) -> str:
    place = ".".join(str(part) for part in (where, *problem["loc"]))
    if problem["type"] == "extra_forbidden":
        return f"{place}: unknown option; allowed: {', '.join(cls.model_fields)}"
    if problem["type"] == "missing":
        return f"{place}: is required"
    return f"{place}: found {problem['input']!r}; {problem['msg'].lower()}"


ESTIMATORS: dict[str, type[Estimator]] = {
    "final": Final,
    "best": Best,
    "rise": Rise,
    "floor": Floor,
    "spread": Spread,
    "mean": Mean,
    "at_bits": AtBits,
    "rounds_to_target": RoundsToTarget,
    "bits_to_target": BitsToTarget,
    "seconds_to_target": SecondsToTarget,
    "ratio": Ratio,
    "difference": Difference,
    "max_log10_gap": MaxLog10Gap,
    "identical": Identical,
    "largest_factor": LargestFactor,
    "share_reaching": ShareReaching,
    "slope": Slope,
    "contraction": Contraction,
    "ef21_distortion_recursion": DistortionRecursion,
    "lyapunov_descent": LyapunovDescent,
    "ef21_rate": Ef21Rate,
    "pl_rate": PlRate,
    "operator_error": OperatorError,
    "stable_rank": StableRank,
    "projection": Projection,
    "spectrum": Spectrum,
}
