"""What was measured of operators (fewbits/measure.py): the table that figures, tables and estimators read.

A kind or an estimator with `reads = "operators"` gets this table in the place of the runs' metrics.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from fewbits.analysis.errors import AnalysisError
from fewbits.analysis.per_run import Estimator, Selection

DENSE = 32  # bits of a number in the array that a budget is a share of
SLACK = 1.001  # a message is as long as asked for up to this factor
GROUPS = ("model.net", "kind")  # what tensors are told apart by
KINDS = {"linear": "linear layers", "conv": "convolution kernels"}
TENSOR = ("run", "round", "source", "client", "layer")
SOURCES = {"update": "gradient", "residual": "EF21 residual"}


def load(study: dict, folder: Path):
    """operators.csv, with the operators' labels. Raises AnalysisError."""
    import pandas as pd

    path = Path(folder) / "operators.csv"
    if not path.is_file():
        raise AnalysisError(f"{path}: no such file; run: fewbits measure")
    labels = {name: item["label"] for name, item in (study["operators"]["of"]).items()}
    rows = pd.read_csv(path, low_memory=False)
    rows["operator"] = pd.Categorical(rows["operator"], list(labels), ordered=True)
    return rows.assign(label=rows["operator"].map(labels).astype(str))


def of_runs(runs, rows):
    """The rows of these runs, with the runs' columns."""
    chosen = rows.merge(runs, on="run", suffixes=("", "_of_run"))
    if chosen.empty:
        raise AnalysisError("operators.csv has no rows of the selected runs")
    return chosen


def too_long(rows, budget=None):
    """Where a message is longer than this share of dense, or than its own budget (it has none: not too long).

    Its length is what C says beforehand: of messages whose length depends on chance, those that came out short are not
    picked. Where the data decide, it is what was sent.
    """
    length = rows["bits_expected"].fillna(rows["bits"])
    share = rows["budget"] if budget is None else budget
    return length > SLACK * DENSE * share * rows["numbers"]


def on_all(rows, budget=None):
    """The operators, at the budgets, that were measured on all tensors of `rows` with no message too long.

    A mean over the tensors where an operator happens to be short enough would compare it on other tensors than the rest.
    """
    tensors = len(rows.drop_duplicates(list(TENSOR)))
    each = [rows["operator"], rows["budget"].fillna(0)]
    good = (~too_long(rows, budget)).groupby(each, observed=True).transform("sum")
    return rows[good == tensors]


def gaussian(bits_per_number):
    """The least relative error at which a white Gaussian source can be sent: D(R)/sigma^2 = 2^(-2R)."""
    return 2.0 ** (-2 * bits_per_number)


class OfTensors(Estimator):
    """Base: one number a tensor, then one a seed by `statistic` over the tensors of the selected runs.

    source: update (what a client wants to send) or residual (what the method compressed); kind: linear layers,
    conv kernels, or both; least: tensors of fewer numbers are left out.
    """

    reads: ClassVar[str] = "operators"
    grid: str | list[str] | None = None
    select: dict = Field(default_factory=dict)
    source: Literal["update", "residual"] = "update"
    kind: Literal["linear", "conv"] | None = None
    least: Annotated[int, Field(ge=1)] = 1
    statistic: Literal["mean", "median", "min", "max"] = "mean"

    def values(self, rows):
        raise NotImplementedError

    def measure(self, runs, metrics):
        chosen = Selection(grid=self.grid, select=self.select).pick(runs)
        rows = of_runs(chosen, metrics)
        rows = rows[rows["source"].eq(self.source) & rows["numbers"].ge(self.least)]
        rows = rows[rows["kind"] == self.kind] if self.kind else rows
        if rows.empty:
            raise AnalysisError(f"no {self.kind or 'layer'} of source {self.source} was measured")
        series = self.values(rows).groupby(rows["seed"]).agg(self.statistic)
        series.attrs |= {"runs": list(chosen["run"]), "tuned": ""}
        return series


