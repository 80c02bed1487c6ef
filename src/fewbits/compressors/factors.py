"""How the factors of a low-rank message are rounded and packed.

    kind      bits a number    what is sent
    float64   64               the number
    float32   32               the number
    float16   16 (+ 32 an array)   number / largest of the array
    natural   9                sign and exponent: the nearest power of two (Horvath et al. 2019, arXiv 1905.10988,
                               with rounding to nearest instead of at random; Beznosikov et al. 2020, arXiv 2002.12410)
    int8      8.25             255 levels between -m and m, m the largest magnitude of each run of 64 numbers

Rounding is to nearest everywhere: what follows in a factorisation is fitted to the factors *as they arrive*
(factorise.orthonormal), so that an unbiased rounding would gain nothing. `Outbox` is how it gets hold of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import sqrt
from typing import Literal

import numpy as np

from fewbits.compressors.message import Field, MessageError

Kind = Literal["float64", "float32", "float16", "natural", "int8"]
RUN = 64  # numbers that share a scale in int8
LARGEST = float(np.finfo(np.float32).max)


def fields(kind: str, n: int) -> tuple[Field, ...]:
    """Sections in which an array of `n` numbers is sent."""
    match kind:
        case "float16":
            return (Field("scales", "float32", 1), Field("values", "float16", n))
        case "natural":
            return (Field("values", "uint9", n),)
        case "int8":
            return (Field("scales", "uint16", -(-n // RUN)), Field("values", "uint8", n))
    return (Field("values", kind, n),)


def write(kind: str, a: np.ndarray) -> tuple[np.ndarray, ...]:
    """Sections (rows, .) for `a` (rows, n); magnitudes above float32's largest are cut to it."""
    if kind == "float64":
        return (a,)
    a = np.minimum(np.maximum(a, -LARGEST), LARGEST)  # np.clip takes five times as long to begin
    if kind == "float32":
        return (a.astype(np.float32),)
    if kind == "float16":
        scale = np.abs(a).max(axis=1, keepdims=True).astype(np.float32)
        return scale, (a / _nonzero(scale)).astype(np.float16)
    if kind == "natural":
        mantissa, exponent = np.frexp(np.abs(a))
        code = np.clip(exponent - (mantissa <= 0.75) + 127, 0, 254)
        return ((a < 0) * 256 + np.where(mantissa > 0, code, 0),)
    runs = _runs(a)
    scale = _bfloat16_above(np.abs(runs).max(axis=2) / 127)
    codes = np.rint(runs / _nonzero(_bfloat16(scale))[:, :, None]).clip(-127, 127) + 127
    return scale, codes.reshape(len(a), -1)[:, : a.shape[1]].astype(np.int64)


def read(kind: str, sections: tuple[np.ndarray, ...]) -> np.ndarray:
    """(rows, n) float64 from what `write` gave."""
    if kind == "float16":
        return sections[1].astype(np.float64) * sections[0]
    if kind == "natural":
        sign, code = np.divmod(sections[0], 256)
        return np.where(code > 0, np.ldexp(1.0 - 2.0 * sign, code - 127), 0.0)
    if kind == "int8":
        n = sections[1].shape[1]
        steps = np.repeat(_bfloat16(sections[0]), RUN, axis=1)[:, :n]
        return (sections[1] - 127.0) * steps
    return sections[0].astype(np.float64)


def require_codes(kind: str, sections: tuple[np.ndarray, ...]) -> None:
    """Raise MessageError for codes that `write` never makes."""
    if kind == "natural" and (sections[0] % 256 > 254).any():
        raise MessageError("a factor holds an exponent that no number has")
    if kind == "int8":
        if (sections[0] >= 0x7F80).any():
            raise MessageError("a factor has a scale that is negative or not finite")
        if (sections[1] > 254).any():
            raise MessageError("a factor holds a level that no number has")


