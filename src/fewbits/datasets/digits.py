"""Handwritten digits that ship with scikit-learn (UCI Optdigits, test part; Kaynak 1995)."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import ClassVar

import numpy as np

from fewbits.datasets.base import Arrays, Dataset, shipped_with_sklearn
from fewbits.registry import plugin


@functools.cache
def _table() -> np.ndarray:
    """The file, read once in a process: jobs train hundreds of runs on it, and reading takes as long as a short run."""
    return np.loadtxt(shipped_with_sklearn("digits.csv.gz"), delimiter=",")


@plugin
class Digits(Dataset):
    """Images of 8 x 8 pixels, scaled from 0..16 to 0..1, ten classes.

    The file has 1,797 rows and no split of its own: the first 1,437 are for training, the last 360 (36 or so of
    each class) for testing.
    """

    name: ClassVar[str] = "digits"
    rows: ClassVar[int] = 1437
    test_rows: ClassVar[int] = 360
    features: ClassVar[int] = 64
    shape: ClassVar[tuple[int, ...]] = (1, 8, 8)
    classes: ClassVar[int] = 10
    title: ClassVar[str] = "handwritten digits"
    cite: ClassVar[str] = "kaynak1995digits"

    def load(self, root=None):
        table = _table()
        x, y = table[:, :-1] / 16.0, table[:, -1].astype("int64")
        return Arrays(x[: self.rows], y[: self.rows], x[self.rows :], y[self.rows :])


@plugin
class DigitsParity(Digits):
    """The same images in two classes, even (0) and odd (1): a vector problem whose entries lie on a grid.

    Reshaping its gradients follows the pixels, where that of unordered features is arbitrary.
    """

    name: ClassVar[str] = "digits_parity"
    classes: ClassVar[int] = 2
    title: ClassVar[str] = "handwritten digits, even or odd"

    def load(self, root=None):
        digits = super().load(root)
        return replace(digits, y=digits.y % 2, test_y=digits.test_y % 2)
