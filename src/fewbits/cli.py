"""The command `fewbits`: every step of the pipeline, by hand on one file."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import click

from fewbits import compressing

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # before NumPy is loaded: the number of threads changes digits

RESULTS = Path("results")
CONFIG = Path("config/config.yaml")


class OneLine(click.Group):
    """A group whose commands end with one line, not a traceback, when the user's input is at fault."""

    def invoke(self, context):
        try:
            return super().invoke(context)
        except KeyboardInterrupt:
            click.echo("\ninterrupted; the same command goes on from here", err=True)
            context.exit(130)
        except (click.ClickException, click.exceptions.Exit):
            raise
        except (ValueError, RuntimeError, OSError) as error:
            if os.environ.get("FEWBITS_TRACEBACK"):
                raise
            click.echo(f"fewbits: {error}", err=True)
            context.exit(1)


@click.group(cls=OneLine, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="fewbits")
def main() -> None:
    """Communication-efficient distributed learning, replicated in one reproducible pipeline.

    `snakemake --cores 8 all` chains these commands; each also works by hand. Set FEWBITS_TRACEBACK=1 to
    see where in the code an error comes from.
    """
    # A job that is told to end stops like one that is interrupted: nothing half-written is left.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def path_option(name: str, default: Path | None, text: str):
    required = default is None
    return click.option(
        name, default=default, required=required, show_default=not required, help=text,
        type=click.Path(path_type=Path),
    )  # fmt: skip


CONFIG_OPTION = path_option("--config", CONFIG, "The pipeline's configuration.")
RESULTS_OPTION = path_option("--results", RESULTS, "Folder of all results.")
SCALE_OPTION = click.option(
    "--scale", type=click.Choice(["default", "paper"]), help="Instead of the configuration's scale."
)
STUDY_OPTION = click.option("--study", required=True, help="Name of the study, e.g. ef21.")
DATA_OPTION = click.option(
    "--data-root",
    type=click.Path(path_type=Path),
    help="Data sets' folder. [default: FEWBITS_DATA, then the configuration's, then data/]",
)


def settings(config: Path, scale: str | None):
    """The configuration, with the scale of the command line if one is given."""
    from fewbits.studies import load_config

    # Set by the pipeline, which may have them from its command line: `snakemake --config studies=...`
    given = {"scale": scale, "studies": os.environ.get("FEWBITS_STUDIES")}
    given["job_seconds"] = float(os.environ.get("FEWBITS_JOB_SECONDS", 0))
    return load_config(config, {key: value for key, value in given.items() if value})


def where_data(given: Path | None, config: Path) -> Path | None:
    """The data root of the command line, else of the configuration where no variable names one."""
    if given is None and not os.environ.get("FEWBITS_DATA") and config.exists():
        root = settings(config, None).data_root
        return Path(root) if root else None
    return given


def from_json(kind: str, text: str, **facts):
    """A plug-in from JSON, checked; ValueError in one line."""
    from pydantic import ValidationError

    from fewbits import registry

    try:
        plugin = registry.make(kind, json.loads(text))
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f'--{kind}: found {text!r}; allowed: JSON with a "name"') from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "parameters"
        raise ValueError(f"--{kind}: {place}: {first['msg'].lower()}") from None
    reason = plugin.check(**facts) if hasattr(plugin, "check") else None
    if reason:
        raise ValueError(f"--{kind}: {reason}")
    return plugin


def planned(config: Path, scale: str | None, results: Path):
    """The configuration, its studies, and their plan, which is also written where it changed."""
    from fewbits import studies

    chosen = settings(config, scale)
    loaded = [studies.load_study(path) for path in chosen.study_files]
    made = studies.plan(chosen, loaded)
    studies.write_plan(made, results / chosen.scale / "plan")
    return chosen, loaded, made


@main.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@CONFIG_OPTION
def check(files: tuple[Path, ...], config: Path) -> None:
    """Check study files: one line for each mistake.

    Without FILES, those of the configuration.
    """
    from fewbits.studies import check_files, load_config

    paths = list(files) or list(load_config(config).study_files)
    problems = check_files(paths, lambda line: click.echo(line, err=True))
    for line in problems:
        click.echo(line, err=True)
    if problems:
        sys.exit(1)
    click.echo(f"{len(paths)} file{'s' * (len(paths) != 1)} checked: no mistakes")


