"""Commands about MLflow's store."""

from __future__ import annotations

import os
import time
from pathlib import Path

import click

from fewbits.options import RESULTS_OPTION, of_pipeline, planned


@click.command()
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


@click.command()
@of_pipeline
def sync(config: Path, scale: str | None, results: Path) -> None:
    """Complete and verify the MLflow record."""
    from fewbits import tracking

    wanted = [run.id for run in planned(config, scale, results)[2].runs]
    prepare_if_possible(results)
    recorded = tracking.sync(results, wanted)
    if not recorded.complete:
        raise RuntimeError(f"the record is incomplete: {recorded.problem}")
    click.echo(f"{len(recorded.runs)} runs recorded in {recorded.uri}")


@click.command()
@RESULTS_OPTION
@click.option("--parent", type=int, help="End when the process with this number has ended.")
def watch(results: Path, parent: int | None) -> None:
    """Record runs in MLflow while they train."""
    from fewbits import tracking

    prepare_if_possible(results)
    tracking.watch(results, parent or os.getppid())
    click.echo(f"recorder: {time.process_time():.1f} s CPU")


@click.command()
@RESULTS_OPTION
@click.option("--port", default=5000, show_default=True)
def ui(results: Path, port: int) -> None:
    """Browse the runs in MLflow, on this machine only."""
    from fewbits import tracking

    tracking.ui(results, port)
