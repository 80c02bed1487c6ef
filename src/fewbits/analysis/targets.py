"""Estimators of when runs reach a target, and which do."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from fewbits.analysis.errors import AnalysisError
from fewbits.analysis.of_metric import OfMetric, bits


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


class BitsToTarget(ToTarget):
    """Uplink bits per client until the target (inf: never)."""

    unit: ClassVar[str] = "bit"
    axis: Literal["real", "paper"] = "real"

    def needed(self) -> list[str]:
        return [*super().needed(), "bits_up" if self.axis == "real" else "bits_up_values"]

    def axis_values(self, curve):
        return bits(curve, self.axis)


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
