"""Train runs: skip those that are done, go on from checkpoints, write each run's folder.

Runs that differ only in step size and seed are lanes of one batch and share every computation.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from fewbits import checkpoint, devices, environment, fingerprint, registry
from fewbits.datasets.base import Arrays
from fewbits.federation import (
    assemble,
    engine,
    outcome,
    representations,
    snapshots,
    statistics,
)
from fewbits.federation.engine import Batch, Observer
from fewbits.files import canonical, digest, read_json, write_json, write_text
from fewbits.journal import Journal
from fewbits.lazy import torch
from fewbits.partition import base as partitions

CHECKPOINT_SECONDS = float(os.environ.get("FEWBITS_CHECKPOINT_SECONDS", "5"))
LANE_KEYS = ("step", "seed")  # what may differ between the lanes of a batch


@dataclass(frozen=True)
class Places:
    """Where things are: runs in `runs`/STUDY/RUN, data files, and saved partitions (folder by run)."""

    runs: Path
    data_root: Path | None = None
    partitions: dict[str, Path] = field(default_factory=dict)

    def run(self, spec: dict, name: str) -> Path:
        """A run's folder."""
        return self.runs / spec["study"] / name

    def state(self, spec: dict) -> Path:
        """The folder of locks and checkpoints."""
        return self.runs / spec["study"] / ".state"


class OneRun(Places):
    """The folder `runs` is that of the only run."""

    def run(self, spec, name):
        return self.runs

    def state(self, spec):
        return self.runs


Say = Callable[[str], None]


def train(
    runs: dict[str, dict],
    places: Places,
    say: Say = print,
    resume: bool = True,
    device: str = devices.PROCESSOR,
) -> int:
    """Train all runs (name -> spec) that are not done yet; returns how many were trained.

    device: `cpu`, `auto` or `cuda` (devices.py). Interrupted (Ctrl-C, SIGTERM) or killed at any moment, the same call goes on
    and ends in the same bytes.
    """
    trained = 0
    for batch in batches(runs).values():
        trained += _train_batch(batch, places, say, resume, device)
    return trained


def train_one(
    spec: dict,
    out: Path,
    data_root: Path | None = None,
    start: Path | None = None,
    say: Say = print,
    device: str = devices.PROCESSOR,
) -> str:
    """Train one run into the folder `out`; returns its status.

    `start`, a .npy file with the starting point, takes the place of the one drawn from the seed; its
    digest becomes part of the spec. Raises ValueError if it is not such a file or of another shape.
    """
    if start is not None:
        spec = spec | {"start": {"file": str(start), "digest": assemble.read_start(str(start))[1]}}
    train({out.name: spec}, OneRun(out, data_root), say, device=device)
    return read_json(out / "summary.json")["status"]


def batches(runs: dict[str, dict]) -> dict[str, dict[str, dict]]:
    """Runs grouped by everything but step size and seed (and by seed too where that decides who holds which rows, or who is
    malicious)."""
    grouped: dict[str, dict[str, dict]] = {}
    for name, spec in runs.items():
        shared = {key: value for key, value in spec.items() if key not in LANE_KEYS}
        if registry.find("partition", spec["partition"]["name"]).random or spec.get("attack"):
            shared["same_seed"] = spec["seed"]
        grouped.setdefault(canonical(shared), {})[name] = spec
    return grouped


def digests(runs: dict[str, dict], places: Places) -> dict[str, str]:
    """A digest of every run's table and summary: equal digests, equal results."""
    names = ("metrics.csv", "summary.json")
    folders = {name: places.run(spec, name) for name, spec in runs.items()}
    return {run: digest("".join((f / n).read_text() for n in names)) for run, f in folders.items()}


def is_done(folder: Path, spec: dict, code: str) -> bool:
    """Whether the folder holds this very run, made by this very code, with its files as they were made."""
    try:
        summary = read_json(folder / "summary.json")
        table = digest((folder / "metrics.csv").read_text())
        same_spec = read_json(folder / "spec.json") == spec
        kept = summary.get("snapshots", {})
        whole = summary["metrics"] == table and snapshots.digests(folder, list(kept)) == kept
        return same_spec and summary["code"] == code and whole
    except (OSError, ValueError, KeyError):
        return False


def _train_batch(runs: dict[str, dict], places: Places, say: Say, resume: bool, asked: str) -> int:
    first = next(iter(runs.values()))
    device = devices.of_run(first, asked)
    code = devices.code(fingerprint.of_run(first), device)
    state = places.state(first) / f"{digest(canonical(runs))}.npz"
    state.parent.mkdir(parents=True, exist_ok=True)
    with only_one(state.with_suffix(".lock"), say):
        waiting = {n: s for n, s in runs.items() if not is_done(places.run(s, n), s, code)}
        if not waiting:
            return 0
        torch.set_num_threads(1)  # the number of threads changes the digits
        rows = data_of(first, places, places.partitions.get(next(iter(runs))))
        problem = assemble.problem(first, *rows, device)
        if doubt := problem.doubt():
            say(f"warning: study {first['study']}: compressor.name: found {doubt}")
        schedule = assemble.schedule(first)
        saved = checkpoint.load(state, code) if resume else None

        def snapshots_kept(name: str, last: int) -> bool:
            return has_snapshots(places.run(first, name), schedule.snapshots.rounds, last)

        for batch in _pieces(waiting, problem, saved, snapshots_kept):
            lanes = {name: waiting[name] for name in batch.names}
            desk = Desk(lanes, problem, places, code, batch, state, say)
            engine.run(batch, problem.setting(), schedule, desk)
        state.unlink(missing_ok=True)
        return len(waiting)


