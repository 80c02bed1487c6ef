"""Train one run over processes: `torchrun --nproc-per-node 4 -m fewbits.distributed --spec FILE --out DIR`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from fewbits.options import CONFIG_OPTION, DATA_OPTION, path_option, where_data


@click.command()
@path_option("--spec", None, "One run's spec (JSON or YAML).")
@path_option("--out", None, "The run's folder.")
@click.option(
    "--form",
    type=click.Choice(["messages", "all_reduce"]),
    default="messages",
    show_default=True,
    help="Real messages through process 0, or all-reduces of dense ones.",
)
@click.option("--backend", type=click.Choice(["gloo", "nccl"]), default="gloo", show_default=True)
@click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    default=300.0,
    show_default=True,
    help="Seconds to wait for a process that is there and says nothing; one that ended is noticed at once.",
)
@click.option("--init", default="env://", help="Where processes meet: env:// or file:///PATH.")
@CONFIG_OPTION
@DATA_OPTION
def main(spec: Path, out: Path, form, backend, timeout, init, config: Path, data_root) -> None:
    """Train one run over processes; process 0 is the server.

    Same results and same folder as `fewbits train`.
    """
    from fewbits.distributed.group import open_group
    from fewbits.distributed.train import train_one
    from fewbits.studies import read_run

    try:
        rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    except (KeyError, ValueError):
        raise click.UsageError(
            "start it with torchrun --nproc-per-node N -m fewbits.distributed"
        ) from None
    try:
        run = read_run(spec)
        group = open_group(backend, init, timeout, rank, size)
        say = click.echo if group.is_server else lambda line: None
        status = train_one(run, out, group, where_data(data_root, config), form, say)
        group.close()
    except (ValueError, RuntimeError, OSError) as error:
        if os.environ.get("FEWBITS_TRACEBACK"):
            raise
        click.echo(f"fewbits: process {rank} of {size}: {error}", err=True)
        sys.stderr.flush()
        os._exit(1)  # not by way of a process group that waits for the dead
    if status:
        click.echo(f"{status}: {out}")


if __name__ == "__main__":
    main()
