"""Data are what their authors' own loaders give, and as declared."""

from __future__ import annotations

import gzip
import tarfile

import numpy as np
import pytest
from sklearn import datasets as sklearn_datasets

from fewbits import registry
from fewbits.datasets.base import NOTHING, data_root, numbers
from fewbits.datasets.cifar import PAGE, Cifar10, Cifar100
from fewbits.datasets.shakespeare import roles, windows
from fewbits.vision import torchvision


def test_breast_cancer_is_scikit_learn_s_standardised():
    x, y = sklearn_datasets.load_breast_cancer(return_X_y=True)
    ours = registry.make("dataset", {"name": "breast_cancer"}).load()
    assert np.array_equal(ours.x, (x - x.mean(axis=0)) / x.std(axis=0))
    assert np.array_equal(ours.y, y)


def test_digits_are_scikit_learn_s_scaled_and_cut_in_two():
    x, y = sklearn_datasets.load_digits(return_X_y=True)
    ours = registry.make("dataset", {"name": "digits"}).load()
    assert np.array_equal(np.concatenate([ours.x, ours.test_x]), x / 16)
    assert np.array_equal(np.concatenate([ours.y, ours.test_y]), y)
    assert np.bincount(ours.test_y).min() >= 30


def test_digits_parity_is_even_or_odd():
    digits = registry.make("dataset", {"name": "digits"}).load()
    ours = registry.make("dataset", {"name": "digits_parity"}).load()
    assert np.array_equal(ours.x, digits.x) and np.array_equal(ours.test_x, digits.test_x)
    assert np.array_equal(ours.y, digits.y % 2) and np.array_equal(ours.test_y, digits.test_y % 2)


FILES = {  # where a set's files lie under the data root
    "mnist": "MNIST",
    "fashion_mnist": "FashionMNIST",
    "cifar10": "cifar-10-python.tar.gz",
    "cifar100": "cifar-100-python.tar.gz",
    "femnist": "femnist",
    "tiny_shakespeare": "tinyshakespeare",
    "tiny_imagenet": "tiny-imagenet-200.npy",
    **dict.fromkeys(("mushrooms", "phishing", "a9a", "w8a"), "libsvm"),
}


def loaded(name):
    if name in FILES and not (data_root() / FILES[name]).exists():
        pytest.skip(f"no {FILES[name]} under FEWBITS_DATA")
    return registry.make("dataset", {"name": name}).load()


@pytest.mark.parametrize("name", registry.plugins("dataset"))
def test_declared_facts_are_those_of_the_data(name):
    data, facts = loaded(name), registry.find("dataset", name)
    assert data.x.shape == (facts.rows, facts.features)
    assert np.prod(facts.shape) == facts.features
    assert data.y.shape == (facts.rows, *(facts.shape if facts.sequence else ()))
    labels = data.y if data.test_y is None else np.concatenate([data.y, data.test_y])
    classes = np.unique(labels[labels != NOTHING])
    assert np.array_equal(classes, np.arange(facts.classes)) and data.y.dtype == np.int64
    assert (data.test_x is None) == (data.test_y is None) == (facts.test_rows == 0)
    if facts.test_rows:
        assert data.test_x.shape == (facts.test_rows, facts.features)
        assert data.test_y.shape == (facts.test_rows, *data.y.shape[1:])
        assert data.test_x.dtype == data.x.dtype
    assert (data.groups is None) == (data.test_groups is None) == (facts.groups == 0)
    if facts.groups:
        for groups, rows in ((data.groups, facts.rows), (data.test_groups, facts.test_rows)):
            assert (
                len(groups) == rows and len(np.unique(groups)) == groups.max() + 1 == facts.groups
            )
    assert data.x.flags.writeable and data.y.flags.writeable  # torch shares their memory


PIXELS = {  # mean and standard deviation of each channel of the training pixels, 0 to 1, as others print them
    "mnist": ([0.1307], [0.3081]),
    "fashion_mnist": ([0.2860], [0.3530]),
    "cifar10": ([0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]),
}


