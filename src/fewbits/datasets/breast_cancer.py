"""Breast cancer Wisconsin (diagnostic), ships with scikit-learn (UCI; Street, Wolberg, Mangasarian 1993)."""

from __future__ import annotations

from typing import ClassVar

from fewbits.datasets.base import Arrays, Dataset
from fewbits.registry import plugin


@plugin
class BreastCancer(Dataset):
    """569 rows of 30 measurements, each feature standardised to mean 0 and variance 1, two classes.

    The raw features differ by a factor 1e5 in scale, which would make the problem about scaling.
    """

    name: ClassVar[str] = "breast_cancer"
    rows: ClassVar[int] = 569
    features: ClassVar[int] = 30
    classes: ClassVar[int] = 2
    title: ClassVar[str] = "breast cancer"
    cite: ClassVar[str] = "street1993breast"

    def load(self, root=None):
        from sklearn.datasets import load_breast_cancer

        x, y = load_breast_cancer(return_X_y=True)
        return Arrays((x - x.mean(axis=0)) / x.std(axis=0), y.astype("int64"))
