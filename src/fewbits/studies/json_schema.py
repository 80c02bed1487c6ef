"""JSON schemas of config.yaml and of study files, for editors: completion and checks while typing.

Made from the same models that check the files. Names of plug-ins are not in them, so that adding a plug-in
changes no file. Write them anew: `python -m fewbits.studies.json_schema workflow/schemas`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from fewbits.files import write_text
from fewbits.studies.choices import STEP_RULES
from fewbits.studies.files import Config
from fewbits.studies.sampled import KEY, Sample
from fewbits.studies.schema import Study

_ABOUT = {
    "dataset": "data set plug-in: a file in datasets/",
    "model": "model plug-in: a file in models/",
    "partition": "partition plug-in: a file in partition/",
    "algorithm": "algorithm plug-in: a file in algorithms/",
    "compressor": "compressor plug-in: a file in compressors/; absent for algorithms that send dense vectors",
    "downlink": "compressor plug-in of methods that compress the broadcast (EF21-BC)",
    "selection": "who takes part in a round: a file in federation/selection/; absent: all clients",
    "local": "how a client makes its update: a file in federation/local/; absent: its full gradient",
    "space": "what changes clients may make: a file in federation/space/; absent: any",
    "sending": "what of its numbers a client sends in a round: a file in federation/sending/; absent: all",
    "server": "the server's optimiser: a file in federation/server/; absent: the plain step",
    "clock": "simulated time of a round: a file in federation/clock/; absent: not simulated",
    "aggregation": "what takes the place of the mean over clients: a file in federation/aggregation/",
    "attack": "what malicious clients send: a file in federation/attacks/; absent: all are honest",
}
_NUMBERS = {
    "seed": (0, "seeds of the starting point and all other randomness"),
    "rounds": (1, "number of rounds"),
    "record_every": (1, "metrics are recorded every so many rounds"),
}


def schemas() -> dict[str, str]:
    """File name -> JSON text."""
    study = _with_grids(Study.model_json_schema())
    study.setdefault("$defs", {})["Grid"] = _grid()
    made = {"config.schema.json": Config.model_json_schema(), "study.schema.json": study}
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return {name: json.dumps(head | schema, indent=2) + "\n" for name, schema in made.items()}


def write(folder: Path) -> None:
    for name, text in schemas().items():
        write_text(folder / name, text)


def _with_grids(schema: object) -> object:
    """`schema` with references to Grid where the models say only "a mapping" (marked `x-is`)."""
    if isinstance(schema, list):
        return [_with_grids(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "x-is" in schema:
        kept = {key: value for key, value in schema.items() if key in ("description", "default")}
        return {**kept, "$ref": f"#/$defs/{schema['x-is']}"}
    return {key: _with_grids(value) for key, value in schema.items()}


def _grid() -> dict:
    """A grid's keys; each may be a list, which is an axis. None is required: `base` may give it."""
    keys = {key: _axis(_plugin(), about) for key, about in _ABOUT.items()}
    number = _axis({"type": "number"}, "more than 0")
    step = {
        "type": "object",
        "properties": {
            "rule": _axis({"enum": list(STEP_RULES)}, "the step that theory gives"),
            "factor": number,
            "value": number,
        },
        "additionalProperties": False,
    }
    keys["step"] = _axis(step, "{rule, factor}: a multiple of theory's step; or {value}")
    layers = {
        "type": "object",
        "properties": {
            "per": _axis(
                {"enum": ["layer", "whole"]}, "each layer by itself, or all as one vector"
            ),
            "small": _axis({"type": "integer", "minimum": 0}, "smaller layers are sent dense"),
        },
        "additionalProperties": False,
    }
    keys["layers"] = _axis(layers, "how updates of several layers are compressed")
    for key, (least, about) in _NUMBERS.items():
        keys[key] = _axis({"type": "integer", "minimum": least}, about)
    stop = {
        "type": "object",
        "properties": {
            "grad_sq_below": number,
            "test_accuracy_above": number,
            "diverge_above": number,
        },
        "additionalProperties": False,
    }
    keys["stop"] = _axis(stop, "ends a run early")
    keys["snapshots"] = {
        "description": "updates kept for studies of the operators themselves, or spectra of representations",
        "type": "object",
        "properties": {
            "rounds": {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 1},
            "clients": {"type": "integer", "minimum": 1},
            "keep": {"type": "array", "items": {"enum": ["updates", "spectra"]}, "minItems": 1},
        },
        "required": ["rounds"],
        "additionalProperties": False,
    }
    keys[KEY] = {"description": "points drawn together, for a search", **Sample.model_json_schema()}
    return {"type": "object", "properties": keys, "additionalProperties": False}


def _plugin() -> dict:
    block = {"type": "object", "properties": {"name": _axis({"type": "string"}, "plug-in")}}
    return {"anyOf": [{"type": "string"}, block, {"type": "null"}]}


def _axis(one: dict, about: str) -> dict:
    return {"description": about, "anyOf": [one, {"type": "array", "items": one, "minItems": 1}]}


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "workflow/schemas"))
