"""The default store: MLflow's own SQLite file, written through the standard library.

Why not through MLflow: importing it costs seconds of CPU in every process, and logging a run of
this size 60 to 80 ms against about 2 ms here (benchmarks/tracking.py), which for hundreds of short
runs would be the larger part of the work. What makes it safe: MLflow makes the file (store.py); a
file whose tables are not exactly those known here is left to client.py; and a test compares, table
by table, what this module writes with what MLflow writes.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from fewbits.tracking.base import Known, StoreError, Update, stored_value
from fewbits.tracking.view import experiment_tags

TABLES = {  # MLflow 3.17, schema dc11669786a5
    "experiments": "experiment_id name artifact_location lifecycle_stage creation_time"
    " last_update_time workspace",
    "experiment_tags": "key value experiment_id",
    "runs": "run_uuid name source_type source_name entry_point_name user_id status start_time"
    " end_time source_version lifecycle_stage artifact_uri experiment_id deleted_time",
    "tags": "key value run_uuid",
    "params": "key value run_uuid",
    "metrics": "key value timestamp run_uuid step is_nan",
    "latest_metrics": "key value timestamp step is_nan run_uuid",
}
BUSY_SECONDS = 5.0

KNOWN = """
SELECT k.value, r.run_uuid, r.start_time, t.key, t.value
FROM tags k JOIN runs r ON r.run_uuid = k.run_uuid AND r.lifecycle_stage = 'active'
LEFT JOIN tags t ON t.run_uuid = r.run_uuid AND t.key IN ('code', 'journal', 'points', 'status')
WHERE k.key = 'run_key' ORDER BY r.start_time DESC
"""
INSERT_RUN = """
INSERT INTO runs VALUES (?, ?, 'UNKNOWN', '', '', '', 'RUNNING', ?, NULL, '', 'active', ?, ?, NULL)
ON CONFLICT DO UPDATE SET lifecycle_stage = 'active', deleted_time = NULL
"""
INSERT_EXPERIMENT = """
INSERT INTO experiments (name, artifact_location, lifecycle_stage, creation_time, last_update_time)
VALUES (?, ?, 'active', ?, ?) ON CONFLICT DO UPDATE SET lifecycle_stage = 'active'
"""
LATEST = """
INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (key, run_uuid) DO UPDATE
SET value = excluded.value, timestamp = excluded.timestamp, step = excluded.step,
    is_nan = excluded.is_nan
WHERE (excluded.step, excluded.timestamp, excluded.value)
    > (latest_metrics.step, latest_metrics.timestamp, latest_metrics.value)
