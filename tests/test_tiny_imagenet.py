"""Tiny-ImageNet from a small archive of its layout: read once, never half, and whatever is wrong gives one line."""

from __future__ import annotations

import hashlib
import io
import shutil
import zipfile
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from fewbits.datasets.base import DataError
from fewbits.datasets.tiny_imagenet import TinyImageNet

WORDS = ["n03", "n01", "n02"]  # not in the order of their numbers
NOWHERE = "http://127.0.0.1:9/tiny.zip"


def picture(seed: int, mode: str = "RGB", side: int = 64) -> bytes:
    shape = (side, side, 3) if mode == "RGB" else (side, side)
    pixels = np.random.default_rng(seed).integers(256, size=shape, dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG")
    return out.getvalue()


def files() -> dict[str, bytes]:
    """Three classes of eleven images and one test image, one of the images grey."""
    found = {"wnids.txt": "\n".join(WORDS).encode()}
    for i, word in enumerate(WORDS):
        for n in range(11):
            found[f"train/{word}/images/{word}_{n}.JPEG"] = picture(
                100 * i + n, "L" if n == 3 else "RGB"
            )
        found[f"train/{word}/{word}_boxes.txt"] = b"boxes"
    for n in range(3):
        found[f"val/images/val_{n}.JPEG"] = picture(1000 + n)
    lines = [f"val_{n}.JPEG\t{word}\t0\t0\t1\t1" for n, word in enumerate(("n02", "n03", "n01"))]
    return found | {"val/val_annotations.txt": "\n".join(lines).encode()}


def packed(content: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in content.items():
            archive.writestr(f"tiny/{name}", data)
    return out.getvalue()


def source(data: bytes = b""):
    class Small(TinyImageNet):
        rows: ClassVar[int] = 33
        test_rows: ClassVar[int] = 3
        classes: ClassVar[int] = 3
        folder: ClassVar[str] = "tiny"
        url: ClassVar[str] = NOWHERE
        md5: ClassVar[str] = hashlib.md5(data).hexdigest()

    return Small()


def unpack(folder, content: dict[str, bytes]) -> None:
    for name, data in content.items():
        (folder / "tiny" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "tiny" / name).write_bytes(data)


def expected(name: str) -> np.ndarray:
    pixels = np.asarray(Image.open(io.BytesIO(files()[name])).convert("RGB"))
    return pixels.transpose(2, 0, 1).ravel()


def refused(root, made) -> str:
    with pytest.raises(DataError) as error:
        made.load(root)
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("form", ["archive", "folder"])
def test_rows_are_by_class_and_name_and_are_decoded_once(tmp_path, form):
    data = packed(files())
    if form == "archive":
        (tmp_path / "tiny.zip").write_bytes(data)
    else:
        unpack(tmp_path, files())
    first = source(data).load(tmp_path)
    assert first.y.tolist() == [0] * 11 + [1] * 11 + [2] * 11 and first.test_y.tolist() == [0, 1, 2]
    assert first.x.dtype == np.uint8 and first.x.flags.writeable and first.y.dtype == np.int64
    order = sorted(map(str, range(11)))
    for row, word, n in ((0, "n01", 0), (2, "n01", 10), (11, "n02", 0), (32, "n03", 9)):
        assert order[row % 11] == str(n)
        assert np.array_equal(first.x[row], expected(f"train/{word}/images/{word}_{n}.JPEG"))
    grey = first.x[order.index("3")].reshape(3, 64, 64)
    assert np.array_equal(grey[0], grey[1]) and np.array_equal(grey[0], grey[2])
    for row, n in enumerate((2, 0, 1)):
        assert np.array_equal(first.test_x[row], expected(f"val/images/val_{n}.JPEG"))
    first.x[0] = 0  # what a run does to its rows does not reach the file
    rest = tmp_path / ("tiny.zip" if form == "archive" else "tiny")
    rest.unlink() if form == "archive" else shutil.rmtree(rest)
    again = source(data).load(tmp_path)
    assert np.array_equal(again.x[0], expected("train/n01/images/n01_0.JPEG"))
    assert [place.name for place in tmp_path.iterdir()] == ["tiny.npy"]


def without(name: str) -> dict[str, bytes]:
    return {key: data for key, data in files().items() if key != name}


IMAGE = "train/n02/images/n02_7.JPEG"
WRONG = [
    (without("wnids.txt"), "wnids.txt"),
    (files() | {"wnids.txt": b"n01 n02"}, "wnids.txt has 2 classes, expected 3"),
    (without("val/val_annotations.txt"), "val_annotations.txt"),
    (
        files() | {"val/val_annotations.txt": b"val_0.JPEG\tn01\t0"},
        "has 0 images of n02, expected 1",
    ),
    (without(IMAGE), IMAGE),
    (files() | {IMAGE: picture(0)[:900]}, f"{IMAGE} cannot be read (image file is truncated"),
    (files() | {IMAGE: b"no picture"}, f"{IMAGE} cannot be read (cannot identify image file"),
    (
        files() | {IMAGE: picture(0, side=32)},
        f"{IMAGE} has shape (3, 32, 32), expected (3, 64, 64)",
    ),
]


@pytest.mark.parametrize("content, text", WRONG, ids=[text[:40] for _, text in WRONG])
@pytest.mark.parametrize("form", ["archive", "folder"])
def test_what_is_missing_or_broken_is_named_and_nothing_is_left(tmp_path, form, content, text):
    data = packed(content)
    if form == "archive":
        (tmp_path / "tiny.zip").write_bytes(data)
    else:
        unpack(tmp_path, content)
    found = refused(tmp_path, source(data))
    there = "tiny.zip" if form == "archive" else "tiny"
    assert found.startswith(f"{tmp_path / there}: ") and text in found
    assert [place.name for place in tmp_path.iterdir()] == [there]


def test_another_archive_is_not_it(tmp_path):
    (tmp_path / "tiny.zip").write_bytes(packed(files())[:-100])
    assert "tiny.zip: checksum is" in refused(tmp_path, source(packed(files())))


def test_without_a_network_the_line_says_what_to_put_where(tmp_path):
    found = refused(tmp_path / "data", source())
    assert found.startswith(str(tmp_path / "data/tiny.zip")) and "FEWBITS_DATA" in found
    assert NOWHERE in found and not (tmp_path / "data").exists()


@pytest.mark.parametrize("cut", [10, -5])
def test_a_decoded_copy_that_is_not_whole_is_named(tmp_path, cut):
    data = packed(files())
    (tmp_path / "tiny.zip").write_bytes(data)
    source(data).load(tmp_path)
    kept = (tmp_path / "tiny.npy").read_bytes()
    (tmp_path / "tiny.npy").write_bytes(kept[:cut])
    assert "tiny.npy: cannot be read" in refused(tmp_path, source(data))
    np.save(tmp_path / "tiny.npy", np.zeros((2, 3)))
    assert "holds float64 of (2, 3), expected uint8 of (36, 12288)" in refused(
        tmp_path, source(data)
    )