@main.command()
@CONFIG_OPTION
@SCALE_OPTION
@RESULTS_OPTION
def plan(config: Path, scale: str | None, results: Path) -> None:
    """Expand the studies into runs and jobs.

    Written to RESULTS/SCALE/plan/.
    """
    chosen, loaded, made = planned(config, scale, results)
    for study in loaded:
        click.echo("".join(f"{line}\n" for line in study.warnings), err=True, nl=False)
    click.echo(f"{len(made.runs)} runs in {len(made.jobs)} jobs, scale {chosen.scale}")


@main.command()
@click.option("--dataset", help='As JSON: {"name": "digits"}.')
@click.option("--partition", help='As JSON: {"name": "dirichlet", "clients": 20, "alpha": 0.1}.')
@click.option("--seed", default=0, show_default=True, help="Seed, where the partition is random.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder for indices.npz and summary.json."
)
@click.option("--study", help="Instead: all that this study needs, in RESULTS/partitions/.")
@click.option("--receipt", type=click.Path(path_type=Path), help="Write their digests here.")
@CONFIG_OPTION
@SCALE_OPTION
@RESULTS_OPTION
@DATA_OPTION
def partition(
    dataset, partition, seed: int, out, study, receipt, config, scale, results, data_root
):
    """Divide a data set's rows between clients.

    \b
    fewbits partition --dataset '{"name": "digits"}' --partition '{"name": "iid", "clients": 5}' --out /tmp/iid
    fewbits partition --study ef21
    """
    root = where_data(data_root, config)
    by_hand = [dataset, partition, out]
    if study is None and all(by_hand):
        divide_one(dataset, partition, seed, out, root)
    elif study is not None and not any(by_hand):
        divide_of_study(study, config, scale, results, receipt, root)
    else:
        raise click.UsageError("give --dataset, --partition and --out, or --study")


def divide_one(dataset: str, partition: str, seed: int, out: Path, root: Path | None) -> None:
    from fewbits.partition import base

    source = from_json("dataset", dataset)
    facts = {"rows": source.rows, "groups": source.groups, "sequence": source.sequence}
    partition = from_json("partition", partition, **facts)
    data = source.load(root)
    parts = partition.divide(data, seed)
    base.save(out, parts, base.heterogeneity(data.y, parts))
    click.echo(f"{sum(map(len, parts))} rows between {len(parts)} clients: {out}")


def divide_of_study(study: str, config: Path, scale, results: Path, receipt, root) -> None:
    from fewbits import studies
    from fewbits.files import write_json
    from fewbits.partition.many import divide_all

    chosen, loaded, _ = study_at(config, scale, results, study)
    wanted = studies.plan(chosen, [loaded]).partitions.values()
    digests = divide_all(wanted, results / "partitions", root, click.echo)
    if receipt is not None:
        write_json(receipt, digests)


@main.command()
@CONFIG_OPTION
@SCALE_OPTION
@RESULTS_OPTION
@click.option("--receipt", type=click.Path(path_type=Path), help="Write the pictures' paths here.")
def pictures(config: Path, scale: str | None, results: Path, receipt) -> None:
    """Draw which client holds which classes, for all partitions.

    RESULTS/partitions/*/classes.png, from the summary.json beside it.
    """
    from fewbits.files import write_json
    from fewbits.partition import picture

    made = planned(config, scale, results)[2]
    paths = [picture.draw(results / "partitions" / name) for name in made.partitions]
    if receipt is not None:
        write_json(receipt, list(map(str, paths)))
    click.echo(f"{len(paths)} pictures")


