"""Apply a study's operators to the snapshots of its runs: how far is C(x) from x, and how many bits does it take?

    results/runs/STUDY/RUN/snapshots/ROUND.npz -> results/SCALE/STUDY/operators.csv

One row for each operator at each budget, and each tensor: a layer of an update (`source`: update) or of what a method
gave to its compressor (residual), of one client at one round of one run. Columns:

    run, round, source, client, layer, shape, kind (linear, conv), numbers, stable_rank    which tensor
    operator, budget (empty: it has a size of its own), compressor, compressor.*           which C
    bits, bits_values, bits_indices, bits_metadata    of the payload, mean over draws
    bits_expected    of a payload, as C says for this shape, mean over chance; empty where x decides
    error, error_sd, draws    |C(x) - x|^2 / |x|^2, mean and standard deviation over draws (1 where C is not random)

Tensors that are zero or not finite have no rows. No times are measured: the same snapshots give the same bytes.
"""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Iterable, Iterator
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fewbits import rng
from fewbits.compressors import sizes
from fewbits.federation import snapshots
from fewbits.files import read_json, write_text
from fewbits.lazy import torch
from fewbits.studies.runs import flat

CHUNK = 2**24  # numbers that are compressed together: bounds memory
FACTS = ("run", "round", "source", "client", "layer", "shape", "kind", "numbers", "stable_rank")
FOUND = (
    "bits",
    "bits_values",
    "bits_indices",
    "bits_metadata",
    "error",
    "error_sd",
    "draws",
    "bits_expected",
)


class Tensor(NamedTuple):
    """A layer of what one client had, and the facts that name it (FACTS)."""

    facts: dict
    x: np.ndarray


def measure(
    operators: list, draws: int, least: int, runs: Iterable, runs_dir: Path, out: Path, say=print
) -> Path:
    """Write operators.csv to `out`. Raises ValueError, one line, where a snapshot is missing.

    operators: studies.operators.Sized; draws: of each message, where C is random; least: layers of fewer numbers are left
    out; runs: studies.runs.Run; runs_dir: the folder that holds STUDY/RUN.
    """
    torch.set_num_threads(1)
    tensors = [t for run in runs for t in _tensors(run, Path(runs_dir), least)]
    by_shape: dict[tuple, list[int]] = {}
    for number, tensor in enumerate(tensors):
        by_shape.setdefault(tensor.x.shape, []).append(number)
    rows, said = [[] for _ in tensors], time.monotonic()
    for shape, members in by_shape.items():
        for number, operator in enumerate(operators):
            if time.monotonic() - said > 2:
                text = "x".join(map(str, shape))
                say(f"{len(members)} tensors of {text}: operator {number + 1} of {len(operators)}")
                said = time.monotonic()
            if prod(shape) > (operator.most or prod(shape)):
                continue
            chosen = [tensors[i] for i in members]
            for i, found in zip(members, _apply(operator, chosen, draws), strict=True):
                rows[i].append(tensors[i].facts | _columns(operator) | found)
    write_text(out, _csv([row for group in rows for row in group]))
    return out


def _tensors(run, runs_dir: Path, least: int) -> Iterator[Tensor]:
    """All tensors in a run's snapshots, of `least` numbers or more and two dimensions or more."""
    if "snapshots" not in run.spec:
        return
    folder = runs_dir / run.study / run.id
    for number in map(int, read_json(folder / "summary.json").get("snapshots", {})):
        held = snapshots.load(folder, number)
        for key, stack in held.items():
            source, _, layer = key.partition("/")
            shape = stack.shape[1:]
            if not layer or len(shape) < 2 or prod(shape) < least:
                continue
            for client, x in zip(held["clients"].tolist(), stack, strict=True):
                if np.isfinite(x).all() and x.any():
                    yield Tensor(_facts(run.id, number, source, client, layer, x), x)


def _facts(run: str, number: int, source: str, client: int, layer: str, x: np.ndarray) -> dict:
    return {
        "run": run,
        "round": number,
        "source": source,
        "client": client,
        "layer": layer,
        "shape": "x".join(map(str, x.shape)),
        "kind": "conv" if x.ndim > 2 else "linear",
        "numbers": x.size,
        "stable_rank": stable_rank(x),
    }


