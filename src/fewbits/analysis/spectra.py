"""Spectra of representations (fewbits/spectra.py): numbers of dimensional collapse, for figures, tables and claims.

A kind or an estimator with `reads = "spectra"` gets this table in the place of the runs' metrics.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from fewbits.analysis.errors import AnalysisError
from fewbits.analysis.per_run import Estimator, Selection, by_seed

FLOOR = 1e-12  # singular values below it are rounding errors of those above
ALONE = "one place"


def load(study: dict, folder: Path):
    """spectra.csv, `singular` as arrays. Raises AnalysisError."""
    import numpy as np
    import pandas as pd

    path = Path(folder) / "spectra.csv"
    if not path.is_file():
        raise AnalysisError(f"{path}: no such file; run: fewbits spectra")
    rows = pd.read_csv(path, converters={"singular": lambda text: np.array(text.split(), float)})
    return rows


def of_runs(runs, rows):
    """The rows of these runs at the last round kept, with the runs' columns and `skew`."""
    last = rows.groupby("run")["round"].transform("max")
    chosen = rows[rows["round"] == last].merge(runs, on="run", suffixes=("", "_of_run"))
    if chosen.empty:
        raise AnalysisError("spectra.csv has no rows of the selected runs")
    return chosen.assign(skew=[skew(row) for _, row in chosen.iterrows()])


def skew(run) -> str:
    """How a run's rows were divided, in words: by alpha, `iid`, or `one place`."""
    if run["partition.clients"] == 1:
        return ALONE
    alpha = run.get("partition.alpha", math.nan)
    return str(run["partition"]) if math.isnan(alpha) else f"α = {alpha:g}"


def skews(rows) -> list[str]:
    """The values of `skew` from the most skewed: by alpha, other partitions, one place."""
    named = rows.drop_duplicates("skew")
    alphas = named.get("partition.alpha", named["partition.clients"] * math.nan)
    place = alphas.fillna(math.inf) + (named["skew"] == ALONE).map({True: math.nan, False: 0.0})
    return list(named.assign(_place=place).sort_values("_place", na_position="last")["skew"])


def effective_rank(singular) -> float:
    """exp of the entropy of the singular values, as shares of their sum (Roy and Vetterli, EUSIPCO 2007)."""
    import numpy as np

    shares = singular[singular > 0] / singular.sum() if singular.any() else np.ones(1)
    return float(np.exp(-(shares * np.log(shares)).sum()))


class Spectrum(Estimator):
    """A number of the spectrum at the last round kept: that of the global model, or the mean over local ones.

    value: `effective_rank`; `live`, `dead` features; `correlation` (mean squared, of live features); `above`, how many singular
    values are above `least`; `log10` of the singular value `index` (from 1). along: a column; then Spearman's correlation of
    it with the value over a seed's runs, in which runs without the column come last.
    """

    reads: ClassVar[str] = "spectra"
    grid: str | list[str] | None = None
    select: dict = Field(default_factory=dict)
    model: Literal["global", "local"] = "global"
    value: Literal["effective_rank", "live", "dead", "correlation", "above", "log10"]
    least: Annotated[float, Field(gt=0)] = 1e-3
    index: Annotated[int, Field(ge=1)] = 5
    along: str | None = None

    def measure(self, runs, rows):
        chosen = Selection(grid=self.grid, select=self.select).pick(runs)
        own = of_runs(chosen, rows)
        own = own[own["model"] == self.model]
        values = own.assign(_value=[self.number(row) for _, row in own.iterrows()])
        found = values.groupby("run", sort=False)["_value"].mean()
        chosen = chosen.assign(_value=chosen["run"].map(found))
        if chosen["_value"].isna().all():
            raise AnalysisError("spectra.csv has no rows of the selected runs")
        if self.along is None:
            return by_seed(chosen, "one", small=True)
        return self._ordered(chosen)

    def number(self, row) -> float:
        """The value of one model's row."""
        singular = row["singular"]
        if self.value == "effective_rank":
            return effective_rank(singular)
        if self.value == "above":
            return float((singular > self.least).sum())
        if self.value == "log10":
            return math.log10(max(singular[self.index - 1], FLOOR))
        return float(row["features"] - row["dead"] if self.value == "live" else row[self.value])

    def _ordered(self, chosen):
        from scipy.stats import spearmanr

        if self.along not in chosen:
            raise AnalysisError(f"along: found {self.along!r}, which no run has")
        order = chosen[self.along].astype(float).fillna(math.inf)
        pairs = chosen.assign(_order=order).groupby("seed", sort=True)[["_order", "_value"]]
        series = pairs.apply(lambda part: float(spearmanr(part["_order"], part["_value"])[0]))
        series.attrs |= {"runs": list(chosen["run"]), "tuned": ""}
        return series


def collapse(runs, rows):
    """What the last round's models make of the test rows, by method and skew: medians over seeds, with intervals for
    accuracy and effective rank."""
    import pandas as pd

    from fewbits.analysis.intervals import summarise

    rows = of_runs(runs, rows)
    rows["_rank"] = [effective_rank(singular) for singular in rows["singular"]]
    each = rows.groupby(["method", "skew", "run", "model"], observed=True, sort=False)
    numbers = each[["_rank", "dead", "correlation"]].mean().unstack("model")
    ends = runs.set_index("run")["final.test_accuracy"]
    out = []
    for method in runs["method"].cat.categories:
        for name in skews(rows):
            if (method, name) not in numbers.index.droplevel("run"):
                continue
            own = numbers.loc[(method, name)]
            row = {"method": method, "rows": name, "seeds": len(own)}
            for title, values in {
                "test accuracy": ends[own.index],
                "effective rank": own[("_rank", "global")],
            }.items():
                found = summarise(values, f"collapse/{method}/{name}/{title}")
                row |= dict(zip((title, f"{title} low", f"{title} high"), found, strict=True))
            row["local"] = own[("_rank", "local")].median()
            row["dead"] = own[("dead", "global")].median()
            row["mean r²"] = own[("correlation", "global")].median()
            out.append(row)
    return pd.DataFrame(out)


collapse.reads = "spectra"
