"""Data files: found under the data root, else downloaded there; checked either way, never half-written.

Checksums are those of the content, so that a file may lie there as it is, as .gz or as .bz2, and an archive as it
is or unpacked: md5 where the authors publish it, else sha256 (told apart by length).
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import sys
import tarfile
import time
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path

from filelock import FileLock

from fewbits.datasets.base import DataError

OPENERS = {"": open, ".gz": gzip.open, ".bz2": bz2.open}
CUT_SHORT = (OSError, ValueError, EOFError, zlib.error, tarfile.TarError)
HINT = "put the file there, or name the data root that has it in FEWBITS_DATA or config.yaml: data_root"


class _Bad(Exception):
    """What is wrong with a file's bytes."""


def content(root: Path, path: str, checksum: str, url: str | None = None) -> bytes:
    """The bytes of `root/path`, which may lie there compressed; else of `url`, which is kept there.

    Raises DataError: unreadable, cut short, other bytes, or not there and not to be had.
    """
    for suffix in OPENERS:
        file = root / (path + suffix)
        if file.exists():
            with _named(file):
                return _plain(file, suffix, checksum)
    suffix = Path(url or "").suffix if Path(url or "").suffix in OPENERS else ""
    file = root / (path + suffix)
    _download(url, file, lambda part: _plain(part, suffix, checksum))
    return _plain(file, suffix, checksum)


def members(
    root: Path, archive: str, checksums: dict[str, str], url: str
) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of these members of the tar archive `root/archive`, one at a time, checked.

    Read from the folder it unpacks to if that is there; downloaded from `url` if there is neither.
    Raises DataError like `content`.
    """
    if all((root / name).exists() for name in checksums):
        for name, checksum in checksums.items():
            yield name, content(root, name, checksum)
        return
    file = root / archive
    if not file.exists():
        _download(url, file, lambda part: [None for _ in _members(part, checksums)])
    with _named(file):
        yield from _members(file, checksums)


def archive(root: Path, path: str, checksum: str, url: str) -> Path:
    """`root/path`, downloaded from `url` if it is not there; its own bytes are checked. Raises DataError like `content`."""
    file = root / path
    if not file.exists():
        _download(url, file, lambda part: _whole(part, checksum))
    with _named(file):
        _whole(file, checksum)
    return file


def made(file: Path, make: Callable[[Path], object]) -> None:
    """See that `file` is there, else `make(part)` it; it appears under its name only when it is whole.

    One process at a time: others wait for it and find the file. Raises DataError where the folder cannot be written to.
    """
    if file.exists():
        return
    new = [folder for folder in file.parents if not folder.exists()]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with _lock(file):
            if not file.exists():
                _made(file, make)
    except OSError as error:
        raise DataError(f"{file}: cannot be made ({error}); choose another data root") from None
    finally:
        for folder in new:
            with suppress(OSError):
                folder.rmdir()  # if nothing came of it


def _made(file: Path, make: Callable[[Path], object]) -> None:
    part = file.with_name(f".{file.name}.part")
    try:
        make(part)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def _whole(file: Path, checksum: str) -> None:
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, _kind(checksum)).hexdigest()
    _compared(found, checksum, "checksum")


def _plain(file: Path, suffix: str, checksum: str) -> bytes:
    try:
        with OPENERS[suffix](file, "rb") as stream:
            data = stream.read()
    except CUT_SHORT as error:
        raise _Bad(f"cannot be read ({error})") from None
    return _verified(data, checksum, "checksum")


def _members(file: Path, checksums: dict[str, str]) -> Iterator[tuple[str, bytes]]:
    missing = dict(checksums)
    try:
        with tarfile.open(file, "r|*") as archive:
            for member in archive:
                if member.name in missing:
                    data = archive.extractfile(member).read()
                    expected = missing.pop(member.name)
                    yield member.name, _verified(data, expected, f"checksum of {member.name}")
    except CUT_SHORT as error:
        raise _Bad(f"cannot be read ({error})") from None
    if missing:
        raise _Bad(f"has no {next(iter(missing))}")


def _verified(data: bytes, checksum: str, what: str) -> bytes:
    found = hashlib.new(_kind(checksum), data, usedforsecurity=False).hexdigest()
    _compared(found, checksum, what)
    return data


def _kind(checksum: str) -> str:
    return {32: "md5", 64: "sha256"}[len(checksum)]


def _compared(found: str, checksum: str, what: str) -> None:
    if found != checksum:
        raise _Bad(f"{what} is {found}, expected {checksum}")


@contextmanager
def _named(file: Path):
    try:
        yield
    except _Bad as error:
        raise DataError(f"{file}: {error}; delete it and try again") from None


def _download(url: str | None, file: Path, check: Callable[[Path], object]) -> None:
    """Get `file` from `url`; it appears under its name only once `check` has passed.

    One process at a time: others wait for it and find the file.
    """
    if url is None:
        raise DataError(f"{file}: not there, and there is no place to download it from; {HINT}")
    new = [folder for folder in file.parents if not folder.exists()]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with _lock(file):
            if not file.exists():
                _made(file, lambda part: (_receive(url, part), check(part)))
    except _Bad as error:
        text = f"{file}: not there, and what {url} sent is not it: {error}; get it by another way"
        raise DataError(text) from None
    except (OSError, HTTPException) as error:
        text = f"{file}: not there, and downloading {url} failed ({error}); {HINT}"
        raise DataError(text) from None
    finally:
        for folder in new:
            with suppress(OSError):
                folder.rmdir()  # if nothing came of it


@contextmanager
def _lock(file: Path):
    path = file.with_name(f".{file.name}.lock")
    with FileLock(path):
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _receive(url: str, part: Path) -> None:
    """Copy `url` to `part`, saying how far it is every five seconds."""
    said = time.monotonic()
    with urllib.request.urlopen(url, timeout=60) as answer, part.open("wb") as stream:
        size = int(answer.headers.get("Content-Length") or 0)
        while block := answer.read(1 << 20):
            stream.write(block)
            if time.monotonic() - said > 5:
                said = time.monotonic()
                of = f" of {size / 1e6:.0f}" if size else ""
                print(f"{url}: {stream.tell() / 1e6:.0f}{of} MB", file=sys.stderr, flush=True)
        if size and stream.tell() != size:
            raise OSError(f"it ended after {stream.tell()} of {size} bytes")
