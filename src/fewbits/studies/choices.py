"""One alternative of one key of a grid, checked and completed with defaults."""

from __future__ import annotations

import dataclasses
import functools
import json
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, ValidationError

from fewbits import registry
from fewbits.studies.errors import Path, Problems
from fewbits.studies.grids import Alternative
from fewbits.studies.messages import report
from fewbits.studies.runs import OPTIONAL, PLUGINS, kind_of
from fewbits.studies.schema import Model
from fewbits.studies.size_rules import kept_as_written, read_rule
from fewbits.studies.terms import read_terms

STEP_RULES = ("theory", "pl", "gd", "ef21")
LARGEST_SEED = 2**63 - 1
_LEAST = {"seed": 0, "rounds": 1, "record_every": 1}

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class StepByRule(Model):
    """A multiple of the step that theory gives for the problem and the method, or for any method (gd) of 1/L, or
    (ef21) of EF21's step."""

    rule: Literal["theory", "pl", "gd", "ef21"]
    factor: Positive = 1.0


class StepByValue(Model):
    """A step size as a number."""

    value: Positive


class Stop(Model):
    """When a run ends before its last round."""

    grad_sq_below: Positive | None = None
    test_accuracy_above: Annotated[float, Field(gt=0, le=1)] | None = None
    diverge_above: Positive | None = None


class Layers(Model):
    """How an update of several layers is compressed: each `layer` by itself, or the `whole` as one vector;
    layers of fewer than `small` numbers are sent dense."""

    per: Literal["layer", "whole"] = "layer"
    small: Annotated[int, Field(ge=0)] = 0


class Snapshots(Model):
    """What is kept on the way, of which rounds, and of how many of their clients: their `updates`, for studies of the
    operators themselves (also where `keep` is absent), or `spectra` of representations."""

    rounds: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)]
    clients: Annotated[int, Field(ge=1)] = 1
    keep: Annotated[list[Literal["updates", "spectra"]], Field(min_length=1)] | None = None


class Choice(NamedTuple):
    """A checked alternative: its part of a spec, the same without defaults, and the plug-in's instance."""

    value: Any
    short: Any
    plugin: Any
    path: Path
    parts: dict[str, Path]


NOTHING = Choice(None, None, None, (), {})  # an optional plug-in that is absent


def choose(key: str, one: Alternative, problems: Problems) -> Choice | None:
    """Check one alternative of `key`. None: it is wrong, and the problem is noted."""
    if key in PLUGINS:
        return _plugin(key, one, problems)
    if key == "step":
        return _step(one, problems)
    if key == "stop":
        return _model(Stop, one, problems)
    if key == "layers":
        chosen = _model(Layers, one, problems)
        return chosen and chosen._replace(short=_changed(chosen.value, Layers()))
    if key == "snapshots":
        return _model(Snapshots, one, problems)
    return _integer(key, one, problems)


def by_hand(key: str, value: object, where: str) -> Choice:
    """The choice of `key` that is in no file: `where` names it in messages. Raises StudyError."""
    problems = Problems(where)
    parts = {part: (part,) for part in value} if isinstance(value, dict) else {}
    choice = choose(key, Alternative(value, (), parts), problems)
    problems.raise_any()
    return choice


