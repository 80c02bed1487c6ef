"""`local.terms`: plug-ins of kind `term` by name, each with its parameters; null leaves one out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

from fewbits import registry
from fewbits.studies.errors import Path, Problems
from fewbits.studies.grids import Alternative


class Terms(NamedTuple):
    """The block with all defaults, and without any."""

    full: dict[str, dict]
    short: dict[str, dict]


def read_terms(value: Any, at: Path, problems: Problems, make: Callable) -> Terms | None:
    """Check one alternative of `terms`. None: it is wrong, and the problems are noted."""
    known = registry.plugins("term")
    if not isinstance(value, dict):
        problems.wrong(at, value, "{name of a term: {parameters}}", known)
        return None
    before, found = len(problems), Terms({}, {})
    for name, given in value.items():
        path = (*at, name)
        if name not in known:
            problems.unknown_key(path, known)
        elif not isinstance(given, dict | None):
            problems.wrong(path, given, "{parameters}")
        elif given is not None:
            instance = make("term", name, given, Alternative(given, path), problems)
            if instance is not None:
                _add(found, name, instance)
    return found if len(problems) == before else None


def _add(found: Terms, name: str, instance: Any) -> None:
    full = dataclasses.asdict(instance)
    defaults = registry.parameters(type(instance))
    found.full[name] = full
    found.short[name] = {k: v for k, v in full.items() if v != defaults[k]}