"""


class SqliteStore:
    """Writes batches of updates, each batch one transaction. Opens the file anew each time: it may
    be replaced.
    """

    def __init__(self, path: Path, artifacts: Path) -> None:
        self.path, self.artifacts = path, artifacts
        self._file = self._identity()

    def known(self, count: bool = False) -> dict[str, list[Known]]:
        """Active runs by run id, newest first. With `count`, their points as read back from the
        tables.
        """
        found: dict[str, dict[str, Known]] = {}
        with self._connection() as db:
            for run, uuid, start, key, value in db.execute(KNOWN):
                known = found.setdefault(run, {}).setdefault(uuid, Known(uuid, start, ""))
                if key == "points":
                    known.expected = int(value)
                elif key is not None:
                    setattr(known, key, value)
            if count:
                counts = dict(
                    db.execute("SELECT run_uuid, count(*) FROM metrics GROUP BY run_uuid")
                )
                for runs in found.values():
                    for known in runs.values():
                        known.points = counts.get(known.id, 0)
        return {run: list(by_id.values()) for run, by_id in found.items()}

    def write(self, updates: list[Update]) -> list[str]:
        """Write all updates in one transaction, all or none; returns their MLflow run ids."""
        with self._connection() as db:
            db.execute("BEGIN IMMEDIATE")
            ids = [self._write(db, update) for update in updates]
            db.execute("COMMIT")
        return ids

    def _write(self, db: sqlite3.Connection, update: Update) -> str:
        attempt = update.attempt
        run_id = update.known.id if update.known else self._create(db, update)
        now = time.time_ns() // 1_000_000
        retire = "UPDATE runs SET lifecycle_stage = 'deleted', deleted_time = ? WHERE run_uuid = ?"
        db.executemany(retire, [(now, old) for old in update.superseded])
        self._insert_points(db, run_id, attempt.points)
        db.execute(
            "UPDATE runs SET status = ?, end_time = ? WHERE run_uuid = ?",
            (update.mlflow_status, update.end, run_id),
        )
        _set_tags(db, run_id, update.tags())
        self._copy_artifacts(update, run_id)
        return run_id

    def _create(self, db: sqlite3.Connection, update: Update) -> str:
        """The id follows from the attempt, so two recorders at once make one run; a deleted one
        comes back.
        """
        attempt = update.attempt
        identity = f"{attempt.run}|{attempt.start}|{attempt.tags.get('code', '')}"
        run_id = hashlib.sha256(identity.encode()).hexdigest()[:32]
        experiment = self._experiment(db, attempt.study)
        uri = f"{self.artifacts.as_uri()}/{attempt.study}/{run_id}/artifacts"
        db.execute(INSERT_RUN, (run_id, attempt.run, attempt.start, uri, experiment))
        _set_tags(db, run_id, update.first_tags())
        params = [(key, value, run_id) for key, value in update.params().items()]
        db.executemany("INSERT OR IGNORE INTO params VALUES (?, ?, ?)", params)
        return run_id

    def _experiment(self, db: sqlite3.Connection, study: str) -> int:
        """The study's experiment, made where it is absent, restored where somebody deleted it."""
        now = time.time_ns() // 1_000_000
        location = f"{self.artifacts.as_uri()}/{study}"
        db.execute(INSERT_EXPERIMENT, (study, location, now, now))
        query = "SELECT experiment_id FROM experiments WHERE name = ? AND workspace = 'default'"
        (number,) = db.execute(query, (study,)).fetchone()
        rows = [(key, value, number) for key, value in experiment_tags().items()]
        db.executemany("INSERT OR IGNORE INTO experiment_tags VALUES (?, ?, ?)", rows)
        return number

    def _insert_points(self, db: sqlite3.Connection, run_id: str, points) -> None:
        rows, latest = [], {}
        for key, raw, time_ms, step in points:
            value, is_nan = stored_value(raw)
            rows.append((key, value, time_ms, run_id, step, is_nan))
            order = (step, time_ms, value)
            if key not in latest or order >= latest[key][0]:
                latest[key] = (order, (key, value, time_ms, step, is_nan, run_id))
        db.executemany("INSERT OR IGNORE INTO metrics VALUES (?, ?, ?, ?, ?, ?)", rows)
        db.executemany(LATEST, [row for _, row in latest.values()])

    def _copy_artifacts(self, update: Update, run_id: str) -> None:
        files = update.artifacts()
        if not files:
            return
        target = self.artifacts / update.attempt.study / run_id / "artifacts"
        target.mkdir(parents=True, exist_ok=True)
        for file in files:
            with contextlib.suppress(FileNotFoundError):  # a retraining takes them away
                shutil.copyfile(file, target / file.name)

    def _identity(self) -> tuple[int, int]:
        try:
            stat = self.path.stat()
        except OSError:
            raise StoreError(f"no tracking store at {self.path}") from None
        return stat.st_dev, stat.st_ino

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """A connection that never makes a file. Raises StoreError where the file is gone, new,
        locked or broken.
        """
        if self._identity() != self._file:
            raise StoreError(f"the tracking store {self.path} was replaced")
        with connection(self.path) as db:
            yield db


@contextlib.contextmanager
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    """A read-write connection to an existing SQLite file; every failure of it is a StoreError."""
    try:
        uri = f"{path.resolve().as_uri()}?mode=rw"
        db = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            db.execute(
                "PRAGMA synchronous = NORMAL"
            )  # with WAL: no fsync per commit, no corruption either
            yield db
        finally:
            db.close()
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"{path}: {error}") from error


def is_known_schema(db: sqlite3.Connection) -> bool:
    """Whether the tables are column for column, in order, those that this module writes."""
    for table, columns in TABLES.items():
        found = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
        if found != columns.split():
            return False
    return True


def _set_tags(db: sqlite3.Connection, run_id: str, tags: dict[str, str]) -> None:
    rows = [(key, value[:8000], run_id) for key, value in tags.items()]
    db.executemany("INSERT OR REPLACE INTO tags VALUES (?, ?, ?)", rows)
