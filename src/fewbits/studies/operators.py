"""Operators of a study: compressors by name, applied to the snapshots of its runs (`fewbits measure`)."""

from __future__ import annotations

from typing import Any, NamedTuple

from fewbits import registry
from fewbits.compressors import sizes
from fewbits.studies.choices import choose
from fewbits.studies.errors import Path, Problems
from fewbits.studies.grids import Alternative
from fewbits.studies.schema import Operators, Study


class Sized(NamedTuple):
    """An operator at one budget; None where it has a size of its own, or none.

    most: it is left off layers of more numbers; None: off none.
    """

    name: str
    label: str
    block: dict
    budget: float | None
    most: int | None = None

    @property
    def full(self) -> dict:
        """The block with its budget, as a run's spec would have it."""
        return self.block if self.budget is None else {**self.block, "budget": self.budget}


def sized(operators: Operators) -> list[Sized]:
    """Every operator at every budget that applies to it, in the file's order."""
    out = []
    for name, operator in operators.of.items():
        block = operator.compressor
        budgets = operators.budgets if _takes_budget(block) else [None]
        out += [Sized(name, operator.label, block, budget, operator.most) for budget in budgets]
    return out


def _takes_budget(block: dict) -> bool:
    """Whether a budget sets the size of these messages."""
    cls = registry.find("compressor", block["name"])
    given, rule = sizes.split(block)
    return not rule and cls.knob is not None and not cls.has_size(given)


def check_operators(study: Study, problems: Problems) -> None:
    """Check the compressors, and that there are snapshots to apply them to."""
    if study.operators is None:
        return
    for name, operator in study.operators.of.items():
        path = ("operators", "of", name, "compressor")
        block, parts = operator.compressor, {key: (*path, key) for key in operator.compressor}
        if str(block.get("name")) in registry.plugins("compressor") and _takes_budget(block):
            block = {**block, "budget": study.operators.budgets[0]}
        choose("compressor", Alternative(block, path, parts), problems)
    for scale in study.scales:
        if not any("snapshots" in run.spec for run in study.runs(scale)):
            problems.add(
                ("operators",),
                f"found operators, but no run with snapshots at scale '{scale}'; "
                "allowed: snapshots: {rounds: [...]} in a grid",
            )


def check_names(options: Any, at: Path, study: Study, problems: Problems) -> None:
    """Check the operators and budgets that a figure, a table or a claim names."""
    known = study.operators
    if known is None:
        problems.add(at, "found a kind that reads operators; allowed: a study with `operators`")
        return
    if not isinstance(options, dict):
        return
    for key, value in options.items():
        if isinstance(value, dict):
            check_names(value, (*at, key), study, problems)
        elif key in ("operator", "operators"):
            for i, name in enumerate(value if isinstance(value, list) else [value]):
                if not isinstance(name, str) or name not in known.of:
                    place = (*at, key, i) if isinstance(value, list) else (*at, key)
                    problems.wrong(place, name, known.of)
        elif key == "budget" and value is not None and value not in known.budgets:
            problems.wrong((*at, key), value, [*map(str, known.budgets)])
