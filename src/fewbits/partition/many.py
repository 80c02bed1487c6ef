"""Several partitions in one process, since starting Python costs more than most of them."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from fewbits import fingerprint, registry
from fewbits.files import canonical, read_json
from fewbits.partition import base


class Wanted(Protocol):
    """A partition to make (studies/plan.py): plug-in blocks as in a run's spec."""

    id: str
    dataset: dict
    partition: dict
    seed: int


def divide_all(
    wanted: Iterable[Wanted], folder: Path, data_root: Path | None, say: Callable[[str], None]
) -> dict[str, str]:
    """Make what is missing, each in folder/ID; the rows' digests by ID.

    A partition that this very code made is left as it is. Raises ValueError, one line, as data sets and
    `Partition.divide` do.
    """
    digests, made = {}, 0

    @functools.cache
    def loaded(dataset: str):
        return registry.make("dataset", json.loads(dataset)).load(data_root)

    for one in wanted:
        place, code = folder / one.id, _code(one)
        if not _is_made(place, code):
            data = loaded(canonical(one.dataset))
            parts = registry.make("partition", one.partition).divide(data, one.seed)
            base.save(place, parts, base.heterogeneity(data.y, parts) | {"code": code})
            made += 1
        digests[one.id] = hashlib.sha256((place / base.INDICES).read_bytes()).hexdigest()
    say(f"{made} of {len(digests)} partitions made, the others were up to date")
    return digests


def _code(one: Wanted) -> str:
    """Which code the partition depends on."""
    return fingerprint.of_modules(
        registry.find("dataset", one.dataset["name"]).__module__,
        registry.find("partition", one.partition["name"]).__module__,
    )


def _is_made(place: Path, code: str) -> bool:
    files = place / base.INDICES, place / "summary.json"
    return all(map(Path.exists, files)) and read_json(files[1]).get("code") == code
