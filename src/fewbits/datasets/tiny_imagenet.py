"""Tiny-ImageNet (Le and Yang 2015, Stanford's course CS 231N): the archive tiny-imagenet-200.zip, or the folder it unpacks to.

The labels of the published test part are not public, so the published validation part is the test part here, as in most code.
Decoding 110,000 JPEG files takes a minute, so it is done once, into one file beside them.
"""

from __future__ import annotations

import io
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import numpy as np

from fewbits.datasets.base import Arrays, DataError, Dataset, data_root
from fewbits.datasets.fetch import archive, made
from fewbits.registry import plugin

Read = Callable[
    [str], bytes
]  # a file's bytes, by its path in the archive; KeyError or OSError where there is none


class _Unfit(Exception):
    """What is wrong with the files."""


@plugin
class TinyImageNet(Dataset):
    """100,000 + 10,000 photographs of 64 x 64 pixels in colour, 200 classes, numbered in the order of their WordNet names; rows are in
    the order of classes and of names.

    Rows are read from the disk as they are used: of a file of 1.35 GB beside the archive, which holds both parts, decoded.
    """

    name: ClassVar[str] = "tiny_imagenet"
    rows: ClassVar[int] = 100_000
    test_rows: ClassVar[int] = 10_000
    features: ClassVar[int] = 12_288
    shape: ClassVar[tuple[int, ...]] = (3, 64, 64)
    classes: ClassVar[int] = 200
    title: ClassVar[str] = "Tiny-ImageNet"
    cite: ClassVar[str] = "le2015tinyimagenet"
    folder: ClassVar[str] = "tiny-imagenet-200"
    url: ClassVar[str] = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
    md5: ClassVar[str] = "90528d7ca1a48142e341f4ef8d21d0de"

    def load(self, root=None):
        root = data_root(root)
        decoded = root / f"{self.folder}.npy"
        made(decoded, lambda part: self._decode(root, part))
        x, y = self._kept(decoded), np.arange(self.classes)
        counts = self.rows // self.classes, self.test_rows // self.classes
        labels, test_labels = (np.repeat(y, count) for count in counts)
        return Arrays(x[: self.rows], labels, x[self.rows :], test_labels)

    def _kept(self, file: Path) -> np.ndarray:
        """The decoded pixels, read from the disk as they are used."""
        wanted = self.rows + self.test_rows, self.features
        try:
            x = np.load(file, mmap_mode="c", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"{file}: cannot be read ({error}); delete it and try again") from None
        if x.shape != wanted or x.dtype != np.uint8:
            found = f"holds {x.dtype} of {x.shape}, expected uint8 of {wanted}"
            raise DataError(f"{file}: {found}; delete it and try again")
        return x

    def _decode(self, root: Path, part: Path) -> None:
        with self._source(root) as (place, read):
            try:
                names = [*self._train(read), *self._test(read)]
                shape = len(names), self.features
                with part.open("wb") as stream:
                    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(stream, header)
                    for name in _said(names, place):
                        stream.write(self._pixels(read, name))
            except (_Unfit, KeyError, OSError, zipfile.BadZipFile) as error:
                raise DataError(f"{place}: {_text(error)}; unpack or get it anew") from None

    @contextmanager
    def _source(self, root: Path) -> Iterator[tuple[Path, Read]]:
        """Where the files are, and how to read one."""
        folder = root / self.folder
        if folder.is_dir():
            yield folder, lambda name: (folder / name).read_bytes()
            return
        file = archive(root, f"{self.folder}.zip", self.md5, self.url)
        with zipfile.ZipFile(file) as packed:
            yield file, lambda name: packed.read(f"{self.folder}/{name}")

    def _train(self, read: Read) -> list[str]:
        """Images are numbered from 0 in every class, and in the order of their names (so 10 comes before 2)."""
        each = self.rows // self.classes
        numbers = sorted(map(str, range(each)))
        return [f"train/{c}/images/{c}_{n}.JPEG" for c in self._words(read) for n in numbers]

    def _test(self, read: Read) -> list[str]:
        """By class and name, as the annotations say."""
        each, words = self.test_rows // self.classes, self._words(read)
        lines = read("val/val_annotations.txt").decode().splitlines()
        pairs = [tuple(line.split("\t")[:2]) for line in lines if line]
        counts = Counter(word for _, word in pairs)
        if wrong := [word for word in {*words, *counts} if counts[word] != each]:
            word = min(wrong)
            raise _Unfit(
                f"val_annotations.txt has {counts[word]} images of {word}, expected {each}"
            )
        return [f"val/images/{name}" for _, name in sorted((word, name) for name, word in pairs)]

    def _words(self, read: Read) -> list[str]:
        words = sorted(read("wnids.txt").decode().split())
        if len(words) != self.classes:
            raise _Unfit(f"wnids.txt has {len(words)} classes, expected {self.classes}")
        return words

    def _pixels(self, read: Read, name: str) -> bytes:
        """Of one image, channels first; grey ones have three equal channels."""
        from PIL import Image

        try:
            with Image.open(io.BytesIO(read(name))) as image:
                pixels = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
        except (OSError, SyntaxError, ValueError) as error:
            raise _Unfit(f"{name} cannot be read ({_text(error)})") from None
        if pixels.shape != self.shape:
            raise _Unfit(f"{name} has shape {pixels.shape}, expected {self.shape}")
        return pixels.tobytes()


def _text(error: Exception) -> str:
    return str(error).strip("'\"").replace("\n", " ")


def _said(names: list[str], place: Path) -> Iterator[str]:
    """The names, saying every five seconds how far they are."""
    said = time.monotonic()
    for number, name in enumerate(names):
        yield name
        if time.monotonic() - said > 5:
            said = time.monotonic()
            text = f"{place}: {number + 1:,} of {len(names):,} images decoded"
            print(text, file=sys.stderr, flush=True)
