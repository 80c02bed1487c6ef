"""Handwritten digits that ship with scikit-learn (UCI Optdigits, test part; Kaynak 1995)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fewbits.datasets.base import Arrays, Dataset, shipped_with_sklearn
from fewbits.registry import plugin


@plugin
class Digits(Dataset):
    """1,797 images of 8 x 8 pixels, scaled from 0..16 to 0..1, ten classes."""

    name: ClassVar[str] = "digits"
    rows: ClassVar[int] = 1797
    features: ClassVar[int] = 64
    classes: ClassVar[int] = 10
    title: ClassVar[str] = "handwritten digits"
    cite: ClassVar[str] = "kaynak1995digits"

    def load(self, root=None):
        table = np.loadtxt(shipped_with_sklearn("digits.csv.gz"), delimiter=",")
        x, y = table[:, :-1], table[:, -1]
        return Arrays(x / 16.0, y.astype("int64"))
