"""What the low-rank operators have in common: from numbers to factors, to a message, and back.

An operator says how the update is laid out and which arrays are sent (`arrange`), computes them (`factorise`) and
multiplies them again (`rebuild`); this file does the rest. A message is

    form 0    the arrays one after the other, each as factors.py says; the sizes follow from the shape and the rank
    form 1    all d numbers as float32 (float64 with factors: float64): where the factors are not shorter.
              The operator is then x itself, up to the float format: better than the factors, and shorter

so that tiny layers, ranks above the dimension, and layers whose factors would be longer than they need no special
care; a depthwise kernel is compressed as C x kh kw if that is shorter.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from math import prod
from typing import Annotated, ClassVar, NamedTuple

import numpy as np
from pydantic import ConfigDict
from pydantic import Field as Checked
from pydantic.dataclasses import dataclass as pydantic_dataclass

from fewbits.compressors import factorise, factors, reshaping
from fewbits.compressors.base import Compressed, Compressor, require_finite, size, through_wire
from fewbits.compressors.factors import Kind
from fewbits.compressors.message import Bits, Field, Message, from_bytes, payload_bits
from fewbits.lazy import torch

FACTORS, DENSE = 0, 1
CHUNK = 2**20  # numbers factorised at a time: bounds the memory of float64 copies

Ranks = Annotated[int, Checked(ge=1)] | Annotated[str, Checked(pattern=r"^[1-9]\d*(x[1-9]\d*)+$")]


class Plan(NamedTuple):
    """How the messages of one shape look; `parts` are the shapes of the arrays in the order they are sent."""

    dims: tuple[int, ...]
    ranks: tuple[int, ...]
    parts: tuple[tuple[int, ...], ...]
    form: int
    count: int
    layout: tuple[Field, ...]
    bits: Bits


@pydantic_dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class LowRank(Compressor):
    """Base of the low-rank operators. Parameters that all have:

    factors: float format of what is sent (factors.py); fold: how numbers are laid out (reshaping.py), "auto" is
    the operator's own choice.
    """

    own_fold: ClassVar[str] = "tensor"
    knob: ClassVar[str | None] = "rank"

    factors: Kind = "float32"
    fold: Annotated[str, Checked(pattern=rf"^({reshaping.PATTERN})$")] = "auto"

    def arrange(self, dims: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
        """Ranks, capped by the sides, and the shapes of the arrays; no arrays: only dense will do."""
        raise NotImplementedError

    def factorise(self, stack: np.ndarray, plan: Plan, keys: np.ndarray, box: factors.Outbox):
        """Send the arrays of (n, *dims), the last one by `box.finish`."""
        raise NotImplementedError

    def rebuild(self, parts: list[np.ndarray], plan: Plan) -> np.ndarray:
        """(n, *dims) from the received arrays, each (n, *its shape)."""
        raise NotImplementedError

    def bound(self, plan: Plan) -> float | None:
        """alpha_C of the form with factors."""
        return None

    def check(self, features: int | None = None) -> str | None:
        """Why this cannot be used on a vector of `features` numbers, or None."""
        try:
            if features is not None:
                self.plan((features,))
        except ValueError as error:
            return str(error)
        return None

    def plan(self, shape: tuple[int, ...]) -> Plan:
        """The layout of messages for `shape`. Raises ValueError where `fold` or `rank` do not fit it."""
        return _plan(self, tuple(shape))

    def payload(self, shape):
        return self.plan(shape).bits

    @classmethod
    def sizes(cls, given, shape):
        dims = cls.dims_of(shape, given.get("fold", "auto"))
        return range(1, min(dims[0], prod(dims[1:])) + 1)

    def contraction(self, shape):
        plan = self.plan(shape)
        return 1.0 if plan.form == DENSE else self.bound(plan)

    def compress(self, x, shape, keys=None):
        plan = self.plan(shape)
        if plan.form == DENSE:
            return Compressed(through_wire(x, self._wire()), plan.bits)
        rows, keys = as_rows(x, shape, keys)
        out = np.empty_like(rows)
        for piece in pieces(*rows.shape):
            box = self._send(rows[piece], keys[piece], plan)
            out[piece] = self._value(box.received, plan, rows.shape[1], rows.dtype)
        return Compressed(like(out, x), plan.bits)

    def encode(self, x, where="update", key=0):
        rows, keys = as_rows(x, tuple(x.shape), [key])
        return self._message(rows, keys, self.plan(tuple(x.shape)), where)

    def decode(self, message, shape, dtype):
        plan = self._plan_of(message.count, message.form, tuple(shape))
        if message.form == DENSE:
            return torch.from_numpy(message.sections[0]).to(dtype).nan_to_num().reshape(shape)
        parts = read_parts(self.factors, message.sections, plan.parts)
        numpy_dtype = np.float64 if dtype == torch.float64 else np.float32
        value = self._value(parts, plan, size(shape), numpy_dtype)
        return torch.from_numpy(value).to(dtype).reshape(shape)

    def from_bytes(self, data, shape):
        shape = tuple(shape)

        def layouts(form: int, count: int) -> tuple[Field, ...]:
            return self._plan_of(count, form, shape).layout

        message = from_bytes(data, self.codec, self._most(shape), layouts)
        if message.form == FACTORS:
            width = len(factors.fields(self.factors, 1))
            for i in range(0, len(message.sections), width):
                factors.require_codes(self.factors, message.sections[i : i + width])
        return message

    def _message(self, rows: np.ndarray, keys: np.ndarray, plan: Plan, where: str) -> Message:
        """The message of one row, by this plan. Raises ValueError naming `where` on NaN or infinity."""
        if plan.form == DENSE:
            require_finite(torch.from_numpy(rows), where, self._wire())
            sections = (rows[0].astype(self._wire()),)
        else:
            return self._message_of(self._send(rows, keys, plan), rows, plan, where)
        return Message(self.codec, plan.form, plan.count, plan.layout, sections)

    def _message_of(self, box: factors.Outbox, rows: np.ndarray, plan: Plan, where: str) -> Message:
        """The message of one row, from what was sent."""
        if not box.finite.all() or rows.dtype != self._wire():
            require_finite(torch.from_numpy(rows), where, self._wire())
        sections = tuple(s[0] for s in box.sections)
        return Message(self.codec, plan.form, plan.count, plan.layout, sections)

    def _plan_of(self, count: int, form: int, shape: tuple[int, ...]) -> Plan:
        """The plan of a message that arrived. Raises ValueError if there is none such."""
        plan = self.plan(shape)
        if (form, count) != (plan.form, plan.count):
            raise ValueError(f"expected {plan.count} numbers in form {plan.form}")
        return plan

    def _most(self, shape: tuple[int, ...]) -> int:
        """Largest count of a message."""
        return self.plan(shape).count

    def _send(self, rows: np.ndarray, keys: np.ndarray, plan: Plan, *start) -> factors.Outbox:
        """`start`: what `factorise` begins with, where an operator has such a thing."""
        stack, exponent, finite = factorise.scaled(reshaping.fold(rows, plan.dims))
        box = factors.Outbox(self.factors, exponent, finite)
        self.factorise(stack, plan, keys, box, *start)
        return box

    def _value(self, parts: list[np.ndarray], plan: Plan, d: int, dtype) -> np.ndarray:
        """(n, d) from received arrays; finite whatever the arrays hold."""
        with np.errstate(over="ignore", invalid="ignore"):
            value = self.rebuild([p.astype(dtype) for p in parts], plan)
            size_of = [np.abs(p).reshape(len(p), -1).sum(axis=1).max() for p in parts]
            if not prod(map(float, size_of)) < np.finfo(dtype).max:
                value = np.nan_to_num(value, copy=False)
        return reshaping.unfold(value, d)

    def _dims(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return self.dims_of(shape, self.fold)

    @classmethod
    def dims_of(cls, shape: tuple[int, ...], fold: str) -> tuple[int, ...]:
        return reshaping.sides(tuple(shape), cls.own_fold if fold == "auto" else fold)

    def _wire(self) -> str:
        """Float format of the dense form."""
        return "float64" if self.factors == "float64" else "float32"


@functools.lru_cache(maxsize=4096)
def _plan(operator: LowRank, shape: tuple[int, ...]) -> Plan:
    dims = operator._dims(shape)
    ranks, parts = operator.arrange(dims)
    return make_plan(operator, size(shape), dims, ranks, parts, sum(map(prod, parts)))


def make_plan(operator: LowRank, d: int, dims, ranks, parts, count: int) -> Plan:
    """The plan with these arrays, or the dense one where it is not longer."""
    layout = tuple(f for part in parts for f in factors.fields(operator.factors, prod(part)))
    plain = (Field("values", operator._wire(), d),)
    bits, dense = payload_bits(layout, count), payload_bits(plain, d)
    if not parts or dense.total <= bits.total:
        return Plan(dims, ranks, (), DENSE, d, plain, dense)
    return Plan(dims, ranks, parts, FACTORS, count, layout, bits)


def wanted_ranks(rank: int | str, n: int) -> tuple[int, ...]:
    """One rank for each of `n` modes or bonds: the same for all, or as listed. Raises ValueError."""
    if isinstance(rank, int):
        return (rank,) * n
    given = tuple(map(int, rank.split("x")))
    if len(given) != n:
        raise ValueError(f"rank {rank} names {len(given)} ranks, the fold needs {n}")
    return given


def between(rank: int, n: int) -> list[str]:
    """All ways to write ranks for `n` modes of which some are `rank` and the others one more."""
    several = [r for r in itertools.product((rank, rank + 1), repeat=n) if len(set(r)) > 1]
    return ["x".join(map(str, r)) for r in several]


def read_parts(kind: str, sections, parts) -> list[np.ndarray]:
    """Arrays (1, *part) from the sections of one message."""
    width = len(factors.fields(kind, 1))
    rows = [s[None] for s in sections]
    groups = [tuple(rows[i : i + width]) for i in range(0, len(rows), width)]
    return [factors.read(kind, g).reshape(1, *p) for g, p in zip(groups, parts, strict=True)]


def as_rows(x: torch.Tensor, shape: tuple[int, ...], keys) -> tuple[np.ndarray, np.ndarray]:
    """(n, d) float32 or float64, contiguous in CPU memory (products of others round otherwise), and one key a row."""
    x = x.detach().cpu()
    if x.dtype not in (torch.float32, torch.float64):
        x = x.float()
    rows = np.ascontiguousarray(x.numpy().reshape(-1, size(shape)))  # calls of torch take longer
    seeds = np.zeros(len(rows), np.uint64) if keys is None else np.asarray(keys, np.uint64)
    return rows, seeds.reshape(-1)


def like(rows: np.ndarray, x: torch.Tensor) -> torch.Tensor:
    """`rows` as a tensor of the shape, type and place of `x`."""
    return torch.from_numpy(rows).to(x.device, x.dtype).reshape(x.shape)


def pieces(n: int, d: int) -> Iterator[slice]:
    """Slices of `n` rows of d numbers, about CHUNK numbers each."""
    step = max(1, CHUNK // d)
    return (slice(i, i + step) for i in range(0, n, step))
