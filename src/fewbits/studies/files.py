"""The configuration and the study files: read, checked, expanded."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PrivateAttr, ValidationError

from fewbits.devices import PROCESSOR, Asked
from fewbits.studies.checks import check_paper, check_references
from fewbits.studies.errors import Problems, StudyError
from fewbits.studies.expand import expand
from fewbits.studies.messages import report
from fewbits.studies.operators import check_operators
from fewbits.studies.reading import read_mapping
from fewbits.studies.schema import Model, Name, Scale, Study


def _names(value: object) -> object:
    """`a,b` and `a` as lists, as they come from a command line."""
    return [name.strip() for name in value.split(",")] if isinstance(value, str) else value


class Config(Model):
    """What to run: which studies, at which scale, with data from where."""

    scale: Annotated[
        Scale, Field(description="default: minutes; paper: the paper's own data, hours")
    ] = "default"
    studies: Annotated[
        list[Name],
        BeforeValidator(_names),
        Field(min_length=1, description="names of files in config/studies/"),
    ]
    data_root: Annotated[
        str | None,
        Field(
            description="folder of data files; null: FEWBITS_DATA in the environment, else data/"
        ),
    ] = None
    device: Annotated[
        Asked,
        Field(description="what networks are computed on; auto: a GPU where there is one"),
    ] = PROCESSOR
    job_seconds: Annotated[
        float,
        Field(gt=0, allow_inf_nan=False, description="about how long a training job takes"),
    ] = 30.0

    _path: Path = PrivateAttr(default=Path("config/config.yaml"))

    @property
    def path(self) -> Path:
        """The configuration's file."""
        return self._path

    @property
    def study_files(self) -> list[Path]:
        """The study files, beside the configuration in `studies/`."""
        return [self._path.parent / "studies" / f"{name}.yaml" for name in self.studies]


def load_config(
    path: str | Path = "config/config.yaml", overrides: dict[str, Any] | None = None
) -> Config:
    """Read config.yaml; `overrides` (a command line's) replace its keys. Raises StudyError."""
    path = Path(path)
    data, lines = read_mapping(path, shown(path))
    data = {**data, **(overrides or {})}
    lines = {
        place: line
        for place, line in lines.items()
        if place[:1] not in {(k,) for k in overrides or ()}
    }
    problems = Problems(shown(path), lines)
    config = _validate(Config, data, problems)
    config._path = path
    known = sorted(file.stem for file in (path.parent / "studies").glob("*.yaml"))
    for i, (name, file) in enumerate(zip(config.studies, config.study_files, strict=True)):
        if not file.is_file():
            problems.wrong(("studies", i), name, known)
        elif name in config.studies[:i]:
            problems.wrong(("studies", i), name, "each study once")
    problems.raise_any()
    return config


def load_study(path: str | Path) -> Study:
    """Read and check a study and expand the runs of all its scales. Raises StudyError."""
    path = Path(path)
    data, lines = read_mapping(path, shown(path))
    problems = Problems(shown(path), lines)
    study = _validate(Study, data, problems)
    study._document.update(data)
    if study.study != path.stem:
        problems.wrong(("study",), study.study, f"'{path.stem}', as the file is named")
    check_paper(study, path, problems)
    for scale in study.scales:
        study._runs[scale] = expand(study, scale, problems)
    check_operators(study, problems)
    problems.raise_any()  # references to runs make no sense while the grids are wrong
    study._used.update(check_references(study, problems))
    problems.raise_any()
    study._warnings += problems.warnings()
    return study


def check_files(paths: list[str | Path], warn: Callable[[str], None] = print) -> list[str]:
    """All problems of study files and configurations (a file `config.yaml`), one line each; `warn` gets warnings."""
    lines: list[str] = []
    for path in map(Path, paths):
        try:
            if path.stem == "config":
                load_config(path)
            else:
                for line in load_study(path).warnings:
                    warn(line)
        except StudyError as error:
            lines += error.lines
    return lines


def _validate(model: type[Model], data: dict, problems: Problems) -> Any:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        report(error, problems, data, model)
    problems.raise_any()
    raise AssertionError("a validation error without a problem")


def shown(path: Path) -> str:
    """A path as messages show it: relative where it lies under the working directory."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
