"""Tensor train by successive SVDs (TT-SVD).

Oseledets 2011, "Tensor-train decomposition", SIAM J. Sci. Comput. 33(5), algorithm 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import ClassVar

import numpy as np

from fewbits.compressors import factorise, factors
from fewbits.compressors.leading import leading
from fewbits.compressors.lowrank import LowRank, Ranks, between, wanted_ranks
from fewbits.registry import plugin


@plugin
class TT(LowRank):
    """The tensor as a chain of cores R_{i-1} x d_i x R_i. `rank` is one number for all bonds or one for each ("8x8x3").

    alpha_C = prod_i R_i / min(R_{i-1} d_i, d_{i+1} .. d_n): each split is the best projection of its rank. The error is at
    most sqrt(order - 1) times the best one's. Bonds that truncate nothing are not cut: the sides at either end of them
    are sent as one core, which is shorter and the same tensor. Sent: sum R_{i-1} d_i R_i numbers. On a matrix this is the
    SVD.
    """

    name: ClassVar[str] = "tt"
    codec: ClassVar[int] = 77
    length: ClassVar[str] = "w sum r_(i-1) n_i r_i"
    source: ClassVar[str] = "Oseledets 2011"

    rank: Ranks

    @classmethod
    def examples(cls, d):
        return [{"rank": 1}, {"rank": 2, "factors": "int8"}, {"rank": 2, "fold": "order4"}]

    @classmethod
    def sizes(cls, given, shape):
        dims = cls.dims_of(shape, given.get("fold", "auto"))
        bonds = [min(prod(dims[:i]), prod(dims[i:])) for i in range(1, len(dims))]
        return list(range(1, max(bonds, default=1) + 1))

    @classmethod
    def finer(cls, given, shape, value):
        return between(value, len(cls.dims_of(shape, given.get("fold", "auto"))) - 1)

    def arrange(self, dims):
        groups, ranks = cuts(dims, wanted_ranks(self.rank, len(dims) - 1) if len(dims) > 1 else ())
        return ranks, cores(groups, ranks)

    def bound(self, plan):
        groups = sides_of(plan.parts)
        last = prod(plan.parts[-1])
        return factors.surviving(self.factors, stages(groups, plan.ranks), last, chained=True)

    def factorise(self, stack, plan, keys, box):
        groups = sides_of(plan.parts)
        send_chain(stack.reshape(len(stack), *groups), plan.ranks, box)

    def rebuild(self, parts, plan):
        return chain(parts)


def cuts(dims: Sequence[int], ranks: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Sides merged over the bonds that truncate nothing, and the ranks of the bonds that do."""
    groups, kept, before, side = [], [], 1, 1
    for i, wanted in enumerate(ranks):
        side *= dims[i]
        most = min(before * side, prod(dims[i + 1 :]))
        if wanted < most:
            groups.append(side)
            kept.append(wanted)
            before, side = wanted, 1
    return (*groups, side * dims[-1]), tuple(kept)


def cores(groups: Sequence[int], ranks: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Shapes of what is sent: cores as (R_i, R_{i-1}, d_i), the last one (R_{n-1}, d_n); none without a bond."""
    if not ranks:
        return ()
    before = (1, *ranks)
    inner = [(r, b, d) for r, b, d in zip(ranks, before, groups[:-1], strict=False)]
    return (*inner, (ranks[-1], groups[-1]))


def sides_of(parts: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(p[-1] for p in parts)


def stages(groups: Sequence[int], ranks: Sequence[int]) -> list[tuple[float, int, int]]:
    """Stages of `factors.surviving`."""
    before, out = 1, []
    for i, r in enumerate(ranks):
        rows = before * groups[i]
        out.append((r / min(rows, prod(groups[i + 1 :])), rows, r))
        before = r
    return out


def send_chain(
    stack: np.ndarray,
    ranks: Sequence[int],
    box: factors.Outbox,
) -> None:
    """The cores of (n, d_1, .., d_k), one bond after the other.

    `rest` holds the tensor in an orthonormal basis Q of the span of the cores received so far, C = Q K; a new core
    is found there, and sent in terms of C (times S = K^-1).
    """
    n, groups = len(stack), stack.shape[1:]
    rest, before = stack.reshape(n, 1, -1), 1
    s = k = np.ones((n, 1, 1))
    for i, r in enumerate(ranks):
        a = rest.reshape(n, before * groups[i], -1)
        basis = leading(a, r).reshape(n, r, before, groups[i])
        received = box.send(np.matmul(s[:, None], basis))
        effective = np.matmul(k[:, None], received).reshape(n, r, -1)
        q, s, k = factorise.orthonormal(effective)
        rest, before = factorise.product(q, a), r
    box.finish(np.matmul(s, rest))


def chain(parts: Sequence[np.ndarray]) -> np.ndarray:
    """(n, d_1 .. d_k) from the cores, multiplied from the last (the small end) to the first."""
    out = parts[-1]
    for core in reversed(parts[:-1]):
        n, r, before, side = core.shape
        left = core.reshape(n, r, before * side)
        out = factorise.product(factorise.transposed(left), out.reshape(n, r, -1))
        out = out.reshape(n, before, -1)
    return out.reshape(len(out), -1)
