"""What a data set is: facts that are known without reading it, and a loader."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import numpy as np


class DataError(RuntimeError):
    """A data file is missing, cut short or not the expected one. One line: file, what, remedy."""


@dataclass(frozen=True)
class Arrays:
    """Training data: `x` (rows, *features) float64, `y` (rows,) int64 class numbers from 0."""

    x: np.ndarray
    y: np.ndarray


class Dataset:
    """A source of real data. The class variables let a study be checked before anything is read."""

    name: ClassVar[str]
    rows: ClassVar[int]
    features: ClassVar[int]
    classes: ClassVar[int]
    title: ClassVar[str]
    cite: ClassVar[str]  # key in reports/references.bib

    def load(self, root: Path | None = None) -> Arrays:
        """Read it. `root` is the data root (None: the FEWBITS_DATA variable, then `data/`).

        Raises DataError when a file is missing, cut short or has another checksum.
        """
        raise NotImplementedError


def shipped_with_sklearn(name: str) -> Path:
    """A data file inside scikit-learn, found without importing it (over a second, in every training job)."""
    package = find_spec("sklearn").submodule_search_locations[0]
    return Path(package) / "datasets" / "data" / name


def data_root(root: Path | None = None) -> Path:
    """Where data files are looked for and downloaded to."""
    return Path(root or os.environ.get("FEWBITS_DATA") or "data")
