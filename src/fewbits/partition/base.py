"""What a partition is: which rows each client holds."""

from __future__ import annotations

import io
from pathlib import Path
from typing import ClassVar

import numpy as np

from fewbits.datasets.base import NOTHING, Arrays
from fewbits.files import write_bytes, write_json

INDICES = "indices.npz"


class Partition:
    """Splits rows between `clients`. `random` says whether the run's seed changes it."""

    name: ClassVar[str]
    random: ClassVar[bool] = False
    clients: int

    def check(self, rows: int | None = None, groups: int = 0, sequence: bool = False) -> str | None:
        """Why this cannot be used on a data set with these facts (datasets/base.py), or None."""
        if rows is not None and self.clients > rows:
            return f"{self.clients} clients cannot share {rows} rows"
        return None

    def divide(self, data: Arrays, seed: int) -> list[np.ndarray]:
        """Row numbers of each client, increasing; no row is held twice, and no client has none.

        seed: the run's seed (used where `random`). Raises ValueError, one line, where these rows cannot be
        divided so.
        """
        return self.split(data.y, seed)

    def split(self, y: np.ndarray, seed: int) -> list[np.ndarray]:
        """`divide` for what depends on the rows' classes alone. y: (rows,) class numbers."""
        raise NotImplementedError


def needs_labels(partition: Partition, sequence: bool) -> str | None:
    """For `check`: why rows that are sequences cannot be divided by class."""
    return f"{partition.name} needs one class a row, not one at each position" if sequence else None


def heterogeneity(y: np.ndarray, parts: list[np.ndarray]) -> dict:
    """How skewed a partition is: rows and classes by client, and the mean and largest total variation
    distance between a client's label distribution and that of all rows held (0: same labels everywhere;
    towards 1: nothing in common). Of sequences, the labels of all positions count."""
    classes = int(y.max()) + 1
    counts = np.array([_count(y[part], classes) for part in parts])
    shares = counts / counts.sum(axis=1, keepdims=True)
    pooled = counts.sum(axis=0) / counts.sum()
    distance = 0.5 * np.abs(shares - pooled).sum(axis=1)
    return {
        "clients": len(parts),
        "rows": [len(p) for p in parts],
        "class_counts": counts.tolist(),
        "label_distance_mean": float(distance.mean()),
        "label_distance_max": float(distance.max()),
    }


def _count(y: np.ndarray, classes: int) -> np.ndarray:
    return np.bincount(y[y != NOTHING], minlength=classes)


def save(folder: Path, parts: list[np.ndarray], summary: dict) -> None:
    """Write `indices.npz` (rows of all clients in a line, and where each client starts) and `summary.json`."""
    buffer = io.BytesIO()
    starts = np.cumsum([0] + [len(p) for p in parts])
    np.savez_compressed(buffer, rows=np.concatenate(parts), starts=starts)
    write_bytes(folder / INDICES, buffer.getvalue())
    write_json(folder / "summary.json", summary)


def read(folder: Path) -> list[np.ndarray]:
    """The partition that `save` wrote."""
    with np.load(folder / INDICES, allow_pickle=False) as data:
        return np.split(data["rows"], data["starts"][1:-1])
