"""One run: its spec, its flat columns, its id and the id of the partition it needs."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from fewbits.files import canonical

# Plug-ins that a run may do without.
OPTIONAL = (
    "compressor", "downlink", "selection", "local", "space", "sending", "server", "clock", "aggregation", "attack",
)  # fmt: skip
PLUGINS = ("dataset", "model", "partition", "algorithm", *OPTIONAL)
BLOCKS = (*PLUGINS, "layers", "step", "stop", "snapshots")
SCALARS = ("seed", "rounds", "record_every")
KEYS = (*PLUGINS, "layers", "step", *SCALARS, "stop", "snapshots")  # of a grid, in a spec's order


def kind_of(key: str) -> str:
    """The kind of plug-in (registry.KINDS) that a key of a spec names."""
    return "compressor" if key == "downlink" else key


@dataclass(frozen=True)
class Run:
    """A point of a study's grids. `spec` is complete (defaults filled in) and shared: do not change it.

    `grids` are the grids of its scale that ask for it, `partition` the id of its partition.
    """

    id: str
    study: str
    grids: tuple[str, ...]
    spec: dict
    partition: str

    @property
    def columns(self) -> dict[str, object]:
        return flat(self.spec)


def flat(spec: dict) -> dict[str, object]:
    """Columns of a spec: a plug-in's name under its key (`algorithm`), parameters dotted (`compressor.k`)."""
    columns: dict[str, object] = {}
    for key, value in spec.items():
        if key in PLUGINS:
            columns[key] = value["name"] if value else None
        if isinstance(value, dict):
            columns |= _dotted(key, value)
        elif key not in PLUGINS:
            columns[key] = value
    return columns


def _dotted(key: str, block: dict) -> dict[str, object]:
    """Columns of a block's parameters; those of a block inside it follow its name (`compressor.match.like`)."""
    columns: dict[str, object] = {}
    for name, item in block.items():
        if isinstance(item, dict):
            own = {f"{key}.{name}": item["name"]} if "name" in item else {}
            columns |= own | _dotted(f"{key}.{name}", item)
        elif name != "name":
            columns[f"{key}.{name}"] = item
    return columns


def column_order(rows: list[dict[str, object]]) -> list[str]:
    """All columns of flat specs: in a spec's order of keys, parameters as first seen."""
    seen = dict.fromkeys(column for row in rows for column in row)
    rank = {key: position for position, key in enumerate(("study", *KEYS))}
    return sorted(seen, key=lambda column: rank[column.partition(".")[0]])  # stable


def run_id(short: dict) -> str:
    """Readable words and 8 hex digits of a hash.

    `short` is a spec without parameters at their default, so that a parameter that is added later, with a
    default, changes no id.
    """
    words = [*_words(short["algorithm"]), *_words(short.get("compressor"))]
    for key in OPTIONAL[1:]:
        words += _words(short.get(key))
    words += [*_words(short["dataset"]), _step_word(short["step"]), f"s{short['seed']}"]
    return f"{_safe('-'.join(words))[:90]}-{digest(short)}"


def partition_id(short: dict, random: bool) -> str:
    """`breast_cancer-contiguous-n20`; the seed is part of it only where it changes the partition."""
    partition = dict(short["partition"])
    name, clients = partition.pop("name"), partition.pop("clients", None)
    words = [*_words(short["dataset"]), name]
    words += [f"n{clients}"] if clients is not None else []
    words += _words({"name": "", **partition})[1:]
    words += [f"s{short['seed']}"] if random else []
    return _safe("-".join(words))


def digest(value: object) -> str:
    """8 hex digits of the sha256 of the canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:8]


def _words(block: dict | None) -> list[str]:
    """Name and parameters of a plug-in: `["topk", "k1"]`; the value alone where it is a word."""
    if not block:
        return []
    words = [block["name"]]
    for key, value in block.items():
        if key == "name":
            continue
        if isinstance(value, str):
            words.append(value)
        elif isinstance(value, bool):
            words.append(key if value else f"no_{key}")
        elif isinstance(value, int | float):
            words.append(f"{key}{_number(value)}")
        elif isinstance(value, dict):
            words += (
                [key, *_words({"name": "", **value})[1:]] if "name" not in value else _words(value)
            )
        else:
            words.append(f"{key}_{digest(value)}")
    return words


def _step_word(step: dict) -> str:
    if "value" in step:
        return f"step{_number(step['value'])}"
    rule = "" if step["rule"] == "theory" else step["rule"]
    return f"{rule}x{_number(step['factor'])}"


def _number(value: float) -> str:
    return repr(value).removesuffix(".0")


def _safe(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.+-]", "_", text)
