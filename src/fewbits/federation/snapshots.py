"""Updates kept on the way, for studies of the operators themselves: what clients wanted to send, and what C was given.

A snapshot of a round is a file `snapshots/ROUND.npz` in the run's folder, without pickle:

    clients           (m,) int64, the first clients of the round's cohort
    update/LAYER      (m, *shape) what the local solver made: a gradient, or a model difference
    residual/LAYER    (m, *shape) what the method gave to its compressor (EF21: grad f_i - g_i); absent if it gave nothing

and, where `keep` says spectra, the spectra of representations (federation/representations.py).
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from fewbits.files import write_bytes
from fewbits.lazy import torch

SOURCES = ("update", "residual")


@dataclass(frozen=True)
class Snapshots:
    """Which rounds are kept, of how many clients, and what: updates, spectra."""

    rounds: tuple[int, ...] = ()
    clients: int = 1
    keep: tuple[str, ...] = ("updates",)


def updates_of_lanes(
    seen: dict, cohort, layers: Sequence, clients: int
) -> list[dict[str, np.ndarray]]:
    """The arrays of every lane's snapshot.

    seen: what the round saw, of which SOURCES are kept, (lanes, m, *shape); cohort: (lanes, m) client numbers, None for
    everyone; layers: (name, shape) in the vector's order.
    """
    lanes, found = [], {source: seen[source] for source in SOURCES if source in seen}
    for lane in range(len(next(iter(found.values())))):
        kept = {source: x[lane, :clients].flatten(1) for source, x in found.items()}
        count = len(next(iter(kept.values())))
        who = torch.arange(count) if cohort is None else cohort[lane, :count]
        arrays = {"clients": who.numpy().astype(np.int64)}
        for source, x in kept.items():
            arrays |= _by_layer(source, x.numpy(), layers)
        lanes.append(arrays)
    return lanes


def _by_layer(source: str, x: np.ndarray, layers: Sequence) -> dict[str, np.ndarray]:
    ends = np.cumsum([0] + [int(np.prod(shape)) for _, shape in layers]).tolist()
    return {
        f"{source}/{name}": x[:, low:high].reshape(len(x), *shape)
        for (name, shape), (low, high) in zip(layers, pairwise(ends), strict=True)
    }


def path(folder: Path, number: int) -> Path:
    """The file of a round's snapshot in a run's folder."""
    return folder / "snapshots" / f"{number}.npz"


def save(folder: Path, number: int, arrays: dict[str, np.ndarray]) -> None:
    """Write a round's snapshot: whole or not at all, the same bytes for the same arrays."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_bytes(path(folder, number), buffer.getvalue())


def load(folder: Path, number: int) -> dict[str, np.ndarray]:
    """What `save` wrote. Raises ValueError, one line, if it is missing or broken."""
    try:
        with np.load(path(folder, number), allow_pickle=False) as held:
            return {key: held[key] for key in held.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        remedy = "delete the run's folder and give the same command again"
        raise ValueError(f"{path(folder, number)}: is missing or broken; {remedy}") from None


def digests(folder: Path, rounds: Sequence[int]) -> dict[str, str]:
    """The snapshots of these rounds that are there, by round: short digests of their bytes."""
    found = {}
    for number in rounds:
        file = path(folder, number)
        if file.is_file():
            found[str(number)] = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
    return found
