"""Tables beside the runs' metrics: what a kind or an estimator is given whose `reads` names one."""

from __future__ import annotations

from pathlib import Path

from fewbits.analysis import operators, spectra

LOADERS = {"operators": operators.load, "spectra": spectra.load}


def table(name: str, metrics, study: dict, folder: Path):
    """The table of that name. Raises AnalysisError."""
    return metrics if name == "metrics" else LOADERS[name](study, folder)


def rows_for(reader, metrics, study: dict, folder: Path):
    """What a figure's or a table's kind reads."""
    return table(getattr(reader, "reads", "metrics"), metrics, study, folder)
