"""pydantic's errors in the words of a study's author."""

from __future__ import annotations

import difflib
import re
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from fewbits.studies.errors import Path, Problems, found, show

_WANTED = {
    "int": "a whole number",
    "float": "a number",
    "string": "text",
    "bool": "true or false",
    "list": "a list",
    "tuple": "a list",
    "set": "a list",
    "dict": "a mapping (key: value)",
    "mapping": "a mapping (key: value)",
    "model": "a mapping (key: value)",
    "dataclass": "a mapping (key: value)",
    "finite": "a finite number",
    "none": "null",
}
_BOUNDS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
    "multiple_of": ("a multiple of", "multiple_of"),
    "too_short": ("a list or mapping with entries, at least", "min_length"),
    "too_long": ("a list or mapping with entries, at most", "max_length"),
    "string_too_long": ("text with characters, at most", "max_length"),
}


def report(
    error: ValidationError, problems: Problems, data: Any, model: type, at: Path = (), where=None
) -> None:
    """Add a problem for each error of validating `data` as `model`.

    `at` is the path of `data` in its file; `where` (path in `data` -> path in the file) replaces that
    for data put together from several places. A misspelt required key is one problem, not two.
    """
    where = where or (lambda path: (*at, *path))
    errors = [(_existing(data, item), item) for item in error.errors(include_url=False)]
    missing = {path for path, item in errors if item["type"] == "missing"}
    unknown = [path for path, item in errors if _is_unknown(item)]
    excused = {_misspelt(path, missing) for path in unknown}
    keys = {path for path, item in errors if item["loc"][-1:] == ("[key]",)}  # wrong as keys
    choices: dict[Path, list[str]] = {}
    for path, item in errors:
        if item["type"] == "missing":
            if path not in excused:
                problems.missing_key(where(path))
        elif _is_unknown(item):
            problems.unknown_key(where(path), _keys(model, path[:-1]))
        else:
            choices.setdefault(path, []).append(allowed(item))
    for path, texts in choices.items():  # several for one path: the members of a union
        value = path[-1] if path in keys else _at(data, path)
        text = " or ".join(dict.fromkeys(texts))
        names = re.findall(r"[\w-]+", text) if isinstance(value, str) else []
        problems.add(where(path), found(show(value), _hint(text, value), value, names))


def allowed(item: dict) -> str:
    """What would have been right, from one of pydantic's error details."""
    kind, context = item["type"], item.get("ctx") or {}
    if kind in _BOUNDS:
        text, key = _BOUNDS[kind]
        return f"{text} {context[key]:g}"
    if kind in ("literal_error", "enum"):
        return ", ".join(re.findall(r"'([^']*)'", context["expected"])) or context["expected"]
    if kind == "string_pattern_mismatch":
        return "letters, digits, _ and - (a letter or digit first)"
    if kind == "string_too_short":
        return "text that is not empty"
    if kind in ("value_error", "assertion_error"):
        return str(context.get("error", item["msg"]))
    for start, text in _WANTED.items():
        if kind.startswith(start):
            return text
    return item["msg"].removeprefix("Input should be ").lower()


def _hint(text: str, value: object) -> str:
    quoted = isinstance(value, str) and text in ("a number", "a whole number")
    return f"{text} (without quotes)" if quoted and re.match(r"\s*[-+.]?\d", value) else text


def _is_unknown(item: dict) -> bool:
    return item["type"] in ("extra_forbidden", "unexpected_keyword_argument")


def _misspelt(path: Path, missing: set[Path]) -> Path | None:
    """The missing key of the same mapping that the unknown key `path` was meant to be, if any."""
    names = [str(other[-1]) for other in missing if other[:-1] == path[:-1]]
    close = difflib.get_close_matches(str(path[-1]), names, n=1)
    return (*path[:-1], close[0]) if close else None


def _existing(data: Any, item: dict) -> Path:
    """The error's place without what is no key of the data (names of union members and the like)."""
    path: Path = ()
    for part in item["loc"]:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return (*path, part) if item["type"] == "missing" else path
        path = (*path, part)
    return path


def _at(data: Any, path: Path) -> Any:
    for part in path:
        data = data[part]
    return data


def _keys(model: Any, path: Path) -> list[str]:
    """The keys of the (nested) model at `path`."""
    for part in path:
        if isinstance(part, str) and part in _fields(model):
            model = _fields(model)[part].annotation
        model = _inner(model)
    return list(_fields(_inner(model)))


def _fields(model: Any) -> dict:
    return getattr(model, "model_fields", None) or getattr(model, "__pydantic_fields__", None) or {}


def _inner(annotation: Any) -> Any:
    """The model inside `list[X]`, `dict[str, X]` or `X | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in reversed(get_args(annotation)):
        if _fields(inner := _inner(argument)):
            return inner
    return annotation
