"""Which runs a figure, a table or a claim is about, and how they are called.

A run's flat columns are its axes (`algorithm`, `compressor.k`, `step.factor`, `seed`, ...). This
module picks runs by grid and by column values, finds the axes along which the picked ones differ,
and names methods.
"""

from __future__ import annotations

from pathlib import Path

from fewbits.analysis.collect import PLANNED
from fewbits.analysis.errors import AnalysisError, NotDone, nearest

# Columns that say what happened to a run, or how it was recorded, not which experiment it is.
_NOT_AXES = {"run", "study", "grids", "job", "status", "rounds_done", "record_every", "method"}
_NOT_AXES_PREFIXES = ("_", "final.", "best.", "constants.", "stop.", "snapshots.")


def load_tables(folder: Path, methods: dict | None = None):
    """(runs, metrics) of one study's folder, as `collect` wrote them. Floats are read exactly.

    `methods` are the study's own names (name_methods). |grad f|, `grad_norm`, is added to the
    metrics where its square was recorded.
    """
    import pandas as pd

    tables = []
    for name in ("runs.csv", "metrics.csv"):
        path = Path(folder) / name
        if not path.is_file():
            raise AnalysisError(f"{path}: no such file; run: fewbits collect")
        tables.append(pd.read_csv(path, low_memory=False).copy())  # in one block, which is faster
    runs, metrics = tables
    metrics["run"] = pd.Categorical(metrics["run"], categories=runs["run"])
    if "grad_sq" in metrics:
        metrics["grad_norm"] = metrics["grad_sq"] ** 0.5
    return name_methods(runs, methods), metrics


def pick(runs, grid=None, select: dict | None = None):
    """The rows of `runs` in one of the grids and with the selected values.

    `grid` is a name, a list of names or None (all); a value of `select` is a scalar, a list (any of
    them) or None (the run has no such parameter). Raises AnalysisError for an unknown grid or
    column, or if nothing is left, and NotDone if some of the runs are not there yet.
    """
    chosen = runs
    if grid:
        names = [grid] if isinstance(grid, str) else list(grid)
        member = runs["grids"].map(lambda text: str(text).split(";"))
        known = sorted({name for row in member for name in row})
        for name in names:
            if name not in known:
                raise AnalysisError(
                    f"no run is in grid {name!r}; grids: {', '.join(known)}{nearest(name, known)}"
                )
        chosen = runs[member.map(lambda row: any(name in row for name in names))]
    for column in select or {}:
        if column not in runs.columns:
            axes = [name for name in runs.columns if is_axis(name)]
            raise AnalysisError(
                f"select names column {column!r}, which no run has{nearest(column, axes)}"
            )
    chosen = chosen[_selected(chosen, select or {})]
    if chosen.empty:
        where = ", ".join(f"{key}={value}" for key, value in (select or {}).items())
        raise AnalysisError(
            f"no run selected by grid {grid or 'any'} and {where or 'no condition'}"
        )
    if missing := len(chosen) - len(done(chosen)):
        raise NotDone(f"{missing} of its {len(chosen)} runs are not done yet")
    return _without_needless_compressors(chosen)


def done(runs):
    """Without those that are only planned, in a report on what is done so far."""
    return runs[runs["status"] != PLANNED] if "status" in runs else runs


def _without_needless_compressors(chosen):
    """Methods without the compressor in their names where an algorithm has only one among these runs."""
    if "_plain" not in chosen:
        return chosen
    methods, shorter = chosen["method"].cat, {}
    for _, group in chosen.groupby("algorithm", sort=False):
        if group["compressor"].nunique() <= 1:
            shorter |= dict(zip(group["method"], group["_plain"], strict=True))
    free = {old: new for old, new in shorter.items() if new not in methods.categories}
    return chosen.assign(method=methods.rename_categories(free))


def _selected(runs, select: dict):
    """Which runs have all the selected values; none, where there is no such column."""
    import pandas as pd

    mask = pd.Series(True, index=runs.index)
    for column, wanted in select.items():
        mask &= _matches(runs[column], wanted) if column in runs else False
    return mask


def _matches(column, wanted):
    import pandas as pd

    mask = pd.Series(False, index=column.index)
    for value in wanted if isinstance(wanted, list | tuple) else [wanted]:
        if value is None:
            mask |= column.isna()
        elif isinstance(value, bool) or not isinstance(value, int | float):
            mask |= column.astype(str) == str(value)
        else:
            mask |= pd.to_numeric(column, errors="coerce") == value
    return mask


def is_axis(column: str) -> bool:
    """Whether a column of runs.csv is part of what was asked for (and not an outcome)."""
    return column not in _NOT_AXES and not column.startswith(_NOT_AXES_PREFIXES)


