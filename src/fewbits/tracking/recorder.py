"""Drive journals into the store: `watch` beside a pipeline, `sync` once and verified."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from fewbits.files import write_json
from fewbits.journal import NAME
from fewbits.tracking.base import Known, StoreError, Update, shown
from fewbits.tracking.replay import JournalReader, fingerprint
from fewbits.tracking.store import open_store, resolve_uri

BATCH_RUNS = 50  # runs in one transaction
QUIET_SECONDS = 60.0  # a journal without a process to ask is live for that long
LONGEST_PAUSE = 30.0  # seconds between passes, and between attempts while the store is away
REST = 50  # pauses are at least so many times as long as the pass before them took of the processor


@dataclass
class Recorded:
    """What the store holds of the runs asked for, as read back; `problem` is one line or None."""

    complete: bool
    uri: str
    runs: dict[str, dict] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    problem: str | None = None


class Recorder:
    """Follows all journals under `results` and writes what is new in them to an existing store."""

    def __init__(self, results: Path, uri: str | None = None) -> None:
        self.results = Path(results).resolve()
        self.store = open_store(self.results, uri)
        self.known = self.store.known()
        self.journals: dict[Path, JournalReader] = {}

    def record(self, final: bool = False, wait: float = 1.0) -> int:
        """One pass over all journals; returns the number of runs written.

        `final`: nobody will call again, so runs whose process is gone are closed as killed. Raises
        StoreError; the recorder is then to be thrown away, since it no longer knows what the store
        holds.
        """
        with _locked(self.results, wait):
            written = 0
            updates = filter(None, (self._update(path, final) for path in self._paths()))
            while batch := list(itertools.islice(updates, BATCH_RUNS)):
                self._write(batch)
                written += len(batch)
        return written

    def _paths(self) -> list[Path]:
        """Where journals are or may come; `os.scandir` because this is asked at every pass."""
        folders = []
        with contextlib.suppress(OSError):
            for study in os.scandir(self.results / "runs"):
                with contextlib.suppress(NotADirectoryError):
                    folders += [run.path for run in os.scandir(study.path)]
        return [Path(folder, NAME) for folder in sorted(folders)]

    def _update(self, path: Path, final: bool) -> Update | None:
        """What there is to write of a journal, None if nothing. A recorded and unchanged one is not
        even opened.
        """
        journal = self.journals.setdefault(path, JournalReader(path))
        mark = fingerprint(path)
        runs = self.known.get(path.parent.name, [])
        if mark is None or mark == journal.stored:
            return self._killed(journal, mark) if final and mark else None
        if journal.attempt is None and len(runs) == 1 and runs[0].journal == mark:
            journal.stored = mark
            return None
        journal.read()
        if journal.attempt is None:
            return None
        runs = self.known.get(journal.attempt.run, [])
        known = next((run for run in runs if run.holds(journal.attempt)), None)
        superseded = [run.id for run in runs if run is not known]
        alive = not final or _is_alive(journal)
        return Update(journal.attempt, path.parent, mark, known, superseded, alive)

    def _killed(self, journal: JournalReader, mark: str) -> Update | None:
        """A run without an end whose process is gone, seen at the final pass."""
        attempt = journal.attempt
        if attempt is None or attempt.status is not None or _is_alive(journal):
            return None
        known = next((r for r in self.known.get(attempt.run, []) if r.holds(attempt)), None)
        return Update(attempt, journal.path.parent, mark, known, alive=False)

    def _write(self, updates: list[Update]) -> None:
        for update, run_id in zip(updates, self.store.write(updates), strict=True):
            attempt = update.attempt
            self.known[attempt.run] = [Known(run_id, attempt.start, attempt.tags.get("code", ""))]
            self.journals[update.folder / NAME].stored = update.fingerprint
            attempt.points.clear()


def watch(results: Path, parent_pid: int, poll: float = 2.0, uri: str | None = None) -> None:
    """Record live until the process `parent_pid` is gone or SIGTERM/SIGINT comes, then once more,
    and return.

    Trouble with the store is told once on stderr and tried again, at growing intervals; it never
    ends the watch.
    """
    stop, recorder, pause, told = threading.Event(), None, poll, None
    with _signals(stop):
        parent = _process(parent_pid)
        while True:
            last = stop.is_set() or not _runs(parent)
            try:
                recorder = recorder or Recorder(results, uri)
                begun = time.process_time()
                recorder.record(final=last, wait=10.0 if last else 1.0)
                took = time.process_time() - begun
                pause, told = min(max(poll, REST * took), LONGEST_PAUSE), None
            except StoreError as error:
                recorder, pause = None, min(2 * pause, LONGEST_PAUSE)
                if str(error) != told:
                    print(
                        f"tracking: {error} (training goes on; recorded later)",
                        file=sys.stderr,
                        flush=True,
                    )
                told = str(error)
            if last:
                return
            _sleep(stop, parent, pause, poll)


def sync(results: Path, runs: Iterable[str] | None = None, uri: str | None = None) -> Recorded:
    """Complete the record, read it back, write results/tracking/recorded.json, and return what it
    says.

    `runs`: ids of the runs that must be there (the manifest's); None asks for all that have a
    journal. Never raises for a store that is away: `complete` is then false and `problem` says why,
    within seconds.
    """
    results = Path(results).resolve()
    journals = {path.parent.name: path for path in results.glob(f"runs/*/*/{NAME}")}
    wanted = list(dict.fromkeys(runs)) if runs is not None else sorted(journals)
    recorded = Recorded(False, "", missing=wanted)
    try:
        recorded.uri = shown(resolve_uri(results, uri))
        recorder = Recorder(results, uri)
        recorder.record(final=True, wait=60.0)
        _verify(recorded, recorder.store.known(count=True), journals, wanted)
    except StoreError as error:
        recorded.problem = (
            f"{error}; the runs' own files are complete, `fewbits sync` records them later"
        )
    write_json(results / "tracking" / "recorded.json", asdict(recorded))
    return recorded


def _verify(
    recorded: Recorded, stored: dict[str, list[Known]], journals: dict[str, Path], wanted: list[str]
) -> None:
    """Fill in what was read back. A run is recorded if it is there once, ended, with every point of
    its journal.
    """
    recorded.missing = []
    for run in wanted:
        entries = stored.get(run, [])
        known = entries[0] if len(entries) == 1 else None
        if known is not None:
            recorded.runs[run] = {
                "mlflow_run_id": known.id,
                "points": known.points,
                "status": known.status,
            }
        mark = fingerprint(journals[run]) if run in journals else None
        whole = known is not None and known.points == known.expected >= 0 and known.journal == mark
        if not whole:
            recorded.missing.append(run)
    recorded.complete = not recorded.missing
    if recorded.missing:
        absent = sum(run not in journals for run in recorded.missing)
        rest = len(recorded.missing) - absent
        recorded.problem = (
            f"{len(recorded.missing)} of {len(wanted)} runs not recorded whole: "
            f"{absent} have no journal, {rest} have not ended or do not match"
        )


@contextlib.contextmanager
def _locked(results: Path, wait: float) -> Iterator[None]:
    """One recorder writes at a time. Raises StoreError where another one is at it for longer than
    `wait` seconds.
    """
    try:
        (results / "tracking").mkdir(parents=True, exist_ok=True)
        with FileLock(results / "tracking" / "recorder.lock", timeout=wait):
            yield
    except Timeout:
        raise StoreError("another recorder is at work") from None
    except OSError as error:
        raise StoreError(f"{results / 'tracking'}: {error}") from error


@contextlib.contextmanager
def _signals(stop: threading.Event) -> Iterator[None]:
    """SIGTERM and SIGINT set `stop`; the old handlers come back. Outside the main thread nothing is
    changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    old = {
        number: signal.signal(number, lambda *_: stop.set())
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _process(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except psutil.NoSuchProcess:
        return None


def _runs(process: psutil.Process | None) -> bool:
    """Tells a process from a later one of the same number, and from one dead but not collected."""
    try:
        return (
            process is not None
            and process.is_running()
            and process.status() != psutil.STATUS_ZOMBIE
        )
    except psutil.NoSuchProcess:
        return False


def _is_alive(journal: JournalReader) -> bool:
    """Whether a run without an end is still being trained, as far as this machine can tell.

    Its start may name the process; else a journal written to within the last minute counts. A wrong
    answer lasts until the next row: then the run is shown as running again.
    """
    pid = journal.attempt.tags.get("pid", "")
    if pid.isdigit():
        return _runs(_process(int(pid)))
    try:
        return time.time() - journal.path.stat().st_mtime < QUIET_SECONDS
    except OSError:
        return False


def _sleep(stop: threading.Event, parent: psutil.Process | None, pause: float, poll: float) -> None:
    """Wait `pause` seconds, but not past a signal or the parent's end."""
    waited = 0.0
    while waited < pause and not stop.wait(min(poll, pause - waited)):
        waited += poll
        if not _runs(parent):
            return
