"""SVD of rank r: the best approximation of its rank (Eckart, Young 1936).

In gradient compression: ATOMO (Wang et al. 2018, arXiv 1806.04090), QRR (arXiv 2507.11183).
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field as Checked

from fewbits.compressors import factorise, factors
from fewbits.compressors.leading import leading
from fewbits.compressors.lowrank import LowRank
from fewbits.registry import plugin


@plugin
class SVD(LowRank):
    """C(X) = P X, P the projection on the r leading singular vectors of X (m x n).

    alpha_C = r / min(m, n), tight for orthogonal matrices. Sent: the basis of the shorter side, r min(m, n) numbers, and
    the coefficients of X in it (singular values folded in), r max(m, n).
    """

    name: ClassVar[str] = "svd"
    codec: ClassVar[int] = 70
    length: ClassVar[str] = "r (m + n) w"
    source: ClassVar[str] = "Eckart, Young 1936; Wang et al. 2018, arXiv 1806.04090"
    own_fold: ClassVar[str] = "matrix"

    rank: Annotated[int, Checked(ge=1)]

    @classmethod
    def examples(cls, d):
        return [
            {"rank": 1},
            {"rank": 2, "factors": "natural"},
            {"rank": 1, "factors": "int8"},
        ]

    def arrange(self, dims):
        m, n, flat = sides_of_matrix(dims)
        r = min(self.rank, m, n)
        return (r,), () if flat else ((r, min(m, n)), (r, max(m, n)))

    def bound(self, plan):
        (r,), (_, (_, long)) = plan.ranks, plan.parts
        short = plan.parts[0][1]
        return factors.surviving(self.factors, [(r / short, short, r)], r * long)

    def factorise(self, stack, plan, keys, box):
        a = short_side_first(stack.reshape(len(stack), plan.dims[0], -1))
        basis = box.send(leading(a, plan.ranks[0]))
        q, s, _ = factorise.orthonormal(basis)
        box.finish(np.matmul(s, factorise.product(q, a)))

    def rebuild(self, parts, plan):
        basis, coefficients = parts
        if plan.dims[0] <= np.prod(plan.dims[1:]):
            return factorise.product(factorise.transposed(basis), coefficients)
        return factorise.product(factorise.transposed(coefficients), basis)


def sides_of_matrix(dims: tuple[int, ...]) -> tuple[int, int, bool]:
    """(m, n) of the matrix in which the first side stays and the others merge, and whether it is a vector."""
    n = int(np.prod(dims[1:]))
    return dims[0], n, min(dims[0], n) == 1


def short_side_first(a: np.ndarray) -> np.ndarray:
    """(n, rows, columns), transposed if it has more rows than columns."""
    return a if a.shape[1] <= a.shape[2] else factorise.transposed(a)