class OperatorError(OfTensors):
    """Relative squared error of an operator at a budget (none: it has a size of its own).

    relative_to "gaussian": over 2^(-2R), R the bits a number it really took. Where a message was longer than the budget, the value is
    undefined.
    """

    operator: str
    budget: Annotated[float, Field(gt=0, le=1)] | None = None
    relative_to: Literal["energy", "gaussian"] = "energy"

    def values(self, rows):
        at = rows["budget"].isna() if self.budget is None else rows["budget"] == self.budget
        own = rows[at & (rows["operator"] == self.operator)]
        if own.empty:
            raise AnalysisError(f"operator {self.operator!r} was not measured at {self.budget}")
        bad = own.loc[too_long(own), "seed"].unique()  # one undefined value makes its seed's so
        bound = gaussian(own["bits"] / own["numbers"])
        error = own["error"] / (bound if self.relative_to == "gaussian" else 1.0)
        return error.where(~own["seed"].isin(bad))


class StableRank(OfTensors):
    """|M|_F^2 / sigma_1^2 of the layers as matrices."""

    def values(self, rows):
        return rows.drop_duplicates(["run", "round", "client", "layer"])["stable_rank"]


def operator_errors(
    runs, rows, budget: float, by: list | None = None, operators: list | None = None
):
    """Mean relative squared error of every operator at one budget, a column for each group of layers and source.

    Operators with a size of their own are there if they are not longer than the budget. An empty cell: the
    shortest message is longer, on one tensor or more, or the operator was left off. The last row is the bound for a
    Gaussian source.
    """
    import pandas as pd

    rows = of_runs(runs, rows)
    rows = rows[rows["budget"].isna() | rows["budget"].eq(budget)]
    if operators:
        rows = rows[rows["operator"].isin(operators)]
    columns = {}
    for group, inside in groups(rows, by):
        for source, title in SOURCES.items():
            own = inside[inside["source"] == source]
            if len(own):
                of = on_all(own, budget).groupby("operator", observed=True)
                columns[f"{group}: {title}"] = of["error"].mean()
    table = _by_operator(rows, pd.DataFrame(columns))
    bound = dict.fromkeys(columns, gaussian(DENSE * budget)) | {"operator": "Gaussian bound"}
    return pd.concat([table, pd.DataFrame([bound])], ignore_index=True)


def operator_sizes(runs, rows, source: str = "update", by: list | None = None):
    """What operators with a size of their own send, in per cent of dense float32, and their relative squared error: means
    over the tensors of a source, two columns for each group of layers."""
    import pandas as pd

    if source not in SOURCES:
        raise AnalysisError(f"source: found {source!r}; allowed: {', '.join(SOURCES)}")
    rows = of_runs(runs, rows)
    rows = rows[rows["budget"].isna() & rows["source"].eq(source)]
    columns = {}
    for group, inside in groups(rows, by):
        share = 100 * inside["bits"] / (DENSE * inside["numbers"])
        each = inside.assign(share=share).groupby("operator", observed=True)
        columns[f"{group}: sent (%)"] = each["share"].mean()
        columns[f"{group}: error"] = each["error"].mean()
    return _by_operator(rows, pd.DataFrame(columns))


def _by_operator(rows, table):
    """The table's rows in the order of the study's operators, those without a number left out, called by their labels."""
    labels = rows.drop_duplicates("operator").set_index("operator")["label"].sort_index()
    found = table.reindex(labels.index).dropna(how="all")
    return found.assign(operator=labels[found.index])[["operator", *table]].reset_index(drop=True)


def stable_ranks(runs, rows, by: list | None = None):
    """Least, median and largest stable rank of the layers, by group and source."""
    import pandas as pd

    rows = of_runs(runs, rows).drop_duplicates(list(TENSOR))
    out = []
    for group, inside in groups(rows, by):
        for source, title in SOURCES.items():
            own = inside.loc[inside["source"] == source, "stable_rank"]
            if len(own):
                row = {"layers": group, "of": title, "tensors": len(own)}
                out.append(row | {n: getattr(own, n)() for n in ("min", "median", "max")})
    return pd.DataFrame(out)


operator_errors.reads = operator_sizes.reads = stable_ranks.reads = "operators"


def groups(rows, by: list | None = None):
    """(title, rows) of each group of layers, in the table's order."""
    by = list(by or GROUPS)
    for column in by:
        if column not in rows:
            raise AnalysisError(f"by: found {column!r}, which is no column of runs or operators")
    for key, inside in rows.groupby(by, sort=False, dropna=False):
        words = [KINDS.get(word, str(word).replace("_", " ")) for word in key]
        yield ", ".join(words), inside
