"""The command `fewbits`: every step of the pipeline, by hand on one file."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import click

from fewbits import analysing, compressing, recording
from fewbits.options import (
    CONFIG_OPTION,
    DATA_OPTION,
    DEVICE_OPTION,
    of_pipeline,
    path_option,
    planned,
    study_at,
    where_data,
    which_device,
)


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


def from_json(kind: str, text: str, **facts):
    """A plug-in from JSON, checked as in a study; ValueError, a line for each mistake."""
    from fewbits.studies.choices import by_hand
    from fewbits.studies.combinations import ask

    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        raise ValueError(f'--{kind}: found {text!r}; allowed: JSON with a "name"') from None
    plugin = by_hand(kind, value, f"--{kind}").plugin
    reason = ask(plugin, facts)
    if reason:
        raise ValueError(f"--{kind}: {reason}")
    return plugin


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
@of_pipeline
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
@of_pipeline
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
    facts = {name: getattr(source, name) for name in ("rows", "groups", "sequence", "classes")}
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
@of_pipeline
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
@DEVICE_OPTION
def train(
    spec, job, config, out: Path, receipt, partitions, start, data_root: Path, device: str
) -> None:
    """Train one run, or the runs of a job.

    What is done already is left as it is.

    \b
    fewbits train --spec results/runs/ef21/RUN/spec.json --out /tmp/again
    """
    from fewbits.files import read_json, write_json
    from fewbits.studies import read_run
    from fewbits.train import Places, digests, train, train_one

    data_root, device = where_data(data_root, config), which_device(device, config)
    if (spec is None) == (job is None):
        raise click.UsageError("give one of --spec and --job")
    if spec is not None:
        status = train_one(read_run(spec), out, data_root, start, click.echo, device)
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
    done = train(runs, places, say=click.echo, device=device)
    if receipt is not None:
        write_json(receipt, digests(runs, places))
    click.echo(f"{done} of {len(runs)} runs trained, the others were up to date")
    click.echo(f"trainer: {time.process_time():.1f} s CPU")


for _command in (
    compressing.compress, compressing.decompress, compressing.compressors,
    analysing.collect, analysing.measure, analysing.spectra, analysing.judge, analysing.draw,
    analysing.provenance, analysing.report, analysing.so_far,
    recording.store, recording.sync, recording.watch, recording.ui,
):  # fmt: skip
    main.add_command(_command)

if __name__ == "__main__":
    main()
