"""The keys of a study file, as pydantic models. `config/README.md` explains each; `checks.py` does the rest.

Grids stay plain mappings here: their values may be axes, so they are checked one alternative at a time when
they are expanded (`grids.py`, `expand.py`).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    WithJsonSchema,
    model_validator,
)

Scale = Literal["default", "paper"]
SCALES: tuple[str, ...] = ("default", "paper")

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=60)]
Text = Annotated[str, Field(min_length=1)]
Number = Annotated[float, Field(allow_inf_nan=False)]
_GRID = {"type": "object", "x-is": "Grid"}  # filled in by json_schema.py
Options = dict[str, Any]


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


Grids = Annotated[
    list[Name],
    BeforeValidator(_listed),
    Field(min_length=1),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}, "minItems": 1},
            ]
        }
    ),
]


class Model(BaseModel):
    """Strict types (a quoted number is text), no unknown keys, immutable."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ScaleGrids(Model):
    """What is run at one scale."""

    grids: Annotated[
        dict[Name, Annotated[dict[str, Any], WithJsonSchema(_GRID)]],
        Field(min_length=1, description="named grids of runs; every list in a grid is an axis"),
    ]


class Figure(Model):
    """A figure of the report."""

    id: Annotated[Name, Field(description="file name of the figure, unique")]
    kind: Annotated[Text, Field(description="figure plug-in: a file in analysis/figures/")]
    title: Text
    caption: str = ""
    alt: Annotated[str, Field(description="alternative text for readers who do not see it")] = ""
    grid: Annotated[Grids | None, Field(description="grid or list of grids; absent: all")] = None
    select: Annotated[Options, Field(description="column: value or list of values")] = {}
    options: Annotated[Options, Field(description="parameters of the figure plug-in")] = {}
    scales: Annotated[
        list[Scale] | None,
        Field(min_length=1, description="absent: every scale that has its grids and selects runs"),
    ] = None


class Table(Model):
    """A table of the report; keys as a figure's."""

    id: Annotated[Name, Field(description="file name of the table, unique")]
    kind: Annotated[Text, Field(description="table function in analysis/tables.py")]
    title: str = ""
    caption: str = ""
    grid: Annotated[Grids | None, Field(description="grid or list of grids; absent: all")] = None
    select: Annotated[Options, Field(description="column: value or list of values")] = {}
    options: Annotated[Options, Field(description="options of the table kind")] = {}
    scales: Annotated[list[Scale] | None, Field(min_length=1)] = None


class Published(Model):
    """What the paper says."""

    text: Annotated[
        str | None, Field(description="as printed; null: the paper prints no number")
    ] = None
    value: Annotated[Number | None, Field(description="the printed number, in `unit`")] = None
    unit: str | None = None
    where: Annotated[Text, Field(description="table, figure, page or sentence")]
    read: Annotated[str | None, Field(description="how it was read, e.g. by eye")] = None


class Reproduced(Model):
    """Which measured values count as reproduced: exactly one of these."""

    below: Number | None = None
    above: Number | None = None
    between: Annotated[list[Number] | None, Field(min_length=2, max_length=2)] = None
    within_factor: Annotated[Number | None, Field(gt=1, description="of published.value")] = None
    equals: Number | None = None

    @model_validator(mode="after")
    def _exactly_one(self):
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            names = ", ".join(type(self).model_fields)
            raise ValueError(f"exactly one of {names}")
        if self.between is not None and self.between[0] >= self.between[1]:
            raise ValueError("between: [low, high] with low < high")
        return self


class ClaimAtScale(Model):
    """How a claim is judged at one scale."""

    measure: Annotated[
        dict[str, Any],
        Field(description="estimator and what it measures (grid, select, metric, ...)"),
    ]
    reproduced: Reproduced
    unit: Annotated[
        str | None, Field(description="of the measured value, if not published.unit")
    ] = None
    note: str | None = None


class Claim(Model):
    """One checkable statement of the paper."""

    id: Name
    statement: Text
    published: Published
    scales: Annotated[dict[Scale, ClaimAtScale], Field(min_length=1)]


class Operator(Model):
    """A compressor, and how figures and tables call it. Without a size of its own it is tried at every budget."""

    label: Text
    compressor: Options
    most: Annotated[
        int | None,
        Field(ge=1, description="layers of more numbers are left out, where it takes too long"),
    ] = None


class Operators(Model):
    """What `fewbits measure` applies to the snapshots of a study's runs."""

    budgets: Annotated[
        list[Annotated[float, Field(gt=0, le=1)]],
        Field(min_length=1, description="shares of dense float32, of each layer"),
    ]
    draws: Annotated[int, Field(ge=1, description="of each message, where C is random")] = 1
    least: Annotated[int, Field(ge=1, description="layers of fewer numbers are left out")] = 1
    of: Annotated[dict[Name, Operator], Field(min_length=1)]


class Study(Model):
    """One paper's experiments."""

    study: Annotated[Name, Field(description="name, equal to the file's")]
    title: Text
    paper: Annotated[
        Text | None,
        Field(description="key in reports/references.bib; null: an experiment of our own"),
    ]
    summary: str = ""
    base: Annotated[
        dict[str, Any],
        WithJsonSchema(_GRID),
        Field(description="merged under each grid: keys of the grid win"),
    ] = {}
    scales: Annotated[dict[Scale, ScaleGrids], Field(min_length=1)]
    methods: Annotated[
        dict[Text, Options],
        Field(description="name in figures and tables: columns and values of the runs it names"),
    ] = {}
    operators: Operators | None = None
    figures: list[Figure] = []
    tables: list[Table] = []
    claims: list[Claim] = []

    _document: dict = PrivateAttr(default_factory=dict)
    _runs: dict = PrivateAttr(default_factory=dict)
    _used: dict = PrivateAttr(default_factory=dict)
    _warnings: list = PrivateAttr(default_factory=list)

    @property
    def document(self) -> dict:
        """The file as plain data, as it was written."""
        return self._document

    @property
    def warnings(self) -> list[str]:
        """What can be run but had better not be, one line each."""
        return self._warnings

    def runs(self, scale: str) -> list:
        """The runs (`runs.Run`) of a scale in their order; [] if the study has no such scale."""
        return self._runs.get(scale, [])

    def figures_at(self, scale: str) -> list[Figure]:
        """The figures that can be drawn at a scale."""
        return [f for f in self.figures if scale in self._used.get(("figures", f.id), ())]

    def tables_at(self, scale: str) -> list[Table]:
        """The tables that can be made at a scale."""
        return [t for t in self.tables if scale in self._used.get(("tables", t.id), ())]
