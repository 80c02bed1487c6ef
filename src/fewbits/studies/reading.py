"""YAML as plain data with line numbers, by the rules of YAML 1.2's core schema.

PyYAML's own loader follows YAML 1.1, where `1e-7` is text, `on` and `no` are booleans, `1:30` is a number and
a repeated key silently wins. Here numbers are what they look like, only `true` and `false` are booleans, and
a repeated key is an error. The parser is libyaml's; data are built from its events, with a limit on depth.
"""

from __future__ import annotations

import re
from pathlib import Path as FilePath

import yaml

from fewbits.studies.errors import Path, Problems, StudyError, show

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INTEGER = re.compile(r"[-+]?[0-9]+\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_SPECIAL = {".inf": "inf", "+.inf": "inf", "-.inf": "-inf", ".nan": "nan"}
_DEEPEST, _LARGEST = 40, 200_000  # nesting, and values in a file (aliases counted as often as used)


class _Stop(Exception):
    """Reading cannot go on; the problem is already noted."""


def read_mapping(path: FilePath, shown: str) -> tuple[dict, dict[Path, int]]:
    """The mapping in a YAML file, and the line of each key path. Raises StudyError; `shown` names the file."""
    problems = Problems(shown)
    try:
        raw = FilePath(path).read_bytes()
    except FileNotFoundError:
        raise StudyError([f"{shown}: found no such file; allowed: an existing YAML file"]) from None
    except OSError as error:
        raise StudyError(
            [f"{shown}: found a file that cannot be read ({error.strerror})"]
        ) from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise StudyError(
            [f"{shown}:{line}: found byte 0x{raw[error.start]:02x}; allowed: text in UTF-8"]
        ) from None
    data = _read(text, problems)
    if not isinstance(data, dict):
        what = "nothing in the file" if data is None else show(data)
        raise StudyError([f"{shown}: found {what}; allowed: a mapping (key: value) at the top"])
    return data, problems.lines


def read_value(text: str, where: str) -> object:
    """What a text says, e.g. on a command line. Raises StudyError; `where` names it."""
    try:
        return _read(text, Problems(where))
    except StudyError:
        raise StudyError(
            [f"{where}: found {show(text)}; allowed: a value as YAML has it"]
        ) from None


def _read(text: str, problems: Problems) -> object:
    try:
        data = _Reader(text, problems).document()
    except _Stop:
        data = None
    except yaml.YAMLError as error:
        raise StudyError([_syntax(problems.file, text, error)]) from None
    problems.raise_any()
    return data


def _syntax(shown: str, text: str, error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return f"{shown}: found {getattr(error, 'reason', 'a character')}; allowed: printable text"
    line = text.splitlines()[mark.line] if mark.line < len(text.splitlines()) else ""
    if line[: mark.column + 1].strip(" ").startswith("\t"):
        return f"{shown}:{mark.line + 1}: found a tab; allowed: spaces for indentation"
    why = " ".join(filter(None, [error.problem, error.context]))
    return f"{shown}:{mark.line + 1}: found text that is no YAML ({why}); allowed: YAML (see column {mark.column + 1})"


class _Reader:
    def __init__(self, text: str, problems: Problems) -> None:
        self._events = yaml.parse(text, Loader=_LOADER)
        self._problems, self._lines = problems, problems.lines
        self._anchors: dict[str, tuple[object, int]] = {}
        self._count = 0

    def document(self) -> object:
        """The only document of the file, None if there is none."""
        next(self._events)  # start of the stream
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return None
        data = self._value(next(self._events), ())
        next(self._events)  # end of the document
        second = next(self._events)
        if not isinstance(second, yaml.StreamEndEvent):
            self._fail((), second, "a second document (---)", "one document in a file")
        return data

    def _value(self, event, path: Path) -> object:
        self._lines.setdefault(path, event.start_mark.line + 1)
        before = self._count
        self._grow(1, event, path)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, path)
        if event.tag is not None and event.tag != "!":
            self._fail(path, event, f"the tag {event.tag}", "plain values, lists and mappings")
        if len(path) > _DEEPEST:
            self._fail((), event, f"nesting deeper than {_DEEPEST}", "less nesting")
        if isinstance(event, yaml.ScalarEvent):
            data = _scalar(event.value) if event.implicit[0] else event.value
        elif isinstance(event, yaml.SequenceStartEvent):
            data = self._sequence(path)
        else:
            data = self._mapping(path)
        if event.anchor:
            self._anchors[event.anchor] = (data, self._count - before)
        return data

    def _alias(self, event, path: Path) -> object:
        if event.anchor not in self._anchors:
            self._fail(
                path, event, f"the alias *{event.anchor}", "an anchor that is complete before it"
            )
        data, size = self._anchors[event.anchor]
        self._grow(size, event, path)
        return data

    def _sequence(self, path: Path) -> list:
        data = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            data.append(self._value(event, (*path, len(data))))
        return data

    def _mapping(self, path: Path) -> dict:
        data = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                self._fail(path, event, "a key that is not a word", "plain words as keys")
            key, here = event.value, (*path, event.value)
            if key == "<<":
                self._fail(here, event, "a merge key (<<)", "`base` is merged under every grid")
            if key in data:
                line, self._lines[here] = self._lines[here], event.start_mark.line + 1
                self._problems.add(
                    here, f"found {key!r} twice (first in line {line}); allowed: once"
                )
                self._value(next(self._events), (*here, "(again)"))
                continue
            self._lines[here] = event.start_mark.line + 1
            data[key] = self._value(next(self._events), here)
        return data

    def _grow(self, by: int, event, path: Path) -> None:
        self._count += by
        if self._count > _LARGEST:
            self._fail((), event, f"more than {_LARGEST} values", "a smaller file")

    def _fail(self, path: Path, event, what: str, allowed: str) -> None:
        self._lines[path] = event.start_mark.line + 1
        self._problems.add(path, f"found {what}; allowed: {allowed}")
        raise _Stop


def _scalar(text: str) -> object:
    """A plain (unquoted) word by YAML 1.2's core schema."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE"):
        return True
    if text in ("false", "False", "FALSE"):
        return False
    if _INTEGER.match(text) and len(text) < 30:
        return int(text)
    if _FLOAT.match(text):
        return float(text)
    return float(_SPECIAL[text.lower()]) if text.lower() in _SPECIAL else text