def varying(runs, without=("seed",)) -> list[str]:
    """The axes along which these runs differ."""
    axes = [name for name in runs.columns if is_axis(name) and name not in without]
    return [name for name in axes if runs[name].nunique(dropna=False) > 1]


def curves_of(runs, metrics, needed: list[str]) -> dict:
    """The recorded rows of each run, by run id. Raises AnalysisError for a metric that was not
    recorded."""
    for name in needed:
        if name not in metrics.columns:
            known = [column for column in metrics.columns if column != "run"]
            hint = f"recorded: {', '.join(known)}{nearest(name, known)}"
            raise AnalysisError(f"metric {name!r} was not recorded; {hint}")
    rows = metrics[metrics["run"].isin(set(runs["run"]))]
    curves = dict(tuple(rows.groupby("run", sort=False, observed=True)))
    for run in runs["run"]:
        if run not in curves:
            raise AnalysisError(f"run {run} has no recorded rounds; run: fewbits collect")
        for name in needed:
            # A run that diverged may lack its last values, but not all of them.
            if curves[run][name].isna().all():
                raise AnalysisError(f"metric {name!r} was not recorded in run {run}")
    return curves


def describe(row, columns: list[str]) -> str:
    """A setting in words a reader knows, the step last: `k = 1, 64×`."""
    ordered = sorted(columns, key=lambda column: column.startswith("step."))
    return ", ".join(
        _value(column, row[column]) for column in ordered if row[column] == row[column]
    )


def _value(column: str, value) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if column == "step.factor":
        return f"{value:g}×" if isinstance(value, float) else f"{value}×"
    from fewbits.analysis.style import short_name

    return f"{short_name(column)} = {value}"


def name_methods(runs, given: dict | None = None):
    """`runs` with a column `method`, an ordered category over the whole study.

    A method is an algorithm, told apart by those of its own parameters that vary in the study (named
    where they are not the default: `EF21 (compressed start)`), and by its compressor where an algorithm
    was run with several (`pick` drops it again where the picked runs have one; `_plain` is that name); or it is what the study names so: `given`, name -> selected values, of which the
    first that fits counts. The category's order is that of `given`, then the manifest's, so a method has the same
    colour in all figures of a study.
    """
    import pandas as pd

    names, plain = {}, {}
    for algorithm, group in runs.groupby("algorithm", sort=False):
        label, defaults = _algorithm(algorithm)
        own = [name for name in varying(group) if name.startswith("algorithm.")]
        several = "compressor" in runs.columns and group["compressor"].nunique() > 1
        for index, row in group.iterrows():
            short = {name: name.partition(".")[2] for name in own if row[name] == row[name]}
            said = [n for n in short if defaults.get(short[n]) != row[n]]
            extra = [f"{row[n]} {short[n]}" for n in said]
            plain[index] = _named(label, extra)
            names[index] = _named(label, [*extra, str(row["compressor"])] if several else extra)
    column, plain = (pd.Series(part).reindex(runs.index) for part in (names, plain))
    for name, select in reversed((given or {}).items()):  # the first that fits is written last
        fits = _selected(runs, select)
        column, plain = column.mask(fits, name), plain.mask(fits, name)
    found = dict.fromkeys(column)
    order = [name for name in given or {} if name in found]
    order += [name for name in found if name not in order]
    return runs.assign(method=pd.Categorical(column, order, ordered=True), _plain=plain)


def _named(label: str, extra: list[str]) -> str:
    return f"{label} ({', '.join(extra)})" if extra else label


def _algorithm(name: str) -> tuple[str, dict]:
    """How a method is written in figures (the plug-in's `label`), and its parameters' defaults."""
    from fewbits import registry

    try:
        cls = registry.find("algorithm", name)
    except registry.UnknownPlugin:
        return name, {}
    return getattr(cls, "label", name), registry.parameters(cls)


def at_default(runs, column: str) -> bool:
    """Whether a plug-in's parameter has its default in every run that has it: `compressor.wire`, `local.terms.moon.mu`."""
    from fewbits import registry
    from fewbits.studies.choices import plugin_defaults
    from fewbits.studies.runs import PLUGINS, kind_of

    if column.startswith("local.terms."):
        *_, term, name = column.split(".")
        default = plugin_defaults(registry.find("term", term)).get(name)
        return bool(runs[column].dropna().eq(default).all())
    key, _, name = column.partition(".")
    if key not in PLUGINS or not name or "." in name or key not in runs:
        return False
    for plugin, group in runs.groupby(key):
        try:
            default = plugin_defaults(registry.find(kind_of(key), plugin)).get(name)
        except registry.UnknownPlugin:
            return False
        values = group[column].dropna()
        if not all(value == default or str(value) == str(default) for value in values):
            return False
    return True
