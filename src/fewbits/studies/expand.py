"""From grids to runs: every combination of the alternatives, checked as a combination."""

from __future__ import annotations

from itertools import product

from fewbits.studies.choices import NOTHING, Choice, choose
from fewbits.studies.combinations import (
    check_combination,
    check_doubts,
    check_spectra,
    check_theory,
)
from fewbits.studies.errors import Problems
from fewbits.studies.grids import Alternative, Merged, alternatives, merge
from fewbits.studies.runs import KEYS, OPTIONAL, PLUGINS, Run, partition_id, run_id
from fewbits.studies.sampled import sampled
from fewbits.studies.schema import Study

_REQUIRED = ("dataset", "model", "partition", "algorithm", "step", "rounds")
_DEFAULTS = {"layers": {}, "seed": 0, "record_every": 1, "stop": {}, "snapshots": {}}
_WHOLE = ("snapshots",)  # their lists are values, not axes
_MOST_RUNS = 100_000  # of one grid


def expand(study: Study, scale: str, problems: Problems) -> list[Run]:
    """The runs of a scale, in the order of its grids; a run that several grids ask for comes once."""
    runs: dict[str, Run] = {}
    base_problems(study.base, problems)
    for name, grid in study.scales[scale].grids.items():
        at = ("scales", scale, "grids", name)
        merged = merge(study.base, grid, ("base",), at)
        for run in _runs(study.study, name, merged, problems):
            known = runs.get(run.id)
            if known is None:
                runs[run.id] = run
            elif name not in known.grids:
                grids = (*known.grids, name)
                runs[run.id] = Run(run.id, run.study, grids, known.spec, run.partition)
    return list(runs.values())


def _runs(study: str, name: str, merged: Merged, problems: Problems) -> list[Run]:
    """Those of a grid, of all its points where it is sampled; of a wrong grid those before the mistake."""
    runs, before = [], len(problems)
    for point in sampled(merged, problems):
        runs += expand_grid(study, name, point, problems)
        if len(problems) > before:
            break
    return runs


def base_problems(base: dict, problems: Problems) -> None:
    """Note keys of `base` that no grid can have."""
    for key in base:
        if key not in KEYS:
            problems.unknown_key(("base", key), KEYS)


def expand_grid(study: str, grid: str, merged: Merged, problems: Problems) -> list[Run]:
    """The runs of one grid; [] if something is wrong with it, which is then noted."""
    before = len(problems)
    axes = _axes(merged, problems)
    if len(problems) > before or not axes:
        return []
    total = 1
    for axis in axes:
        total *= len(axis)
    if total > _MOST_RUNS:
        problems.add(merged.at, f"found {total} runs in one grid; allowed: at most {_MOST_RUNS}")
        return []
    plugins = len(PLUGINS)
    for point in product(*axes[:plugins]):
        named = dict(zip(PLUGINS, point, strict=True))
        check_combination(named, problems)
        for kept in axes[KEYS.index("snapshots")]:
            check_spectra(named, kept, problems)
        for step in axes[KEYS.index("step")]:
            check_theory(named, step, problems)
    if len(problems) == before:
        for point in product(*axes[:plugins]):
            check_doubts(dict(zip(PLUGINS, point, strict=True)), problems)
    _check_recording(axes[KEYS.index("rounds")], axes[KEYS.index("record_every")], problems)
    _check_snapshots(axes[KEYS.index("rounds")], axes[KEYS.index("snapshots")], problems)
    if len(problems) > before:
        return []
    return [_run(study, grid, point) for point in product(*axes)]


def _axes(merged: Merged, problems: Problems) -> list[list[Choice]]:
    """The checked alternatives of every key of a spec, in the order of KEYS."""
    for key in merged.values:
        if key not in KEYS and (path := merged.where((key,)))[0] != "base":
            problems.unknown_key(path, KEYS)
    axes = []
    for key in KEYS:
        if key not in merged.values:
            if key in _REQUIRED:
                problems.missing_key((*merged.at, key), "this key is required, here or in base")
                axes.append([])
                continue
            default = NOTHING if key in OPTIONAL else _plain_choice(_DEFAULTS[key])
            axes.append([default._replace(path=(*merged.at, key))])
            continue
        found = _alternatives(key, merged, problems)
        chosen = [choose(key, one, problems) for one in found]
        axes.append([choice for choice in chosen if choice is not None])
    return axes


def _alternatives(key: str, merged: Merged, problems: Problems) -> list[Alternative]:
    if key in _WHOLE:
        return [Alternative(merged.values[key], merged.where((key,)))]
    return alternatives(merged.values[key], (key,), merged, problems)


def _plain_choice(value: object) -> Choice:
    return Choice(value, value, None, (), {})


def _check_recording(rounds: list[Choice], every: list[Choice], problems: Problems) -> None:
    most = min(choice.value for choice in rounds)
    for choice in every:
        if choice.value > most and choice.path:
            problems.wrong(choice.path, choice.value, f"at most the {most} rounds")


def _check_snapshots(rounds: list[Choice], kept: list[Choice], problems: Problems) -> None:
    most = min(choice.value for choice in rounds)
    for choice in kept:
        for i, number in enumerate(choice.value.get("rounds", ())):
            if number > most:
                path = (*choice.path, "rounds", i)
                problems.wrong(path, number, f"at most the {most} rounds")


def _run(study: str, grid: str, point: tuple[Choice, ...]) -> Run:
    named = dict(zip(KEYS, point, strict=True))
    absent = {key for key in (*OPTIONAL, "layers", "snapshots") if not named[key].value}
    absent -= {"compressor"}
    values = {key: choice.value for key, choice in named.items() if key not in absent}
    spec = {"study": study, **values}
    short = {key: choice.short for key, choice in named.items() if choice.short not in (None, {})}
    short["study"] = study
    random = bool(getattr(named["partition"].plugin, "random", False))
    return Run(run_id(short), study, (grid,), spec, partition_id(short, random))