def stable_rank(x: np.ndarray) -> float:
    """|M|_F^2 / sigma_1^2 of a tensor as the matrix whose rows are its first side; 1 for rank one."""
    m = x.reshape(len(x), -1).astype(np.float64)
    m = m / np.abs(m).max()
    gram = m @ m.T if m.shape[0] <= m.shape[1] else m.T @ m
    return float(np.trace(gram) / np.linalg.eigvalsh(gram)[-1])


def _apply(operator, tensors: list[Tensor], draws: int) -> Iterator[dict]:
    """FOUND for every tensor, all of one shape."""
    shape = tensors[0].x.shape
    compressor = sizes.resolve(operator.full, shape)
    draws = draws if compressor.random else 1
    expected = compressor.mean_payload(shape)
    expected = None if expected is None else float(expected.total)
    _check_bytes(operator, compressor, tensors[0], shape)
    at_once = max(1, CHUNK // prod(shape))
    for first in range(0, len(tensors), at_once):
        part = tensors[first : first + at_once]
        x = torch.from_numpy(np.stack([tensor.x for tensor in part]))
        keys = np.array([_stream(tensor) for tensor in part])
        bits, errors = [], []
        for draw in range(draws):
            sent = compressor.compress(x, shape, rng.fold(keys, draw))
            parts = (sent.bits.values, sent.bits.indices, sent.bits.metadata)
            bits.append([np.broadcast_to(np.asarray(p, np.float64), len(part)) for p in parts])
            errors.append(_relative_error(sent.value, x))
        yield from _found(np.array(bits), np.array(errors), expected)


def _found(bits: np.ndarray, errors: np.ndarray, expected: float | None) -> Iterator[dict]:
    """Rows from bits (draws, 3, tensors), errors (draws, tensors) and the bits that C says beforehand."""
    draws = len(errors)
    spread = errors.std(axis=0, ddof=1) if draws > 1 else np.zeros(errors.shape[1])
    values = bits.mean(axis=0)
    table = np.vstack([values.sum(axis=0), values, errors.mean(axis=0), spread])
    for column in table.T.tolist():
        yield dict(zip(FOUND, [*column, draws, expected], strict=True))


def _relative_error(value: torch.Tensor, x: torch.Tensor) -> np.ndarray:
    x = x.flatten(1).double()
    left = value.flatten(1).double() - x
    return ((left * left).sum(dim=1) / (x * x).sum(dim=1)).numpy()


def _stream(tensor: Tensor) -> np.uint64:
    """The random stream of a tensor's messages: the same for every operator, so that they meet the same chance."""
    names = [tensor.facts[key] for key in ("run", "round", "source", "client", "layer")]
    return rng.stream("operators", *names)


def _check_bytes(operator, compressor, tensor: Tensor, shape) -> None:
    """Hold the bits that are reported equal to the length of one real payload."""
    key = rng.fold(_stream(tensor), 0)
    x = torch.from_numpy(tensor.x)
    sent = compressor.compress(x[None], shape, np.array([key]))
    real = 8 * len(compressor.encode(x, "snapshot", int(key)).to_bytes())
    said = float(np.asarray(sent.bits.total).reshape(-1)[0])
    if real != said:
        raise RuntimeError(f"operator {operator.name}: {said:g} bits reported, payload of {real}")


def _columns(operator) -> dict:
    named = flat({"compressor": operator.block})
    return {"operator": operator.name, "budget": operator.budget, **named}


def _csv(rows: list[dict]) -> str:
    own = {key for row in rows for key in row if key.startswith("compressor.")}
    header = [*FACTS, "operator", "budget", "compressor", *sorted(own), *FOUND]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_cell(row.get(name)) for name in header] for row in rows)
    return text.getvalue()


def _cell(value: object) -> str:
    """Numbers in their shortest exact form."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return value if isinstance(value, str) else json.dumps(value)