@pytest.mark.long
@pytest.mark.parametrize("name", PIXELS)
def test_pixels_have_the_known_means_and_deviations(name):
    channels = loaded(name).x.reshape(-1, len(PIXELS[name][0]), 1024 if "cifar" in name else 784)
    blocks = np.array_split(channels, 20)  # bincount makes eight bytes of each
    counts = [
        sum(np.bincount(block[:, c].ravel(), minlength=256) for block in blocks)
        for c in range(channels.shape[1])
    ]
    shares, level = np.array(counts) / channels[:, 0].size, np.arange(256) / 255
    mean = shares @ level
    deviation = np.sqrt(shares @ level**2 - mean**2)
    assert mean.round(4).tolist() == PIXELS[name][0]
    assert deviation.round(4).tolist() == PIXELS[name][1]


@pytest.mark.long
@pytest.mark.parametrize("name, oracle", [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
def test_idx_images_are_torchvision_s(name, oracle, tmp_path):
    data = loaded(name)
    raw = tmp_path / oracle / "raw"
    raw.mkdir(parents=True)
    for file in (data_root() / oracle / "raw").glob("*.gz"):
        (raw / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
    for train, x, y in ((True, data.x, data.y), (False, data.test_x, data.test_y)):
        theirs = getattr(torchvision().datasets, oracle)(tmp_path, train=train, download=False)
        assert np.array_equal(theirs.data.numpy().reshape(len(x), -1), x)
        assert np.array_equal(theirs.targets.numpy(), y)


@pytest.mark.long
def test_cifar10_is_torchvision_s(tmp_path):
    data = loaded("cifar10")
    with tarfile.open(data_root() / FILES["cifar10"]) as archive:
        archive.extractall(tmp_path, filter="data")
    for train, x, y in ((True, data.x, data.y), (False, data.test_x, data.test_y)):
        theirs = torchvision().datasets.CIFAR10(tmp_path, train=train, download=False)
        assert np.array_equal(theirs.data, x.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        assert theirs.targets == y.tolist()


def test_cifar_checksums_are_torchvision_s():
    for ours, theirs in ((Cifar10, "CIFAR10"), (Cifar100, "CIFAR100")):
        theirs = getattr(torchvision().datasets, theirs)
        files = theirs.train_list + theirs.test_list
        assert ours.md5 == {f"{theirs.base_folder}/{name}": md5 for name, md5 in files}
        assert theirs.url == PAGE + ours.archive


def test_roles_and_their_characters():
    text = "ANN:\nOne.\nTwo.\n\nBOB:\nOnly one.\n\nANN:\nThree.\n\n\nCID:\nYes.\nNo.\n"
    assert roles(text) == {"ANN": ["One.", "Two.", "Three."], "CID": ["Yes.", "No."]}
    x, y = windows(np.arange(10, 16), 3)
    assert x.tolist() == [[10, 11, 12], [13, 14, 0]]
    assert y.tolist() == [[11, 12, 13], [14, 15, NOTHING]]


def test_shakespeare_s_first_role_reads_as_written():
    data = loaded("tiny_shakespeare")
    text = (data_root() / "tinyshakespeare" / "input.txt").read_text()
    letters = np.array(sorted(set(text)))
    first = "".join(letters[data.x[data.groups == 0].ravel()])
    assert first.startswith("Before we proceed any further, hear me speak.\nYou are all resolved")
    shifted = data.y[:, :-1]
    assert ((shifted == data.x[:, 1:]) | (shifted == NOTHING) | (data.y[:, 1:] == NOTHING)).all()


def test_pixels_become_numbers_from_0_to_1():
    pixels = np.array([[0, 51, 255]], dtype=np.uint8)
    assert numbers(pixels, "float32").dtype == np.float32
    assert numbers(pixels, "float64").tolist() == [[0.0, 0.2, 1.0]]
    assert numbers(np.array([[3.0]]), "float32").tolist() == [[3.0]]
