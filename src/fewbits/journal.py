"""A run's journal: JSON lines, appended while it trains; what tracking replays. Times are in it and
nowhere else, so every other file of a run is the same bytes each time."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

NAME = "journal.jsonl"


class Journal:
    """Writes `journal.jsonl` of one run. Lines are complete when written; the file is flushed each time."""

    def __init__(self, folder: Path, head: dict, resumed_at: int | None = None) -> None:
        """Begin a journal, replacing an older one; or go on with it from a checkpoint's round.

        head: run, study, spec, tags.
        """
        self.path = folder / NAME
        if resumed_at is not None and self.path.exists():
            self._file = self.path.open("r+b")
            self._drop_half_line()
            self._write("resume", round=resumed_at)
            return
        folder.mkdir(parents=True, exist_ok=True)
        fresh = folder / f".{NAME}.part"
        self._file = fresh.open("wb")
        self._write("start", **head)
        fresh.replace(self.path)

    def round(self, metrics: dict[str, float]) -> None:
        """A recorded round; `metrics` includes "round"."""
        self._write("round", **metrics)

    def end(self, status: str, seconds: float) -> None:
        self._write("end", status=status, seconds=round(seconds, 3))
        self.close()

    def close(self) -> None:
        self._file.close()

    def _write(self, event: str, **fields) -> None:
        line = {"event": event, "time": round(time.time(), 3)}
        line |= {key: _plain(value) for key, value in fields.items()}
        self._file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        self._file.flush()

    def _drop_half_line(self) -> None:
        """A kill may have cut the last line short."""
        content = self.path.read_bytes()
        self._file.seek(content.rfind(b"\n") + 1)
        self._file.truncate()


def _plain(value):
    """Numbers as JSON has them; NaN and infinities as the strings "nan", "inf", "-inf"."""
    if isinstance(value, float):
        if not math.isfinite(value):
            return repr(value)
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    return value