def data_of(spec: dict, places: Places, saved: Path | None) -> tuple[Arrays, list[np.ndarray]]:
    """Rows and partition; the partition from its file where the pipeline made one."""
    data = registry.make("dataset", spec["dataset"]).load(places.data_root)
    if saved is not None:
        return data, partitions.read(saved)
    return data, registry.make("partition", spec["partition"]).divide(data, spec["seed"])


def _pieces(
    runs: dict[str, dict],
    problem: assemble.Problem,
    saved: dict | None,
    snapshots_kept: Callable[[str, int], bool],
) -> Iterable[Batch]:
    """The lanes of a checkpoint that are still wanted and have their snapshots so far, then all others from the start."""
    if saved is not None:
        batch = Batch.from_arrays(saved)
        going_on = [name in runs and snapshots_kept(name, batch.round) for name in batch.names]
        batch.keep(np.flatnonzero(going_on))
        runs = {name: spec for name, spec in runs.items() if name not in batch.names}
        if batch.names:
            yield batch
    if runs:
        specs = list(runs.values())
        points = assemble.starting_points(specs, problem.objective)
        steps = np.array([problem.step_size(spec["step"]) for spec in specs])
        keys = assemble.lane_keys(specs)
        yield engine.start(list(runs), keys, points, steps, problem.setting())


def has_snapshots(folder: Path, rounds: Iterable[int], last: int) -> bool:
    wanted = [number for number in rounds if number <= last]
    return len(snapshots.digests(folder, wanted)) == len(wanted)


class Desk(Observer):
    """Writes what the engine reports: journals and checkpoints on the way, a folder at each end.

    state: the checkpoint's file; None where somebody else sees to checkpoints.
    """

    def __init__(self, runs, problem, places, code, batch, state, say) -> None:
        self.runs, self.problem, self.places, self.code = runs, problem, places, code
        self.state, self.say = state, say
        self.last = self.saved = self.said = time.monotonic()
        # Seconds so far of one lane; lanes share each moment with those that are still there.
        self.share = 0.0
        self.lanes = len(runs)
        resumed = batch.round if batch.rows else None
        self.steps = dict(zip(batch.names, batch.step.flatten().tolist(), strict=True))
        self.journals = {name: self._journal(name, spec, resumed) for name, spec in runs.items()}

    def recorded(self, batch: Batch) -> None:
        for name, row in zip(batch.names, batch.rows[-1].tolist(), strict=True):
            self.journals[name].round(dict(zip(batch.columns, row, strict=True)))
        now = time.monotonic()
        self.share += (now - self.last) / len(batch.names)
        self.last = now
        if self.state is not None and now - self.saved > CHECKPOINT_SECONDS:
            checkpoint.save(self.state, batch.arrays(), self.code)
            self.saved = now
        if now - self.said > 2:
            self._progress(batch)
            self.said = now

    def saw(self, batch: Batch, opened, x) -> None:
        f, kept = self.problem.objective, self._schedule(batch.names[0]).snapshots
        taken = [{} for _ in batch.names]
        if "updates" in kept.keep:
            taken = snapshots.updates_of_lanes(opened.seen, opened.cohort, f.layers, kept.clients)
        if "spectra" in kept.keep:
            kept_beside = batch.state.get(statistics.KEY)
            found = representations.of_lanes(f, x, kept_beside, opened.seen)
            taken = [one | other for one, other in zip(taken, found, strict=True)]
        for name, arrays in zip(batch.names, taken, strict=True):
            snapshots.save(self.places.run(self.runs[name], name), batch.round, arrays)

    def ended(self, name, status, columns, table) -> None:
        spec = self.runs[name]
        folder = self.places.run(spec, name)
        constants = self.problem.constants(self.steps[name])
        summary = outcome.summary(name, spec, status, columns, table, constants)
        write_json(folder / "spec.json", spec)
        text = outcome.metrics_csv(columns, table)
        write_text(folder / "metrics.csv", text)
        self.journals.pop(name).end(status, self.share)
        made = {"code": self.code, "metrics": digest(text)}
        due = [n for n in self._schedule(name).snapshots.rounds if n <= summary["rounds"]]
        if due:
            made["snapshots"] = snapshots.digests(folder, due)
        write_json(folder / "summary.json", summary | made)  # last: the run is done

    def _schedule(self, name: str) -> engine.Schedule:
        return assemble.schedule(self.runs[name])

    def _journal(self, name: str, spec: dict, resumed: int | None) -> Journal:
        tags = environment.describe() | {"code": self.code, "pid": str(os.getpid())}
        head = {"run": name, "study": spec["study"], "spec": spec, "tags": tags}
        return Journal(self.places.run(spec, name), head, resumed)

    def _progress(self, batch: Batch) -> None:
        algorithm = next(iter(self.runs.values()))["algorithm"]["name"]
        self.say(
            f"{algorithm}: round {batch.round}, {len(batch.names)} of {self.lanes} lanes going on"
        )


def only_one(path: Path, say: Say) -> FileLock:
    """A lock that ends with the process that holds it: a killed pipeline may leave a trainer behind."""
    lock = FileLock(path)
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        say(f"another process is training these runs; waiting for it ({path})")
        return lock.acquire()
