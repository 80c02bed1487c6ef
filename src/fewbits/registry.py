"""Plug-ins found by folder: a file in `compressors/` with a registered class is a compressor, and so on.

A plug-in is a class with a `name`, whose fields are its parameters (a frozen pydantic dataclass, so types
and ranges are checked when it is made). Nothing else in the project lists plug-ins by hand.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import pkgutil

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as pydantic_dataclass

KINDS = {
    "dataset": "fewbits.datasets",
    "partition": "fewbits.partition",
    "model": "fewbits.models",
    "compressor": "fewbits.compressors",
    "algorithm": "fewbits.algorithms",
    "selection": "fewbits.federation.selection",
    "local": "fewbits.federation.local",
    "term": "fewbits.federation.local.terms",
    "space": "fewbits.federation.space",
    "sending": "fewbits.federation.sending",
    "server": "fewbits.federation.server",
    "clock": "fewbits.federation.clock",
    "aggregation": "fewbits.federation.aggregation",
    "attack": "fewbits.federation.attacks",
    "figure": "fewbits.analysis.figures",
}


class UnknownPlugin(ValueError):
    """No plug-in of that kind has that name. `known` lists those that exist."""

    def __init__(self, kind: str, name: str, known: list[str]) -> None:
        super().__init__(f"unknown {kind} {name!r}; known: {', '.join(known)}")
        self.kind, self.name, self.known = kind, name, known


def plugin(cls):
    """Class decorator: make `cls` a plug-in. Its annotated fields become checked, frozen parameters."""
    config = ConfigDict(extra="forbid", strict=False, arbitrary_types_allowed=True)
    cls = pydantic_dataclass(frozen=True, config=config)(cls)
    cls.is_plugin = True
    return cls


@functools.cache
def plugins(kind: str) -> dict[str, type]:
    """All plug-ins of a kind by name, in alphabetical order. Importing them imports no torch."""
    package = importlib.import_module(KINDS[kind])
    found = {}
    for info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        for cls in vars(module).values():
            own = inspect.isclass(cls) and cls.__module__ == module.__name__
            if own and "is_plugin" in vars(cls):
                found[cls.name] = cls
    return dict(sorted(found.items()))


def find(kind: str, name: str) -> type:
    """The plug-in class of that kind and name. Raises UnknownPlugin."""
    known = plugins(kind)
    if name not in known:
        raise UnknownPlugin(kind, name, list(known))
    return known[name]


def make(kind: str, spec: dict):
    """An instance from `{"name": ..., parameters...}`. Raises UnknownPlugin or pydantic.ValidationError."""
    parameters = {key: value for key, value in spec.items() if key != "name"}
    return find(kind, spec["name"])(**parameters)


def parameters(cls: type) -> dict[str, object]:
    """Parameter names of a plug-in with their defaults (`dataclasses.MISSING` where required)."""
    return {field.name: field.default for field in dataclasses.fields(cls)}
