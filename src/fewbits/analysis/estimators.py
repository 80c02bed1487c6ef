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
from typing import Any, ClassVar

from fewbits.analysis.errors import AnalysisError
from fewbits.analysis.inequalities import (
    Contraction,
    DistortionRecursion,
    Ef21Rate,
    LyapunovDescent,
    PlRate,
)
from fewbits.analysis.of_metric import AtBits, Best, Final, Floor, Mean, Rise, Slope, Spread
from fewbits.analysis.operators import OperatorError, StableRank
from fewbits.analysis.pairs import Identical, MaxLog10Gap
from fewbits.analysis.per_run import Estimator
from fewbits.analysis.projections import Projection
from fewbits.analysis.spectra import Spectrum
from fewbits.analysis.targets import (
    BitsToTarget,
    LargestFactor,
    RoundsToTarget,
    SecondsToTarget,
    ShareReaching,
)


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