@main.command()
@click.option("--spec", type=click.Path(path_type=Path), help="One run's spec (JSON or YAML).")
@click.option(
    "--job",
    type=click.Path(path_type=Path),
    help="A job of the plan: RESULTS/SCALE/plan/jobs/*.json.",
)
@CONFIG_OPTION
@path_option(
    "--out", None, "Folder: of the run with --spec, of all runs (results/runs) with --job."
)
@click.option("--receipt", type=click.Path(path_type=Path), help="Write the results' digests here.")
@click.option(
    "--partitions", type=click.Path(path_type=Path), help="Folder of partitions made before."
)
@click.option(
    "--start", type=click.Path(path_type=Path), help="Starting point, a .npy file (with --spec)."
)
@DATA_OPTION
def train(spec, job, config, out: Path, receipt, partitions, start, data_root: Path) -> None:
    """Train one run, or the runs of a job.

    What is done already is left as it is.

    \b
    fewbits train --spec results/runs/ef21/RUN/spec.json --out /tmp/again
    """
    from fewbits.files import read_json, write_json
    from fewbits.studies import read_run
    from fewbits.train import Places, digests, train, train_one

    data_root = where_data(data_root, config)
    if (spec is None) == (job is None):
        raise click.UsageError("give one of --spec and --job")
    if spec is not None:
        status = train_one(read_run(spec), out, data_root, start, say=click.echo)
        click.echo(f"{status}: {out}")
        return
    if start is not None:
        raise click.UsageError("--start goes with --spec")
    try:
        entries = read_json(job)["runs"]
    except (OSError, ValueError, KeyError, TypeError):
        raise ValueError(f"{job}: is no job of a plan; `fewbits plan` writes them") from None
    runs = {entry["run"]: entry["spec"] for entry in entries}
    saved = {e["run"]: partitions / e["partition"] for e in entries} if partitions else {}
    places = Places(out, data_root, saved)
    done = train(runs, places, say=click.echo)
    if receipt is not None:
        write_json(receipt, digests(runs, places))
    click.echo(f"{done} of {len(runs)} runs trained, the others were up to date")
    click.echo(f"trainer: {time.process_time():.1f} s CPU")


def study_at(config: Path, scale: str | None, results: Path, study: str):
    """The configuration, the study and its folder of results."""
    from fewbits.studies import load_study

    chosen = settings(config, scale)
    path = config.parent / "studies" / f"{study}.yaml"
    return chosen, load_study(path), results / chosen.scale / study


@main.command()
@STUDY_OPTION
@CONFIG_OPTION
@SCALE_OPTION
@RESULTS_OPTION
def collect(study: str, config: Path, scale: str | None, results: Path) -> None:
    """Gather a study's runs into two tables."""
    from fewbits import studies
    from fewbits.analysis.collect import collect

    chosen, loaded, folder = study_at(config, scale, results, study)
    runs = studies.manifest(studies.plan(chosen, [loaded]))
    for path in collect(runs, study, results / "runs", folder):
        click.echo(path)


@main.command()
@STUDY_OPTION
@CONFIG_OPTION
@SCALE_OPTION
@RESULTS_OPTION
def measure(study: str, config: Path, scale: str | None, results: Path) -> None:
    """Apply a study's operators to the snapshots of its runs.

    Error and bits of every compressor on every snapshot: operators.csv.
    """
    from fewbits.measure import measure
    from fewbits.studies.operators import sized

    chosen, loaded, folder = study_at(config, scale, results, study)
    wanted = loaded.operators
    if wanted is None:
        raise ValueError(f"study {study}: has no operators; nothing to measure")
    places = (results / "runs", folder / "operators.csv")
    runs = loaded.runs(chosen.scale)
    click.echo(measure(sized(wanted), wanted.draws, wanted.least, runs, *places, click.echo))


@main.command()
@STUDY_OPTION
@CONFIG_OPTION
@SCALE_OPTION
@RESULTS_OPTION
def spectra(study: str, config: Path, scale: str | None, results: Path) -> None:
    """Gather the spectra of representations in the snapshots of a study's runs: spectra.csv."""
    from fewbits.spectra import gather, kept

    chosen, loaded, folder = study_at(config, scale, results, study)
    runs = [run for run in loaded.runs(chosen.scale) if kept(run.spec)]
    if not runs:
        raise ValueError(
            f"study {study}: keeps no spectra at scale '{chosen.scale}'; nothing to gather"
        )
    click.echo(gather(runs, results / "runs", folder / "spectra.csv"))


@main.command()
@STUDY_OPTION
@CONFIG_OPTION
@SCALE_OPTION
@RESULTS_OPTION
def judge(study: str, config: Path, scale: str | None, results: Path) -> None:
    """Check a study's claims: claims.csv."""
    from fewbits.analysis.claims import judge_folder

    chosen, loaded, folder = study_at(config, scale, results, study)
    click.echo(judge_folder(loaded.document, chosen.scale, folder))


