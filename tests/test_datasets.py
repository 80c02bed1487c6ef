"""Data that ship with scikit-learn are what its own loaders give."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import datasets as sklearn_datasets

from fewbits import registry


def test_breast_cancer_is_scikit_learn_s_standardised():
    x, y = sklearn_datasets.load_breast_cancer(return_X_y=True)
    ours = registry.make("dataset", {"name": "breast_cancer"}).load()
    assert np.array_equal(ours.x, (x - x.mean(axis=0)) / x.std(axis=0))
    assert np.array_equal(ours.y, y)


def test_digits_are_scikit_learn_s_scaled():
    x, y = sklearn_datasets.load_digits(return_X_y=True)
    ours = registry.make("dataset", {"name": "digits"}).load()
    assert np.array_equal(ours.x, x / 16)
    assert np.array_equal(ours.y, y)


@pytest.mark.parametrize("name", ["breast_cancer", "digits"])
def test_declared_facts_are_those_of_the_data(name):
    source = registry.make("dataset", {"name": name})
    data = source.load()
    assert data.x.shape == (source.rows, source.features)
    assert data.y.max() + 1 == source.classes