def loss(kind: str, n: int) -> float:
    """Most that rounding takes: |sent - a|^2 <= loss |a|^2 for every array of `n` numbers."""
    return {
        "float64": 2.0**-104,
        "float32": 2.0**-48,
        "float16": 2.0**-22 + n * 2.0**-48,
        "natural": 1 / 9,
        "int8": min(n, RUN) * (1.01 / 254) ** 2,  # 1.01: scales are rounded upwards to 8 bits
    }[kind]


def column_loss(kind: str, n: int) -> float:
    """The same for each column of an orthonormal basis with `n` rows, sent column by column.

    int8: the first and the last run of a column may take their scale from a neighbour.
    """
    return (3 if kind == "int8" else 1) * loss(kind, n)


def surviving(
    kind: str, stages: Iterable[tuple[float, int, int]], last: int, chained: bool = False
) -> float | None:
    """alpha_C of successive projections on bases that are rounded before they are used.

    A stage is (share, rows, rank): its exact basis is the leading eigenspace, so that at least `share` of the
    energy it is given is kept. Rounding U to U + E loses at most |e_j|^2 of what column j keeps (the term of first
    order vanishes because U is an eigenbasis), and makes the basis less orthogonal: condition number at most
    (1 + s)/(1 - s) with s^2 = rank |e_j|^2. The `last` coefficients are rounded too, and the basis enlarges that error by its
    condition. `chained` (tensor trains): a stage's rounding error passes through the previous stages' basis;
    else (Tucker) conditions multiply. None: no bound above zero follows.
    """
    alpha, condition = 1.0, 1.0
    for share, rows, rank in stages:
        lost = column_loss(kind, rows) * (condition**2 if chained else 1.0)
        spread = 0.0 if rank == 1 else sqrt(lost * rank)
        if lost >= 1 or spread >= 1:
            return None
        own = (1 + spread) / (1 - spread)
        condition = own if chained else condition * own
        alpha *= share * (1 - lost)
    alpha *= 1 - condition**2 * loss(kind, last)
    return alpha if alpha > 0 else None


class Outbox:
    """Collects the arrays of `rows` messages as they are sent, and hands them back as they arrive."""

    def __init__(self, kind: str, exponent: np.ndarray, finite: np.ndarray) -> None:
        """(rows,): the messages are of 2^exponent times what is factorised, zeros where not `finite`."""
        self.kind, self.exponent, self.finite = kind, exponent, finite
        self.sections: list[np.ndarray] = []
        self.received: list[np.ndarray] = []

    def send(self, array: np.ndarray) -> np.ndarray:
        """A factor (rows, ...) that does not depend on the scale; returns it as received, float64."""
        sections = write(self.kind, array.reshape(len(array), -1))
        self.sections += sections
        self.received.append(read(self.kind, sections).reshape(array.shape))
        return self.received[-1]

    def finish(self, array: np.ndarray) -> np.ndarray:
        """The last factor, which carries the scale."""
        scale = np.ldexp(1.0, self.exponent).reshape(-1, *[1] * (array.ndim - 1))
        return self.send(array * scale)


def _runs(a: np.ndarray) -> np.ndarray:
    """(rows, n) -> (rows, runs, RUN), zeros behind the last."""
    missing = -a.shape[1] % RUN
    return np.pad(a, ((0, 0), (0, missing))).reshape(len(a), -1, RUN)


def _bfloat16_above(a: np.ndarray) -> np.ndarray:
    """Upper 16 bits of the float32 not below `a` >= 0, as int64."""
    bits = a.astype(np.float32).view(np.uint32).astype(np.int64)
    return (bits + 0xFFFF) >> 16


def _bfloat16(code: np.ndarray) -> np.ndarray:
    return (code.astype(np.uint32) << np.uint32(16)).view(np.float32).astype(np.float64)


def _nonzero(scale: np.ndarray) -> np.ndarray:
    return np.where(scale > 0, scale, 1).astype(np.float64)
