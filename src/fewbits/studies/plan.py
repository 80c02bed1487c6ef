"""Who does what: runs, the jobs that train them together, and the partitions they need.

A job is one process, so that runs share its start-up and its data; runs that differ only in seed and step
share even the computation (a batch). Jobs hold runs of one study, data set and algorithm.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path

from fewbits import registry
from fewbits.files import canonical, write_text
from fewbits.studies.files import Config
from fewbits.studies.runs import Run, column_order
from fewbits.studies.schema import Study

# A round of a batch, measured on one core with the linear models (benchmarks/engine.py), within a factor of two:
ROUND_SECONDS = 0.7e-3  # whatever it computes
ENTRY_SECONDS = 3e-9  # for each number in the data matrix and each block of lanes
BLOCK = 16
SECONDS = 20.0  # a job's target: large against the seconds that starting it takes
LANES = 64  # most runs that share one computation


@dataclass(frozen=True)
class Job:
    """Runs trained by one process, and the partitions they need."""

    id: str
    study: str
    runs: tuple[Run, ...]

    @property
    def partitions(self) -> list[str]:
        return list(dict.fromkeys(run.partition for run in self.runs))


@dataclass(frozen=True)
class Partition:
    """A partition to make: plug-in blocks as in a spec; `seed` is the first run's and counts if `random`."""

    id: str
    dataset: dict
    partition: dict
    seed: int
    random: bool


@dataclass(frozen=True)
class Plan:
    """All runs of a scale. `job_of` names each run's job."""

    scale: str
    runs: tuple[Run, ...]
    jobs: dict[str, Job]
    partitions: dict[str, Partition]

    @property
    def job_of(self) -> dict[str, str]:
        return {run.id: job.id for job in self.jobs.values() for run in job.runs}

    def runs_of(self, study: str) -> list[Run]:
        return [run for run in self.runs if run.study == study]


def plan(config: Config, studies: list[Study], scale: str | None = None) -> Plan:
    """Runs, jobs and partitions of these studies. `scale`: the configuration's if None."""
    scale = scale or config.scale
    runs = [run for study in studies for run in study.runs(scale)]
    jobs = {job.id: job for job in _jobs(runs)}
    partitions: dict[str, Partition] = {}
    for run in runs:
        if run.partition not in partitions:
            partitions[run.partition] = _partition(run)
    return Plan(scale, tuple(runs), jobs, partitions)


def seconds(batch: list[Run]) -> float:
    """A rough estimate of the time to train runs that share one computation."""
    spec = batch[0].spec
    dataset = registry.find("dataset", spec["dataset"]["name"])
    entries = getattr(dataset, "rows", 1000) * getattr(dataset, "features", 100)
    blocks = -(-len(batch) // BLOCK)
    return spec["rounds"] * (ROUND_SECONDS + blocks * entries * ENTRY_SECONDS)


def _partition(run: Run) -> Partition:
    spec = run.spec
    random = bool(getattr(registry.find("partition", spec["partition"]["name"]), "random", False))
    return Partition(run.partition, spec["dataset"], spec["partition"], spec["seed"], random)


def _jobs(runs: list[Run]) -> list[Job]:
    groups: dict[tuple, list[Run]] = {}
    for run in runs:
        key = (run.study, run.spec["dataset"]["name"], run.spec["algorithm"]["name"])
        groups.setdefault(key, []).append(run)
    jobs = []
    for (study, *names), members in groups.items():
        for i, part in enumerate(_split(_batches(members))):
            jobs.append(Job("-".join([study, *names, str(i)]), study, tuple(part)))
    return jobs


def _batches(runs: list[Run]) -> list[list[Run]]:
    """Runs that are equal but for step and seed, and share their partition; at most LANES together."""
    alike: dict[str, list[Run]] = {}
    for run in runs:
        same = {key: value for key, value in run.spec.items() if key not in ("step", "seed")}
        alike.setdefault(canonical([same, run.partition]), []).append(run)
    return [lanes[i : i + LANES] for lanes in alike.values() for i in range(0, len(lanes), LANES)]


def _split(batches: list[list[Run]]) -> list[list[Run]]:
    """Batches in order, a new job where the estimate would pass the target."""
    jobs: list[list[Run]] = []
    filled = 0.0
    for batch in batches:
        cost = seconds(batch)
        if not jobs or filled + cost > SECONDS:
            jobs.append([])
            filled = 0.0
        jobs[-1].extend(batch)
        filled += cost
    return jobs


def manifest(plan: Plan) -> str:
    """runs.csv: run, study, grids joined by ";", job, and the flat columns of the specs."""
    rows = [run.columns for run in plan.runs]
    columns = [name for name in column_order(rows) if name != "study"]
    job_of = plan.job_of
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run", "study", "grids", "job", *columns])
    for run, row in zip(plan.runs, rows, strict=True):
        values = [_cell(row.get(name)) for name in columns]
        writer.writerow([run.id, run.study, ";".join(run.grids), job_of[run.id], *values])
    return text.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def job_text(job: Job) -> str:
    """jobs/<job>.json: the runs with their specs and partitions."""
    runs = [{"run": run.id, "partition": run.partition, "spec": run.spec} for run in job.runs]
    content = {"job": job.id, "study": job.study, "partitions": job.partitions, "runs": runs}
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def write_plan(plan: Plan, folder: str | Path) -> list[Path]:
    """Write runs.csv and jobs/*.json under `folder` and remove jobs that are no more.

    A file whose content would not change is not touched. Returns the files written or removed.
    """
    folder = Path(folder)
    texts = {folder / "runs.csv": manifest(plan)}
    texts |= {folder / "jobs" / f"{job.id}.json": job_text(job) for job in plan.jobs.values()}
    changed = [path for path, text in texts.items() if _write(path, text)]
    for path in sorted((folder / "jobs").glob("*.json")):
        if path not in texts:
            path.unlink()
            changed.append(path)
    return changed


def _write(path: Path, text: str) -> bool:
    if path.is_file() and path.read_bytes() == text.encode():
        return False
    write_text(path, text)
    return True