def _plugin(key: str, one: Alternative, problems: Problems) -> Choice | None:
    value = one.value
    if value in (None, "none") and key in OPTIONAL:
        return NOTHING._replace(path=one.path)
    kind = kind_of(key)
    known = registry.plugins(kind)
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, dict):
        problems.wrong(one.path, value, [*known, "or {name: ..., parameters}"])
        return None
    name_at = one.parts.get("name", one.path)
    if "name" not in value:
        problems.missing_key((*one.path, "name"), ", ".join(known))
        return None
    if not isinstance(value["name"], str) or value["name"] not in known:
        problems.wrong(name_at, value["name"], known)
        return None
    given = {name: item for name, item in value.items() if name != "name"}
    rule = terms = None
    if "terms" in given and kind == "local":
        terms = read_terms(given["terms"], one.parts["terms"], problems, make)
        if terms is None:
            return None
        given["terms"] = terms.full
    if kind == "compressor":
        rule = read_rule(value, one, problems, lambda like: _plugin(key, like, problems))
        if rule is None:
            return None
        given = rule.given
    instance = make(kind, value["name"], given, one, problems)
    if instance is None:
        return None
    full = _plain({"name": value["name"], **dataclasses.asdict(instance)})
    defaults = plugin_defaults(type(instance))
    short = {k: v for k, v in full.items() if k not in defaults or v != defaults[k]}
    if terms and terms.short:
        short["terms"] = terms.short
    if rule and rule.full:
        full = kept_as_written(full, value, rule.full)
        short = kept_as_written(short, value, rule.short)
    return Choice(full, short, instance, one.path, {"name": name_at, **one.parts})


def make(kind: str, name: str, given: dict, one: Alternative, problems: Problems) -> Any:
    """The plug-in with these parameters, or None with the problems noted."""
    cls = registry.find(kind, name)

    def where(path: Path) -> Path:
        return one.parts.get(path[0], (*one.path, path[0])) + path[1:] if path else one.path

    try:
        instance = registry.make(kind, {"name": name, **given})
    except ValidationError as error:
        report(error, problems, given, cls, where=where)
        return None
    except TypeError:  # a key that is no possible argument
        problems.wrong(one.path, given, list(cls.__pydantic_fields__))
        return None
    before = len(problems)
    for (
        key,
        value,
    ) in given.items():  # plug-ins convert kindly; "5" or true for a number is a mistake
        if isinstance(value, str | bool) and type(getattr(instance, key)) in (int, float):
            quoted = " (without quotes)" if isinstance(value, str) else ""
            problems.wrong(where((key,)), value, f"a number{quoted}")
    return instance if len(problems) == before else None


@functools.cache
def plugin_defaults(cls: type) -> dict[str, Any]:
    """Default values of a plug-in's parameters that have one, as plain data."""
    fields = getattr(cls, "__pydantic_fields__", {})
    has = {name: item for name, item in fields.items() if not item.is_required()}
    return _plain({name: item.get_default(call_default_factory=True) for name, item in has.items()})


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _step(one: Alternative, problems: Problems) -> Choice | None:
    value = one.value
    if not isinstance(value, dict) or not {"rule", "factor", "value"} & set(value):
        rules = " or ".join(STEP_RULES)
        problems.wrong(one.path, value, f"{{rule: {rules}, factor: number}} or {{value: number}}")
        return None
    if "value" in value and {"rule", "factor"} & set(value):
        problems.wrong(one.path, value, "either rule and factor, or value")
        return None
    return _model(StepByValue if "value" in value else StepByRule, one, problems)


def _model(model: type[Model], one: Alternative, problems: Problems) -> Choice | None:
    def where(path: Path) -> Path:
        return one.parts.get(path[0], (*one.path, path[0])) + path[1:] if path else one.path

    try:
        value = model.model_validate(one.value).model_dump(exclude_none=True)
    except ValidationError as error:
        report(error, problems, one.value, model, where=where)
        return None
    return Choice(value, value, None, one.path, one.parts)


def _changed(value: dict, default: Model) -> dict:
    return {key: item for key, item in value.items() if item != getattr(default, key)}


def _integer(key: str, one: Alternative, problems: Problems) -> Choice | None:
    value, least = one.value, _LEAST[key]
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # 1e4
    wrong = isinstance(value, bool) or not isinstance(value, int)
    if wrong or not least <= value <= LARGEST_SEED:
        problems.wrong(one.path, one.value, f"a whole number, at least {least}")
        return None
    return Choice(value, value, None, one.path, {})
