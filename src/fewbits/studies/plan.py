"""Who does what: runs, the jobs that train them together, and the partitions they need.

A job is one process, so that runs share its start-up and its data; runs that differ only in seed and step
share even the computation (a batch). Jobs hold batches of one study, about equally much work each.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from fewbits import registry
from fewbits.files import canonical, write_text
from fewbits.studies.files import Config
from fewbits.studies.runs import Run, column_order
from fewbits.studies.schema import Study

LANES = 64  # most runs that share one computation
A_ROUND = 0.01  # seconds, of a model that does not say


@dataclass(frozen=True)
class Job:
    """Runs trained by one process, and the partitions they need."""

    id: str
    study: str
    runs: tuple[Run, ...]

    @property
    def partitions(self) -> list[str]:
        return list(dict.fromkeys(run.partition for run in self.runs))

    @property
    def minutes(self) -> int:
        """What to ask a cluster for: ten times the estimate, and ten minutes."""
        return 10 + ceil(10 * sum(map(seconds, batches(list(self.runs)))) / 60)


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

    def partitions_of(self, study: str) -> list[Partition]:
        """Those that a study's runs need, in their order."""
        ids = dict.fromkeys(run.partition for run in self.runs_of(study))
        return [self.partitions[id] for id in ids]


def plan(config: Config, studies: list[Study], scale: str | None = None) -> Plan:
    """Runs, jobs and partitions of these studies. `scale`: the configuration's if None."""
    scale = scale or config.scale
    runs = [run for study in studies for run in study.runs(scale)]
    jobs = {job.id: job for job in _jobs(runs, config.job_seconds)}
    partitions: dict[str, Partition] = {}
    for run in runs:
        if run.partition not in partitions:
            partitions[run.partition] = _partition(run)
    return Plan(scale, tuple(runs), jobs, partitions)


def seconds(batch: list[Run]) -> float:
    """A rough estimate of the time to train runs that share one computation, from what their model says."""
    spec = batch[0].spec
    model = registry.make("model", spec["model"])
    if not hasattr(model, "seconds"):
        return spec["rounds"] * A_ROUND
    dataset = registry.find("dataset", spec["dataset"]["name"])
    return spec["rounds"] * model.seconds(spec, dataset, len(batch))


def _partition(run: Run) -> Partition:
    spec = run.spec
    random = bool(getattr(registry.find("partition", spec["partition"]["name"]), "random", False))
    return Partition(run.partition, spec["dataset"], spec["partition"], spec["seed"], random)


def _jobs(runs: list[Run], target: float) -> list[Job]:
    studies: dict[str, list[Run]] = {}
    for run in runs:
        studies.setdefault(run.study, []).append(run)
    return [
        Job(f"{study}-{number}", study, tuple(part))
        for study, members in studies.items()
        for number, part in enumerate(_packed(batches(members), target))
    ]


def batches(runs: list[Run]) -> list[list[Run]]:
    """Runs that are equal but for step and seed, and share their partition; at most LANES together."""
    alike: dict[str, list[Run]] = {}
    for run in runs:
        same = {key: value for key, value in run.spec.items() if key not in ("step", "seed")}
        alike.setdefault(canonical([same, run.partition]), []).append(run)
    return [lanes[i : i + LANES] for lanes in alike.values() for i in range(0, len(lanes), LANES)]


def _packed(work: list[list[Run]], target: float) -> list[list[Run]]:
    """The runs of a study's jobs: batches in order, those of a data set together, cut into equal shares."""
    order = list(dict.fromkeys(batch[0].spec["dataset"]["name"] for batch in work))
    work = sorted(work, key=lambda batch: order.index(batch[0].spec["dataset"]["name"]))
    costs = [seconds(batch) for batch in work]
    total, before = sum(costs), 0.0
    shares: list[list[Run]] = [[] for _ in range(_count(total / target))]
    for batch, cost in zip(work, costs, strict=True):
        middle = before + cost / 2  # of the batch, which belongs to the share that this lies in
        shares[min(len(shares) - 1, int(len(shares) * middle / total))].extend(batch)
        before += cost
    return [share for share in shares if share]


def _count(targets: float) -> int:
    """Jobs for so much work: an even number, so that two cores end together, or one."""
    return 1 if targets <= 1 else 2 * ceil(targets / 2)


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
    runs = Path(folder) / "runs.csv"
    return [runs] * _write(runs, manifest(plan)) + write_jobs(plan, Path(folder) / "jobs")


def write_jobs(plan: Plan, folder: str | Path) -> list[Path]:
    """Only the jobs' files, into `folder`, in the same way."""
    texts = {Path(folder) / f"{job.id}.json": job_text(job) for job in plan.jobs.values()}
    changed = [path for path, text in texts.items() if _write(path, text)]
    for path in sorted(Path(folder).glob("*.json")):
        if path not in texts:
            path.unlink()
            changed.append(path)
    return changed


def _write(path: Path, text: str) -> bool:
    if path.is_file() and path.read_bytes() == text.encode():
        return False
    write_text(path, text)
    return True
