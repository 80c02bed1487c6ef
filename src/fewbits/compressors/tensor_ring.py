"""Tensor ring: a tensor train whose ends are tied by one more bond.

Zhao et al. 2016 (arXiv 1606.05535), algorithm 1 (TR-SVD).
"""

from __future__ import annotations

from math import prod
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field as Checked

from fewbits.compressors import factorise
from fewbits.compressors.leading import leading
from fewbits.compressors.lowrank import LowRank
from fewbits.compressors.tt import chain, cores, cuts, send_chain
from fewbits.registry import plugin


@plugin
class TensorRing(LowRank):
    """x(i1..in) = trace(G1(i1) .. Gn(in)) with bonds of `rank`; the first split's rank is shared by two bonds.

    The first SVD keeps R_0 R_1 directions: R_1 = min(rank, d_1, rest), R_0 = min(rank, min(d_1, rest) / R_1); what is left is
    a train from bond 1 to the closing bond 0. No constant is declared: how the first rank is shared is arbitrary, and after rounding the
    train is fitted in a basis that is orthogonal to the rounding error only. Rarely worth its bits on gradients.
    Sent: d_1 R_0 R_1 + the train's cores, the last of them (R_{n-1}, d_n R_0).
    """

    name: ClassVar[str] = "tensor_ring"
    codec: ClassVar[int] = 78
    length: ClassVar[str] = "w sum r_i n_i r_(i+1)"
    source: ClassVar[str] = "Zhao et al. 2016, arXiv 1606.05535"
    instead: ClassVar[str] = "tt"

    rank: Annotated[int, Checked(ge=1)]

    @classmethod
    def examples(cls, d):
        return [{"rank": 2}, {"rank": 1, "factors": "int8"}]

    @classmethod
    def sizes(cls, given, shape):
        return list(super().sizes(given, shape))  # two ranks grow in turns: lengths may fall

    def arrange(self, dims):
        if len(dims) < 2:
            return (), ()
        first, tie = ends(dims, self.rank)
        inner = train_dims(dims, first, tie)
        groups, ranks = cuts(inner, (self.rank,) * (len(inner) - 1))
        rest = cores(groups, ranks) or ((1, prod(inner)),)
        return (first, tie, *ranks), ((first * tie, dims[0]), *rest)

    def factorise(self, stack, plan, keys, box):
        n, (first, tie, *ranks) = len(stack), plan.ranks
        a = stack.reshape(n, plan.dims[0], -1)
        basis = box.send(leading(a, first * tie))
        q, s, _ = factorise.orthonormal(basis)
        rest = np.matmul(s, factorise.product(q, a)).reshape(n, tie, first, -1)
        closed = np.ascontiguousarray(np.moveaxis(rest, 1, 3))  # R_0 last
        groups = tuple(p[-1] for p in plan.parts[1:])
        if ranks:
            send_chain(closed.reshape(n, *groups), tuple(ranks), box)
        else:
            box.finish(closed.reshape(n, 1, -1))

    def rebuild(self, parts, plan):
        n, (first, tie) = len(parts[0]), plan.ranks[:2]
        train = chain(parts[1:]).reshape(n, first, -1, tie)
        rest = np.ascontiguousarray(np.moveaxis(train, 3, 1)).reshape(n, tie * first, -1)
        return factorise.product(factorise.transposed(parts[0]), rest)


def ends(dims: tuple[int, ...], rank: int) -> tuple[int, int]:
    """R_1 and R_0: ranks of the bonds on either side of the first core."""
    most = min(dims[0], prod(dims[1:]))
    first = min(rank, most)
    return first, min(rank, most // first)


def train_dims(dims: tuple[int, ...], first: int, tie: int) -> tuple[int, ...]:
    """Sides of the train: R_1 d_2, d_3, .., d_n R_0."""
    inner = list(dims[1:])
    inner[0] *= first
    inner[-1] *= tie
    return tuple(inner)