@main.command()
@STUDY_OPTION
@click.option("--figure", help="Only this figure.")
@click.option("--tables", is_flag=True, help="Only the tables.")
@CONFIG_OPTION
@SCALE_OPTION
@RESULTS_OPTION
def draw(study: str, figure, tables: bool, config: Path, scale, results: Path) -> None:
    """Draw a study's figures and tables.

    Figures as PDF, SVG and PNG, tables as CSV and LaTeX.
    """
    from fewbits.analysis.draw import draw_figure
    from fewbits.analysis.tabulate import draw_table

    chosen, loaded, folder = study_at(config, scale, results, study)
    figures = (
        [figure] if figure else [] if tables else [f.id for f in loaded.figures_at(chosen.scale)]
    )
    wanted = [] if figure else [t.id for t in loaded.tables_at(chosen.scale)]
    for name in figures:
        click.echo("\n".join(map(str, draw_figure(loaded.document, name, folder))))
    for name in wanted:
        click.echo("\n".join(map(str, draw_table(loaded.document, name, folder))))


@main.command()
@CONFIG_OPTION
@SCALE_OPTION
@RESULTS_OPTION
def provenance(config: Path, scale: str | None, results: Path) -> None:
    """Write down versions, machine and times.

    To RESULTS/SCALE/provenance.json, for the report's last pages.
    """
    from fewbits.files import write_json
    from fewbits.report.provenance import collect_provenance

    chosen, _, _ = planned(config, scale, results)
    folder = results / chosen.scale
    files = [config, *chosen.study_files]
    facts = collect_provenance(chosen.scale, files, folder / "plan" / "runs.csv", results / "runs")
    write_json(folder / "provenance.json", facts)
    click.echo(folder / "provenance.json")


@main.command()
@CONFIG_OPTION
@SCALE_OPTION
@RESULTS_OPTION
@path_option("--out", Path("reports/report.pdf"), "The PDF.")
@click.option("--png", type=click.Path(path_type=Path), help="Instead: one page as a picture.")
@click.option("--page", default=1, show_default=True, help="Which page, with --png.")
def report(config: Path, scale: str | None, results: Path, out: Path, png, page: int) -> None:
    """Typeset the PDF report."""
    from fewbits.files import read_json
    from fewbits.report.build import build, page_png
    from fewbits.studies import load_study

    chosen = settings(config, scale)
    studies = [load_study(path) for path in chosen.study_files]
    folder = results / chosen.scale
    inputs = (studies, chosen.scale, folder, read_json(folder / "provenance.json"))
    click.echo(page_png(*inputs, png, page) if png else build(*inputs, out))


@main.command()
@RESULTS_OPTION
@click.option(
    "--template", is_flag=True, help="Instead: keep an empty one in the environment, for copies."
)
def store(results: Path, template: bool) -> None:
    """Prepare the MLflow store.

    SQLite under RESULTS, or what MLFLOW_TRACKING_URI names.
    """
    from fewbits import tracking

    click.echo(tracking.make_template() if template else tracking.prepare(results=results))


def prepare_if_possible(results: Path) -> None:
    """Make the store where there is none; one that is out of reach is told of and tried again later."""
    from fewbits import tracking

    try:
        tracking.prepare(results=results)
    except tracking.StoreError as error:
        click.echo(f"fewbits: {error}", err=True)


@main.command()
@CONFIG_OPTION
@SCALE_OPTION
@RESULTS_OPTION
def sync(config: Path, scale: str | None, results: Path) -> None:
    """Complete and verify the MLflow record."""
    from fewbits import tracking

    wanted = [run.id for run in planned(config, scale, results)[2].runs]
    prepare_if_possible(results)
    recorded = tracking.sync(results, wanted)
    if not recorded.complete:
        raise RuntimeError(f"the record is incomplete: {recorded.problem}")
    click.echo(f"{len(recorded.runs)} runs recorded in {recorded.uri}")


@main.command()
@RESULTS_OPTION
@click.option("--parent", type=int, help="End when the process with this number has ended.")
def watch(results: Path, parent: int | None) -> None:
    """Record runs in MLflow while they train."""
    from fewbits import tracking

    prepare_if_possible(results)
    tracking.watch(results, parent or os.getppid())
    click.echo(f"recorder: {time.process_time():.1f} s CPU")


@main.command()
@RESULTS_OPTION
@click.option("--port", default=5000, show_default=True)
def ui(results: Path, port: int) -> None:
    """Browse the runs in MLflow, on this machine only."""
    from fewbits import tracking

    tracking.ui(results, port)


for _command in (compressing.compress, compressing.decompress, compressing.compressors):
    main.add_command(_command)

if __name__ == "__main__":
    main()
