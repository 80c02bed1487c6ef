"""The base of estimators: values per run, then one per seed.

An estimator is a pydantic model whose fields are the options; `measure(runs, metrics)` gives one
value per seed (a Series indexed by seed, whose attrs name the `runs` used and a `note`), or raises
AnalysisError when the runs or the metric are not there.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from fewbits.analysis.errors import AnalysisError


class Estimator(BaseModel):
    """Base of all. `unit` is the unit of the values; `everywhere` marks statements about every
    single run. `reads` is the table that `measure` is given: metrics or operators."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    reads: ClassVar[str] = "metrics"
    unit: ClassVar[str] = ""
    everywhere: ClassVar[bool] = False

    estimator: str = ""

    def measure(self, runs, metrics):
        raise NotImplementedError


class Selection(BaseModel):
    """Runs by grid and by column values (a list means any of them)."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    grid: str | list[str] | None = None
    select: dict[str, Any] = Field(default_factory=dict)

    def pick(self, runs):
        from fewbits.analysis.selection import pick

        return pick(runs, self.grid, self.select)


class PerRun(Estimator):
    """One value per run, then one per seed.

    `over` says what to do where a seed has several runs: `one` (that is an error), `min`, `max`,
    `median`, or `tuned`: take the setting whose median over the seeds is best, as papers do that
    tune k and the step.
    """

    grid: str | list[str] | None = None
    select: dict[str, Any] = Field(default_factory=dict)
    over: Literal["one", "min", "max", "median", "tuned"] = "one"
    smaller_is_better: ClassVar[bool] = True

    def needed(self) -> list[str]:
        return ["round", self.metric]

    def value(self, curve, run) -> float:
        raise NotImplementedError

    def measure(self, runs, metrics):
        from fewbits.analysis.selection import curves_of, pick

        chosen = pick(runs, self.grid, self.select)
        curves = curves_of(chosen, metrics, self.needed())
        values = [self.value(curves[row["run"]], row) for _, row in chosen.iterrows()]
        return by_seed(chosen.assign(_value=values), self.over, self.best_is_small())

    def best_is_small(self) -> bool:
        return self.smaller_is_better


def by_seed(chosen, over: str, small: bool):
    """Series of `_value` indexed by seed; `attrs` hold the runs used and the setting that was
    tuned."""
    from fewbits.analysis.selection import varying

    columns = varying(chosen)
    note = ""
    if over == "one" and chosen["seed"].duplicated().any():
        raise AnalysisError(
            f"several runs per seed, differing in {', '.join(columns) or 'nothing but their id'}: "
            "add to select, or set over: tuned, min, max or median"
        )
    if over == "tuned" and columns:
        tried, chosen = chosen, tuned(chosen, columns, small)
        note = told(chosen, tried, columns)
    grouped = chosen.groupby("seed", sort=True)["_value"]
    series = getattr(grouped, over)() if over in ("min", "max", "median") else grouped.first()
    series.attrs |= {"runs": list(chosen["run"]), "tuned": note}
    return series


def told(best, tried, columns: list[str]) -> str:
    """The tuned setting in words; of a step at the end of what was tried also that, since a better one may lie beyond."""
    from fewbits.analysis.selection import describe

    text = describe(best.iloc[0], columns)
    for column in columns:
        values = tried[column].dropna()
        if column.startswith("step.") or column.endswith(".step"):
            for word, end in (("smallest", values.min()), ("largest", values.max())):
                text += f" ({word} tried)" if best[column].iloc[0] == end else ""
    return text


def tuned(chosen, columns: list[str], small: bool):
    """The runs of the setting whose median `_value` over seeds is best (the first such in the
    manifest)."""
    medians = chosen.groupby(columns, sort=False, dropna=False)["_value"].median()
    best = medians.fillna(math.inf if small else -math.inf)
    wanted = best.idxmin() if small else best.idxmax()
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    for column, value in zip(columns, wanted, strict=True):
        same = chosen[column].isna() if value != value else chosen[column] == value
        chosen = chosen[same]
    return chosen
