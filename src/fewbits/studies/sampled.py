"""Grids whose points are drawn together: a search over several parameters at once, in as few runs as one can afford.

    sample: {points: 16, of: {selection.keep: [0.3, 1.0], compressor.share: [0.05, 1.0], sending.count: [1, 10]}}

is 16 grids, each with one value for every parameter, from the Halton sequence (Halton 1960), which fills the box evenly: SciPy's
`qmc.Halton` without scrambling and without the origin, written out since SciPy takes longer to load than all studies. Bounds that are
both whole numbers give whole numbers; others are rounded to three digits, so that run ids can be read. The grid's other
lists are axes as ever.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Annotated

from pydantic import Field, ValidationError

from fewbits.studies.errors import Problems
from fewbits.studies.grids import Merged
from fewbits.studies.messages import report
from fewbits.studies.schema import Model, Number

KEY = "sample"
PRIMES = (2, 3, 5, 7, 11, 13)
Two = Field(min_length=2, max_length=2)
Bounds = Annotated[list[int], Two] | Annotated[list[Number], Two]


class Sample(Model):
    """How many points, and between which bounds."""

    points: Annotated[int, Field(ge=1, le=1024)]
    of: Annotated[dict[str, Bounds], Field(min_length=1, max_length=len(PRIMES))]


def sampled(merged: Merged, problems: Problems) -> list[Merged]:
    """The grids that a grid stands for: itself without a `sample`, else one a point; [] with the problems noted."""
    if KEY not in merged.values:
        return [merged]
    at = merged.where((KEY,))
    try:
        asked = Sample.model_validate(merged.values[KEY])
    except ValidationError as error:
        report(error, problems, merged.values[KEY], Sample, at)
        return []
    rest = {key: value for key, value in merged.values.items() if key != KEY}
    before = len(problems)
    for name, (low, high) in asked.of.items():
        path = (*at, "of", name)
        block = rest.get(name.partition(".")[0])
        if name.count(".") != 1 or not isinstance(block, dict):
            text = "a parameter of a block of this grid, as `selection.keep`"
            problems.wrong(path, name, text)
        elif not low < high:
            problems.wrong(path, [low, high], "[low, high] with low < high")
    if len(problems) > before:
        return []
    return [replace(merged, values=_with(rest, asked, point)) for point in _points(asked)]


def _points(asked: Sample) -> list[list[float]]:
    """Points of the unit cube, a number for each parameter."""
    bases = PRIMES[: len(asked.of)]
    return [[_mirrored(i + 1, base) for base in bases] for i in range(asked.points)]


def _mirrored(number: int, base: int) -> float:
    """The digits of a number in some base, mirrored at the point: 6 = 110 in base 2 gives 0.011, 0.375."""
    share, place = 0.0, 1.0
    while number:
        number, digit = divmod(number, base)
        place /= base
        share += digit * place
    return share


def _with(values: dict, asked: Sample, point: list[float]) -> dict:
    """A grid's values with the sampled ones in place."""
    out = copy.deepcopy(values)
    for (name, bounds), share in zip(asked.of.items(), point, strict=True):
        block, parameter = name.split(".")
        out[block][parameter] = _between(*bounds, share)
    return out


def _between(low: float, high: float, share: float) -> float | int:
    if isinstance(low, int):
        return low + int(share * (high - low + 1))
    return float(f"{low + share * (high - low):.3g}")
