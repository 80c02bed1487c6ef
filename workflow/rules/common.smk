# What the rules share: the checked configuration, the plan, and the command line.

import os
import shlex
from pathlib import Path

from fewbits import fingerprint, registry, spectra, studies
from fewbits.files import canonical, digest

try:
    studies.load_config(
        "config/config.yaml"
    )  # the file alone: its mistakes have line numbers
    CONFIG = studies.load_config("config/config.yaml", config)
    STUDIES = {path.stem: studies.load_study(path) for path in CONFIG.study_files}
    PLAN = studies.plan(CONFIG, list(STUDIES.values()))
except studies.StudyError as error:  # one line for each mistake, and no job starts
    print(error, file=sys.stderr)
    sys.exit(1)

SCALE = CONFIG.scale
RUNS = digest(" ".join(run.id for run in PLAN.runs))
REPORT = "reports/report.pdf" if SCALE == "default" else f"reports/report-{SCALE}.pdf"


def processors():
    """Of this machine, that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# Training jobs in the plan's order; what is made of a study's runs comes before more training.
ORDER = {job: len(PLAN.jobs) - place for place, job in enumerate(PLAN.jobs)}
FIRST = len(PLAN.jobs) + 1

# Places of `--cores` for each training job.
SHARE = max(1, ((workflow.resource_settings.cores or 1) - 2) // processors())


# Jobs use the interpreter that runs Snakemake, whether or not its environment is activated, and the
# configuration of this call.
shell.prefix(
    f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; "
    f"export FEWBITS_STUDIES={','.join(STUDIES)}; "
    f"export FEWBITS_JOB_SECONDS={CONFIG.job_seconds}; "
    f"export FEWBITS_DEVICE={CONFIG.device}; "
    + (
        f"export FEWBITS_DATA={shlex.quote(CONFIG.data_root)}; "
        if CONFIG.data_root
        else ""
    )
)


wildcard_constraints:
    study=r"[a-z0-9_]+",


def run_folder(run):
    return f"results/runs/{run.study}/{run.id}"


def code_of_runs(runs):
    """Which code these runs depend on: their engine, plug-ins, and what these import."""
    return digest(" ".join(sorted({fingerprint.of_run(run.spec) for run in runs})))


def code_of_partitions(study):
    named = {
        registry.find(kind, getattr(part, kind)["name"]).__module__
        for part in PLAN.partitions_of(study)
        for kind in ("dataset", "partition")
    }
    return fingerprint.of_modules("fewbits.partition.many", *sorted(named))


def items(study, part):
    """Figures or tables of a study that exist at this scale."""
    chosen = STUDIES[study]
    return chosen.figures_at(SCALE) if part == "figures" else chosen.tables_at(SCALE)


def section(study, part):
    """A part of a study file as a string: what a rule depends on, instead of the whole file."""
    return canonical(STUDIES[study].document.get(part) or [])


def figure_files(study, kinds=("pdf", "svg", "png")):
    return [
        f"results/{SCALE}/{study}/figures/{figure.id}.{kind}"
        for figure in items(study, "figures")
        for kind in kinds
    ]


def table_files(study):
    return [
        f"results/{SCALE}/{study}/tables/{table.id}.{kind}"
        for table in items(study, "tables")
        for kind in ("csv", "tex")
    ]


def published_files(study):
    """The published numbers that a study's tables print beside the measured ones."""
    options = [table.options for table in items(study, "tables")]
    return [f"config/published/{o['file']}.yaml" for o in options if "file" in o]


def code_of_drawing(study):
    kinds = {figure.kind for figure in items(study, "figures")}
    modules = sorted(registry.find("figure", kind).__module__ for kind in kinds)
    return fingerprint.of_analysis(
        "fewbits.analysis.draw", "fewbits.analysis.tabulate", *modules
    )


def measured(study):
    """The tables beside the metrics that a study has."""
    has = {
        "operators": STUDIES[study].operators is not None,
        "spectra": any(spectra.kept(run.spec) for run in PLAN.runs_of(study)),
    }
    return [f"results/{SCALE}/{study}/{table}.csv" for table in has if has[table]]


def operators(study, labels):
    """A study's operators as a string: what is measured, or how it is called in figures and tables."""
    section = STUDIES[study].document.get("operators") or {}
    of = section.get("of", {})
    if labels:
        return canonical({name: item["label"] for name, item in of.items()})
    blocks = {name: item["compressor"] for name, item in of.items()}
    return canonical(section | {"of": blocks})


def code_of_operators(study):
    return fingerprint.of_operators(
        [item.compressor for item in STUDIES[study].operators.of.values()]
    )


def receipts(study=None):
    return [
        f"results/{SCALE}/trained/{job.id}.json"
        for job in PLAN.jobs.values()
        if study in (None, job.study)
    ]


def stands_for():
    """What each receipt is for."""
    held = "results/partitions"
    yield f"results/{SCALE}/pictures.json", [
        f"{held}/{id}/classes.png" for id in PLAN.partitions
    ]
    for study in STUDIES:
        yield f"results/{SCALE}/partitioned/{study}.json", [
            f"{held}/{part.id}/indices.npz" for part in PLAN.partitions_of(study)
        ]
    for path in receipts():
        yield path, [
            f"{run_folder(run)}/{name}"
            for run in PLAN.jobs[Path(path).stem].runs
            for name in ("metrics.csv", "summary.json")
        ]


def void_receipts():
    """A receipt is worth nothing once what it stands for is gone: drop it, so that this is made again."""
    for receipt, wanted in stands_for():
        if os.path.exists(receipt) and not all(map(os.path.exists, wanted)):
            os.unlink(receipt)


if workflow.is_main_process and not workflow.dryrun:
    void_receipts()
