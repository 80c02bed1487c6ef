"""Checkpoints of a batch: one file, whole or absent, without pickle."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np

from fewbits.files import write_bytes


def save(path: Path, arrays: dict[str, np.ndarray], code: str) -> None:
    """Write atomically, with the fingerprint of the code that made it."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays, code=np.array(code))
    write_bytes(path, buffer.getvalue())


def load(path: Path, code: str) -> dict[str, np.ndarray] | None:
    """What `save` wrote; None if there is none, it cannot be read, or other code made it."""
    try:
        with np.load(path, allow_pickle=False) as held:
            arrays = {key: held[key] for key in held.files}
    except (OSError, ValueError, zipfile.BadZipFile):
        return None
    return arrays if str(arrays.pop("code", "")) == code else None
