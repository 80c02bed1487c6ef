"""Any other store (an MLflow server, PostgreSQL, a SQLite file of another MLflow), through MLflow's
client.

The one module that imports mlflow to write; the import takes two to three seconds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from fewbits.tracking.base import Known, StoreError, Update
from fewbits.tracking.view import experiment_tags

SETTINGS = {  # MLflow's defaults block a call for four minutes when the server is away
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "4",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
BATCH = 1000  # MLflow's limit of values in one call
CHECKED = "final/rounds"  # written with the last batch of an ended run


class ClientStore:
    """Writes one run after another. What was written before a failure is found again by the next
    attempt.
    """

    def __init__(self, uri: str, artifacts: Path | None) -> None:
        """`artifacts`: folder for the artifacts; None leaves the place to the server."""
        for name, value in SETTINGS.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        self._artifacts = artifacts
        self._experiments: dict[str, str] = {}
        self._client = _guarded(MlflowClient, uri)

    def known(self, count: bool = False) -> dict[str, list[Known]]:
        """Active runs by run id, newest first. With `count`, that all values arrived is read back:
        the final ones go out after the series, so finding them means that the series is there
        too.
        """
        return _guarded(self._known, "tags.run_key LIKE '%'", count)

    def write(self, updates: list[Update]) -> list[str]:
        return [_guarded(self._write, update) for update in updates]

    def _known(self, condition: str, count: bool = False) -> dict[str, list[Known]]:
        found: dict[str, list[Known]] = {}
        experiments = [e.experiment_id for e in _pages(self._client.search_experiments)]
        if not experiments:
            return found

        def search(**page):
            return self._client.search_runs(
                experiments, condition, order_by=["attributes.start_time DESC"], **page
            )

        for run in _pages(search):
            tags = run.data.tags
            known = Known(run.info.run_id, run.info.start_time, tags.get("code", ""))
            known.status, known.journal = tags.get("status", ""), tags.get("journal", "")
            known.expected = int(tags.get("points", -1))
            if count and CHECKED in run.data.metrics:
                known.points = known.expected
            found.setdefault(tags["run_key"], []).append(known)
        return found

    def _write(self, update: Update) -> str:
        from mlflow.entities import Metric, RunTag

        client, run_id = self._client, self._find_or_create(update)
        for old in update.superseded:
            client.delete_run(old)
        metrics = [Metric(p.key, p.value, p.time, p.step) for p in update.attempt.points]
        for begin in range(0, len(metrics), BATCH):
            client.log_batch(run_id, metrics=metrics[begin : begin + BATCH])
        for file in update.artifacts():
            client.log_artifact(run_id, str(file))
        client.log_batch(run_id, tags=[RunTag(*item) for item in update.tags().items()])
        if update.mlflow_status == "RUNNING":
            client.update_run(run_id, "RUNNING")
        else:
            client.set_terminated(run_id, update.mlflow_status, update.end)
        return run_id

    def _find_or_create(self, update: Update) -> str:
        """Another recorder, or one that was cut off, may have created the run: look before making
        it.
        """
        from mlflow.entities import Param

        if update.known is not None:
            return update.known.id
        attempt = update.attempt
        for known in self._known(f"tags.run_key = '{attempt.run}'").get(attempt.run, []):
            if known.holds(attempt):
                return known.id
        run = self._client.create_run(
            self._experiment(attempt.study), attempt.start, update.first_tags(), attempt.run
        )
        params = [Param(*item) for item in update.params().items()]
        self._client.log_batch(run.info.run_id, params=params)
        return run.info.run_id

    def _experiment(self, study: str) -> str:
        if study not in self._experiments:
            client, place = self._client, self._artifacts and f"{self._artifacts.as_uri()}/{study}"
            found = client.get_experiment_by_name(study)
            if found is None:
                number = client.create_experiment(study, place, experiment_tags())
            else:
                number = found.experiment_id
                if found.lifecycle_stage != "active":
                    client.restore_experiment(number)
            self._experiments[study] = number
        return self._experiments[study]


def _pages(search: Callable) -> Iterator:
    token = None
    while True:
        page = search(max_results=1000, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _guarded(call: Callable, *arguments):
    """MLflow raises its own errors, and those of requests, SQLAlchemy and the disk: here all become
    StoreError.
    """
    try:
        return call(*arguments)
    except Exception as error:
        raise StoreError(error) from error
