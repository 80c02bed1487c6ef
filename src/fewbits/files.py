"""Files that are either whole or not there: written beside and renamed; JSON in one canonical form."""

from __future__ import annotations

import hashlib
import json
import math
import os
from pathlib import Path


def write_bytes(path: Path, data: bytes) -> None:
    """Write atomically, making parent folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_bytes(data)
    part.replace(path)


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def write_json(path: Path, value) -> None:
    """Sorted keys, two spaces, a last newline; NaN and infinities as null."""
    text = json.dumps(finite(value), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def read_json(path: Path):
    return json.loads(Path(path).read_text(encoding="utf-8"))


def canonical(value) -> str:
    """One line of JSON that is the same for equal values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(text: str, digits: int = 12) -> str:
    """A short hexadecimal name for a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:digits]


def finite(value):
    """`value` with every NaN and infinity replaced by None."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
