"""A grid as written: `base` merged under it, and its lists taken apart into alternatives."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import Any

from fewbits.studies.errors import Path, Problems


@dataclass(frozen=True)
class Merged:
    """A grid with `base` under it, and where in the file each part comes from."""

    values: dict[str, Any]
    at: Path
    origin: dict[Path, Path]

    def where(self, path: Path) -> Path:
        """The place in the file of a path in `values`."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.origin:
                return self.origin[path[:length]] + path[length:]
        return self.at + path


@dataclass(frozen=True)
class Alternative:
    """One value of a key, without axes. `parts` says where each entry of a mapping comes from."""

    value: Any
    path: Path
    parts: dict[str, Path] = field(default_factory=dict)


def merge(base: dict, grid: dict, base_at: Path, grid_at: Path) -> Merged:
    """`grid` over `base`, key by key and deep; null in the grid removes; another plug-in replaces."""
    origin: dict[Path, Path] = {}
    values = _merge(base, grid, (), base_at, grid_at, origin)
    return Merged(values, grid_at, origin)


def _merge(base: dict, over: dict, path: Path, base_at: Path, over_at: Path, origin: dict) -> dict:
    values = {}
    for key in dict.fromkeys([*base, *over]):
        here = (*path, key)
        if key not in over:
            values[key], origin[here] = base[key], (*base_at, key)
            continue
        value = over[key]
        below = _mapping(base[key], path) if key in base else None
        mapping = _mapping(value, path) if below is not None else None
        if mapping is not None and not _replaces(mapping, below):
            at = (*base_at, key), (*over_at, key)
            values[key] = _merge(below, mapping, here, *at, origin)
            origin[here] = (*over_at, key)
        elif value is not None:
            values[key], origin[here] = value, (*over_at, key)
    return values


def _mapping(value: Any, path: Path) -> dict | None:
    """`value` as a mapping, None if it is none: a word at the top of a grid is a plug-in's name."""
    if isinstance(value, str) and not path:
        return {"name": value}
    return value if isinstance(value, dict) else None


def _replaces(over: dict, base: dict) -> bool:
    """Whether `over` names another thing than `base` does, so that base's parameters make no sense."""
    other_name = "name" in over and over["name"] != base.get("name")
    other_step = ("value" in over and "rule" in base) or ("rule" in over and "value" in base)
    return other_name or other_step


def alternatives(value: Any, path: Path, merged: Merged, problems: Problems) -> list[Alternative]:
    """The values a key takes: a list is an axis; a list inside a list is a value that is a list.

    A mapping with axes inside stands for their product. `path` is that in `merged`.
    """
    if isinstance(value, list):
        if not value:
            problems.wrong(merged.where(path), value, "at least one value")
        return [
            one for i, item in enumerate(value) for one in _item(item, (*path, i), merged, problems)
        ]
    if not isinstance(value, dict):
        return [Alternative(value, merged.where(path))]
    axes = [alternatives(item, (*path, key), merged, problems) for key, item in value.items()]
    return [
        Alternative(
            {key: one.value for key, one in zip(value, point, strict=True)},
            merged.where(path),
            {key: one.path for key, one in zip(value, point, strict=True)},
        )
        for point in product(*axes)
    ]


def _item(item: Any, path: Path, merged: Merged, problems: Problems) -> list[Alternative]:
    if isinstance(item, list):
        return [Alternative(item, merged.where(path))]
    return alternatives(item, path, merged, problems)
