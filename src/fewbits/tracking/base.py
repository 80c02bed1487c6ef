"""What both kinds of store share: the words, the tags of a run, and how values are put into
MLflow's terms.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path

from fewbits.files import canonical, digest
from fewbits.tracking.replay import Attempt, artifact_files, flat

LARGEST = 1.7976931348623157e308  # stands for infinity in MLflow


class StoreError(Exception):
    """The store is missing, locked, unreachable or refuses. The text is one line for a person."""

    def __init__(self, problem: object) -> None:
        lines = shown(str(problem)).strip().splitlines() or [type(problem).__name__]
        away = re.match(r"API request to (https?://[^/ ]+)\S* failed with exception", lines[0])
        text = f"the tracking server {away[1]} does not answer" if away else lines[0][:300]
        super().__init__(text)


def shown(text: str) -> str:
    """A text without the passwords of the URIs in it."""
    return re.sub(r"(://[^:/@\s]*):[^@/\s]*@", r"\1:***@", text)


@dataclass
class Known:
    """An active MLflow run of ours. `expected` points were to be written; `points` were counted in
    the store.
    """

    id: str
    start: int
    code: str
    status: str = ""
    journal: str = ""
    expected: int = -1
    points: int = -1

    def holds(self, attempt: Attempt) -> bool:
        """Whether this is the record of that attempt, and not of an earlier training of the same
        run.
        """
        return self.start == attempt.start and self.code == attempt.tags.get("code", "")


@dataclass
class Update:
    """What is to be written of one run at once. `known` is None for a run that the store does not
    have yet.
    """

    attempt: Attempt
    folder: Path
    fingerprint: str
    known: Known | None = None
    superseded: list[str] = field(default_factory=list)
    alive: bool = True

    @property
    def mlflow_status(self) -> str:
        if self.attempt.status is not None:
            return "FINISHED"  # a diverged run is a result; the tag `status` says so
        return "RUNNING" if self.alive else "KILLED"

    @property
    def end(self) -> int | None:
        return (
            None if self.mlflow_status == "RUNNING" else self.attempt.end or self.attempt.last_time
        )

    def first_tags(self) -> dict[str, str]:
        """Tags written when the run is created."""
        attempt = self.attempt
        tags = {**attempt.tags, "run_key": attempt.run, "mlflow.runName": attempt.run}
        tags |= {"mlflow.source.name": "fewbits", "mlflow.source.type": "PROJECT"}
        tags.setdefault("spec_hash", digest(canonical(attempt.spec)))
        if "git_commit" in tags:
            tags["mlflow.source.git.commit"] = tags["git_commit"]
        return tags

    def tags(self) -> dict[str, str]:
        """Tags that change. `journal` and `points` are there only when all of an ended run has been
        written.
        """
        if self.attempt.status is None:
            return {"status": "running" if self.alive else "killed"}
        ended = {"journal": self.fingerprint, "points": str(self.attempt.total)}
        return {"status": self.attempt.status, **ended}

    def params(self) -> dict[str, str]:
        return {
            key: value[:6000] for key, value in flat(self.attempt.spec).items()
        }  # MLflow's limit

    def artifacts(self) -> list[Path]:
        return artifact_files(self.folder) if self.attempt.status is not None else []


def stored_value(value: float) -> tuple[float, bool]:
    """A number as MLflow's tables hold it: (value, is it nan)."""
    if math.isnan(value):
        return 0.0, True
    return max(-LARGEST, min(LARGEST, value)), False
