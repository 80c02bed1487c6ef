"""What commands share: one thread, options, and reading the configuration, a study or the plan."""

from __future__ import annotations

import os
from pathlib import Path
from typing import get_args

import click

from fewbits.devices import PROCESSOR, Asked

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # before NumPy is loaded: the number of threads changes digits

RESULTS = Path("results")
CONFIG = Path("config/config.yaml")


def path_option(name: str, default: Path | None, text: str):
    """An option that is required where it has no default."""
    kind = click.Path(path_type=Path)
    if default is None:  # not handed to click, which would take it for one
        return click.option(name, required=True, help=text, type=kind)
    return click.option(name, default=default, show_default=True, help=text, type=kind)


CONFIG_OPTION = path_option("--config", CONFIG, "The pipeline's configuration.")
RESULTS_OPTION = path_option("--results", RESULTS, "Folder of all results.")
SCALE_OPTION = click.option(
    "--scale", type=click.Choice(["default", "paper"]), help="Instead of the configuration's scale."
)
STUDY_OPTION = click.option("--study", required=True, help="Name of the study, e.g. ef21.")
DEVICE_OPTION = click.option(
    "--device",
    envvar="FEWBITS_DEVICE",
    type=click.Choice(get_args(Asked)),
    help="What networks are computed on. [default: FEWBITS_DEVICE, then the configuration's, then cpu]",
)
DATA_OPTION = click.option(
    "--data-root",
    type=click.Path(path_type=Path),
    help="Data sets' folder. [default: FEWBITS_DATA, then the configuration's, then data/]",
)


def of_pipeline(command):
    """The options of a command about all studies: config, scale, results."""
    return CONFIG_OPTION(SCALE_OPTION(RESULTS_OPTION(command)))


def of_study(command):
    """Those of a command about one: study, config, scale, results."""
    return STUDY_OPTION(of_pipeline(command))


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


def which_device(given: str | None, config: Path) -> str:
    """The device of the command line, else of the configuration where there is one."""
    return given or (settings(config, None).device if config.exists() else PROCESSOR)


def planned(config: Path, scale: str | None, results: Path):
    """The configuration, its studies, and their plan, which is also written where it changed."""
    from fewbits import studies

    chosen = settings(config, scale)
    loaded = [studies.load_study(path) for path in chosen.study_files]
    made = studies.plan(chosen, loaded)
    studies.write_plan(made, results / chosen.scale / "plan")
    return chosen, loaded, made


def study_at(config: Path, scale: str | None, results: Path, study: str):
    """The configuration, the study and its folder of results."""
    from fewbits.studies import load_study

    chosen = settings(config, scale)
    path = config.parent / "studies" / f"{study}.yaml"
    return chosen, load_study(path), results / chosen.scale / study
