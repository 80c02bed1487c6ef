"""Estimators that hold runs against each other, pair by pair."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from fewbits.analysis.errors import AnalysisError
from fewbits.analysis.per_run import Estimator, Selection


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
