# What the rules share: the checked configuration, the plan, and the command line.

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


# Jobs use the interpreter that runs Snakemake, whether or not its environment is activated, and the
# configuration of this call.
shell.prefix(
    f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; "
    f"export FEWBITS_STUDIES={','.join(STUDIES)}; "
    f"export FEWBITS_JOB_SECONDS={CONFIG.job_seconds}; "
    + (
        f"export FEWBITS_DATA={shlex.quote(CONFIG.data_root)}; "
        if CONFIG.data_root
        else ""
    )
)


wildcard_constraints:
    study=r"[a-z0-9_]+",
    figure=r"[A-Za-z0-9_-]+",


PICTURES = [f"results/partitions/{id}/classes.png" for id in PLAN.partitions]


def run_folder(run):
    return f"results/runs/{run.study}/{run.id}"


def code_of_runs(runs):
    """Which code these runs depend on: their engine, plug-ins, and what these import."""
    return digest(" ".join(sorted({fingerprint.of_run(run.spec) for run in runs})))


def items(study, part):
    """Figures or tables of a study that exist at this scale."""
    chosen = STUDIES[study]
    return chosen.figures_at(SCALE) if part == "figures" else chosen.tables_at(SCALE)


def section(study, part, name=None):
    """A part of a study file as a string: what a rule depends on, instead of the whole file."""
    entries = STUDIES[study].document.get(part) or []
    return canonical([e for e in entries if name is None or e["id"] == name])


def figure_files(study):
    return [
        f"results/{SCALE}/{study}/figures/{figure.id}.{kind}"
        for figure in items(study, "figures")
        for kind in ("pdf", "svg", "png")
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


def figure_class(study, figure):
    kinds = {entry.id: entry.kind for entry in STUDIES[study].figures}
    return registry.find("figure", kinds[figure])


def measured(study, part=None, name=None):
    """The tables beside the metrics that a study has; of a figure, that which its kind reads."""
    has = {
        "operators": STUDIES[study].operators is not None,
        "spectra": any(spectra.kept(run.spec) for run in PLAN.runs_of(study)),
    }
    if part is not None:
        reads = getattr(figure_class(study, name), "reads", "metrics")
        has = {table: there and table == reads for table, there in has.items()}
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


def void_receipts():
    """A receipt is worth nothing once a run's folder is gone: drop it, so that the run is trained again."""
    for path in map(Path, receipts()):
        if path.exists() and not all(
            Path(f"{run_folder(run)}/{name}").exists()
            for run in PLAN.jobs[path.stem].runs
            for name in ("metrics.csv", "summary.json")
        ):
            path.unlink()


if workflow.is_main_process and not workflow.dryrun:
    void_receipts()
