"""PowerSGD's operator for one client: one pass of subspace iteration.

Vogels, Karimireddy, Jaggi 2019 (arXiv 1905.13727), algorithm 1, without its averaging and its memory. In PowerSGD proper the two
products are averaged over the clients *inside* the operator; here each client sends its own factors.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field as Checked

from fewbits import rng
from fewbits.compressors import factorise, factors, lowrank, reshaping
from fewbits.compressors.base import Compressed, through_wire
from fewbits.compressors.lowrank import LowRank
from fewbits.compressors.svd import sides_of_matrix
from fewbits.registry import plugin

FINE = ("float32", "float64")


@plugin
class PowerSGD(LowRank):
    """P = orth(X W), Q = X'P, C(X) = P Q' for X (m x n); W (n x r) normal random numbers from the key ("cold").

    alpha_C = r / min(m, n) in expectation over the key. Proof: P projects on the range of X W. In the basis of X's left
    singular vectors its expected diagonal p_i (sum r) grows with the singular value s_i: p_i is the mean of
    u/(1+u), u = s_i^2 q_i, where exchanging rows i and j of W's normal numbers shows q_i to be the larger for the larger s_i. So by
    Chebyshev's sum inequality sum p_i s_i^2 >= (r / min(m, n)) sum s_i^2. It is proven for float factors; coarser
    rounding of a basis that is no eigenbasis has an effect of first order, so none is declared.

    `passes` above 1 repeats W = X'P, P = orth(X W). Sent: P' (r x m), Q' (r x n); W need not be.

    The warm start, W = the last message's Q, is the state of an algorithm: `compress_from` is the operator
    with a given W. It has no constant (X W = 0 is possible), except that `insure` replaces the last
    column of W by random numbers from the key: alpha_C = 1 / min(m, n) then.
    """

    name: ClassVar[str] = "powersgd"
    codec: ClassVar[int] = 71
    length: ClassVar[str] = "r (m + n) w"
    source: ClassVar[str] = "Vogels, Karimireddy, Jaggi 2019, arXiv 1905.13727"
    instead: ClassVar[str] = "factors: float32"
    own_fold: ClassVar[str] = "matrix"

    rank: Annotated[int, Checked(ge=1)]
    passes: Annotated[int, Checked(ge=1, le=100)] = 1

    @classmethod
    def examples(cls, d):
        return [{"rank": 1}, {"rank": 2, "passes": 2}, {"rank": 2, "factors": "int8"}]

    def arrange(self, dims):
        m, n, flat = sides_of_matrix(dims)
        r = min(self.rank, m, n)
        return (r,), () if flat else ((r, m), (r, n))

    def bound(self, plan):
        m, n, _ = sides_of_matrix(plan.dims)
        return plan.ranks[0] / min(m, n) if self.factors in FINE else None

    def factorise(self, stack, plan, keys, box):
        n = int(np.prod(plan.dims[1:]))
        (r,) = plan.ranks
        start = rng.normals(keys, n * r).reshape(len(stack), n, r)
        self._pass(stack.reshape(len(stack), plan.dims[0], n), start, box)

    def rebuild(self, parts, plan):
        return factorise.product(factorise.transposed(parts[0]), parts[1])

    def compress_from(self, x, shape, start, keys=None, insure=False):
        """The operator with a given W: (Compressed, Q as the receiver has it).

        Args:
            x, shape, keys: as in `compress`.
            start: (rows, n, r) float64 array, W of each row of x; Q of the previous call will do.
            insure: replace the last column of W by random numbers from `keys`.

        Where messages are dense, nothing is factorised and `start` is returned.
        """
        plan = self.plan(shape)
        if plan.form == lowrank.DENSE:
            return Compressed(through_wire(x, self._wire()), plan.bits), start
        rows, keys = lowrank.as_rows(x, shape, keys)
        stack, exponent, finite = factorise.scaled(reshaping.fold(rows, plan.dims))
        if insure:
            fresh = rng.normals(keys, start.shape[1])[:, :, None]
            start = np.concatenate([start[:, :, :-1], fresh], axis=2)
        box = factors.Outbox(self.factors, exponent, finite)
        start = unit_columns(start)
        self._pass(stack.reshape(len(stack), plan.dims[0], -1), start, box)
        out = self._value(box.received, plan, rows.shape[1], rows.dtype)
        q = np.ascontiguousarray(factorise.transposed(box.received[1]))
        return Compressed(lowrank.like(out, x), plan.bits), q

    def _pass(self, a: np.ndarray, start: np.ndarray, box: factors.Outbox) -> None:
        """Send P' and Q' of (rows, m, n) and W (rows, n, r)."""
        for i in range(self.passes):
            image = factorise.product(a, start.astype(a.dtype)).astype(np.float64)
            p = np.linalg.qr(image)[0]  # Householder's: safe for dependent and for zero columns
            if i + 1 < self.passes:
                start = factorise.product(factorise.transposed(a), p.astype(a.dtype))
        basis = box.send(np.ascontiguousarray(factorise.transposed(p)))
        q = factorise.product(basis.astype(a.dtype), a).astype(np.float64)
        if self.factors not in FINE:  # fine: the projection is the fit, to second order
            _, s, _ = factorise.orthonormal(basis)
            q = np.matmul(np.matmul(s, s), q)
        box.finish(q)


def unit_columns(w: np.ndarray) -> np.ndarray:
    """(rows, n, r) float64 with each column divided by its largest magnitude: a warm W may be as small as a late gradient."""
    peak = np.abs(w).max(axis=1, keepdims=True).astype(np.float64)
    return w / np.where(peak > 0, peak, 1.0)
