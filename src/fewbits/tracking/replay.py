"""Read a run's journal piece by piece and turn it into what MLflow shows: params, tags, thinned
points.

The reading is a function of the file's lines alone, so replaying a journal any number of times, in
any pieces, gives the same points with the same time stamps; that is what makes recording
idempotent.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

ARTIFACTS = ("spec.json", "metrics.csv", "summary.json")
ROWS = 40  # rows of a run that go to MLflow; all rows are in its metrics.csv
FINAL_ONLY = ("bits_up_values", "bits_up_indices", "bits_up_metadata", "bits_down")


class Point(NamedTuple):
    """One stored metric value; `time` in unix milliseconds, `step` a round or a number of bits."""

    key: str
    value: float
    time: int
    step: int


def kept_rows(rounds: int, record_every: int, rows: int = ROWS) -> frozenset[int]:
    """Which of a run's recorded rows (counted from 0) go to MLflow: about `rows` at most.

    Half are evenly spaced over the planned length and half on a logarithmic scale, so that a run
    that stops early keeps a readable curve too. It depends on the plan only, never on how far the
    run has come.
    """
    total = -(-rounds // max(1, record_every)) + 1
    if total <= rows:
        return frozenset(range(total))
    half = rows // 2
    even = {round(i * (total - 1) / half) for i in range(half)}
    logarithmic = {round((total - 1) ** (i / half)) for i in range(half)}
    return frozenset(even | logarithmic | {total - 1})


def flat(spec: dict) -> dict[str, str]:
    """A spec as MLflow params: the name of a plug-in under its own key, its parameters dotted,
    values as text.

    >>> flat({"compressor": {"name": "topk", "k": 1}, "seed": 0})
    {'compressor': 'topk', 'compressor.k': '1', 'seed': '0'}
    """
    columns = {}
    for key, value in spec.items():
        if isinstance(value, dict):
            for name, part in flat(value).items():
                columns[key if name == "name" else f"{key}.{name}"] = part
        elif value is not None:
            columns[key] = value if isinstance(value, str) else json.dumps(value)
    return columns


@dataclass
class Attempt:
    """What a journal has said so far about one training of one run.

    `points` are those not yet handed to the store, `total` counts all of them, handed over or not.
    """

    run: str
    study: str
    spec: dict
    tags: dict[str, str]
    start: int
    kept: frozenset[int]
    rows: int = 0
    last: dict = field(default_factory=dict)
    last_time: int = 0
    last_kept: bool = True
    best: dict[str, float] = field(default_factory=dict)
    status: str | None = None
    end: int | None = None
    points: list[Point] = field(default_factory=list)
    total: int = 0

    @classmethod
    def begin(cls, event: dict) -> Attempt:
        spec = event.get("spec") or {}
        tags = {key: str(value) for key, value in (event.get("tags") or {}).items()}
        kept = kept_rows(int(spec.get("rounds", 1000)), int(spec.get("record_every", 1)))
        start = _milliseconds(event)
        return cls(event["run"], event["study"], spec, tags, start, kept, last_time=start)

    def add_row(self, event: dict) -> None:
        """Take one recorded round; one seen before (a resumed run repeats some) is passed over."""
        row = {key: float(value) for key, value in event.items() if key not in ("event", "time")}
        if self.last and row["round"] <= self.last["round"]:
            return
        self.last, self.last_time = row, _milliseconds(event)
        for key in ("loss", "grad_sq"):
            if key in row and row[key] < self.best.get(key, float("inf")):
                self.best[key] = row[key]
        self.last_kept = self.rows in self.kept
        if self.last_kept:
            self._emit_row()
        self.rows += 1

    def finish(self, event: dict) -> None:
        """The run ended: add the last row where thinning left it out, and the final values."""
        if self.status is not None:
            return
        self.status, self.end = str(event.get("status", "finished")), _milliseconds(event)
        if not self.last_kept:
            self._emit_row()
        final = {f"final/{key}": value for key, value in self.last.items() if key != "round"}
        final |= {f"final/best_{key}": value for key, value in self.best.items()}
        final |= {f"final/{key}": value for key, value in self._log10()}
        final["final/rounds"] = self.last.get("round", 0.0)
        final["final/seconds"] = float(event.get("seconds") or 0.0)
        # at step 0 MLflow draws them as bars; elsewhere as curves of one point
        self._emit(Point(key, value, self.end, 0) for key, value in final.items())

    def _emit_row(self) -> None:
        """By round: bits and every measured value. By bits: the measured values, step = bits sent
        by a client.
        """
        row, step, time = self.last, int(self.last["round"]), self.last_time
        series = [key for key in row if key != "round" and key not in FINAL_ONLY]
        self._emit(Point(key, row[key], time, step) for key in series)
        if "bits_up" in row:
            bits = round(row["bits_up"])
            measured = (key for key in series if key != "bits_up")
            self._emit(Point(f"by_bits/{key}", row[key], time, bits) for key in measured)
            self._emit(Point(f"by_bits/{key}", value, time, bits) for key, value in self._log10())

    def _log10(self) -> list[tuple[str, float]]:
        """For MLflow, whose axes are linear at first and whose tables cut off exponents."""
        grad_sq = self.last.get("grad_sq", 0.0)
        return [("log10_grad_sq", math.log10(grad_sq))] if grad_sq > 0 else []

    def _emit(self, points) -> None:
        before = len(self.points)
        self.points.extend(points)
        self.total += len(self.points) - before


class JournalReader:
    """A journal file being followed. `read` takes what is new; `attempt` is what it amounts to so
    far.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.attempt: Attempt | None = None
        self.stored: str | None = None  # the fingerprint at which everything so far is in the store
        self._file: tuple[int, int] | None = (
            None  # device and inode: a newer attempt replaces the file
        )
        self._offset = 0

    def read(self) -> None:
        """Parse the whole lines added since the last call; a half-written last line waits for its
        end.

        A file that was replaced is read from its start. A file that is gone leaves everything as it
        was.
        """
        try:
            with open(self.path, "rb") as file:
                stat = os.fstat(file.fileno())
                identity = (stat.st_dev, stat.st_ino)
                if identity != self._file or stat.st_size < self._offset:
                    self._file, self._offset, self.attempt = identity, 0, None
                file.seek(self._offset)
                data = file.read()
        except OSError:
            return
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            self._take(line)

    def _take(self, line: bytes) -> None:
        """One event. A line that says nothing usable is passed over: it must not stop us."""
        try:
            event = _event(line)
            kind = event.get("event")
            if kind == "start":
                self.attempt = Attempt.begin(event)
            elif self.attempt is None:
                return
            elif kind == "round":
                self.attempt.add_row(event)
            elif kind == "end":
                self.attempt.finish(event)
        except (ValueError, TypeError, KeyError, AttributeError):
            return


def fingerprint(path: Path) -> str | None:
    """Tells whether a journal or a finished file beside it changed. None if there is no journal.

    Asked for every run at every pass, hence `os.stat` on plain strings.
    """
    try:
        stat = os.stat(path)
    except OSError:
        return None
    folder, newest, count = str(path.parent), stat.st_mtime_ns, 0
    for name in ARTIFACTS:
        with contextlib.suppress(OSError):
            newest = max(newest, os.stat(f"{folder}/{name}").st_mtime_ns)
            count += 1
    return f"{stat.st_size}-{newest}-{count}"


def artifact_files(folder: Path) -> list[Path]:
    """The files of a run's folder that MLflow keeps as artifacts, as far as they exist."""
    return [folder / name for name in ARTIFACTS if (folder / name).is_file()]


def _event(line: bytes) -> dict:
    """A line's object. A process killed in mid-line leaves a stub before the next event: the event
    is rescued.
    """
    try:
        return json.loads(line)
    except ValueError:
        begin = line.rfind(b'{"event"')
        if begin <= 0:
            raise
        return json.loads(line[begin:])


def _milliseconds(event: dict) -> int:
    return round(float(event["time"]) * 1000)
