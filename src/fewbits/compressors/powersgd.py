"""PowerSGD's operator for one client: one pass of subspace iteration.

Vogels, Karimireddy, Jaggi 2019 (arXiv 1905.13727), algorithm 1, without its averaging and its error feedback. In PowerSGD proper the two
products are averaged over the clients *inside* the operator; here each client sends its own factors.
"""

from __future__ import annotations

from math import prod
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field as Checked

from fewbits import rng
from fewbits.compressors import factorise, factors, lowrank
from fewbits.compressors.base import Compressed
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

    `passes` above 1 repeats W = X'P, P = orth(X W). Sent: P' (r x m), Q' (r x n). W need not be, whatever it is: the
    receiver multiplies P and Q.

    start: "warm", W is Q of the sender's message before, as it was received (Vogels et al., section 3), and what the sender
    keeps; columns that are zero, as all are at first, are drawn from the key. No constant: X W = 0 is possible.
    "insured", the same, but the last column is drawn from the key each time: alpha_C = 1 / min(m, n), since P spans what
    a cold pass of rank 1 would. At rank 1 that is a cold pass.
    """

    name: ClassVar[str] = "powersgd"
    codec: ClassVar[int] = 71
    length: ClassVar[str] = "r (m + n) w"
    source: ClassVar[str] = "Vogels, Karimireddy, Jaggi 2019, arXiv 1905.13727"
    shown: ClassVar[tuple[dict, ...]] = ({}, {"start": "warm"}, {"start": "insured"})
    own_fold: ClassVar[str] = "matrix"

    rank: Annotated[int, Checked(ge=1)]
    passes: Annotated[int, Checked(ge=1, le=100)] = 1
    start: Literal["cold", "warm", "insured"] = "cold"

    @classmethod
    def examples(cls, d):
        return [
            {"rank": 1},
            {"rank": 2, "passes": 2},
            {"rank": 2, "factors": "int8"},
            {"rank": 2, "start": "warm"},
            {"rank": 2, "start": "insured"},
        ]

    @property
    def instead(self) -> str:
        return "start: insured" if self.start == "warm" else "factors: float32"

    def arrange(self, dims):
        m, n, flat = sides_of_matrix(dims)
        r = min(self.rank, m, n)
        return (r,), () if flat else ((r, m), (r, n))

    def bound(self, plan):
        m, n, _ = sides_of_matrix(plan.dims)
        if self.start == "warm" or self.factors not in FINE:
            return None
        return (1 if self.start == "insured" else plan.ranks[0]) / min(m, n)

    def keeps(self, shape):
        plan = self.plan(shape)
        return 0 if self.start == "cold" or plan.form == lowrank.DENSE else prod(plan.parts[1])

    def factorise(self, stack, plan, keys, box, kept=None):
        r, n = plan.parts[1]
        if kept is None or (self.start == "insured" and r == 1):
            start = rng.normals(keys, n * r).reshape(len(stack), n, r)
        else:
            start = self._warm(kept.reshape(len(stack), n, r), keys)
        self._pass(stack.reshape(len(stack), plan.dims[0], n), start, box)

    def _warm(self, kept: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """W from the Q before, its columns at one scale: it may be as small as a late gradient.

        Only columns that some sender lacks are drawn: for ranks above 1 drawing takes longer than all the rest.
        """
        n, r = kept.shape[1:]
        peak = np.abs(kept).max(axis=1, keepdims=True).astype(np.float64)
        there = (peak > 0) & np.isfinite(peak)
        if self.start == "insured":
            there[:, :, -1] = False
        start = kept / np.where(there, peak, 1.0)
        drawn = np.flatnonzero(~there.all(axis=0))
        if drawn.size:
            places = (np.arange(n)[:, None] * r + drawn).reshape(-1)
            fresh = rng.normals(keys, places).reshape(len(kept), n, -1)
            start[:, :, drawn] = np.where(there[:, :, drawn], start[:, :, drawn], fresh)
        return start

    def rebuild(self, parts, plan):
        return factorise.product(factorise.transposed(parts[0]), parts[1])

    def compress_on(self, x, shape, kept, keys=None):
        if not self.keeps(shape):
            return self.compress(x, shape, keys), kept
        plan = self.plan(shape)
        rows, keys = lowrank.as_rows(x, shape, keys)
        held = kept.reshape(len(rows), -1).numpy()
        out, now = np.empty_like(rows), np.empty_like(held)
        for piece in lowrank.pieces(*rows.shape):
            box = self._send(rows[piece], keys[piece], plan, held[piece])
            out[piece] = self._value(box.received, plan, rows.shape[1], rows.dtype)
            now[piece] = _flat_q(box)
        return Compressed(lowrank.like(out, x), plan.bits), lowrank.like(now, kept)

    def encode_on(self, x, kept, where="update", key=0):
        shape = tuple(x.shape)
        if not self.keeps(shape):
            return self.encode(x, where, key), kept
        rows, keys = lowrank.as_rows(x, shape, [key])
        box = self._send(rows, keys, self.plan(shape), kept.reshape(1, -1).numpy())
        message = self._message_of(box, rows, self.plan(shape), where)
        return message, lowrank.like(_flat_q(box).astype(kept.numpy().dtype), kept)

    def _pass(self, a: np.ndarray, start: np.ndarray, box: factors.Outbox) -> None:
        """Send P' and Q' of (rows, m, n) and W (rows, n, r)."""
        for i in range(self.passes):
            image = factorise.product(a, start.astype(a.dtype)).astype(np.float64)
            p = factorise.orthonormal_columns(image)
            if i + 1 < self.passes:
                start = factorise.product(factorise.transposed(a), p.astype(a.dtype))
        basis = box.send(np.ascontiguousarray(factorise.transposed(p)))
        q = factorise.product(basis.astype(a.dtype), a).astype(np.float64)
        if self.factors not in FINE:  # fine: the projection is the fit, to second order
            _, s, _ = factorise.orthonormal(basis)
            q = np.matmul(np.matmul(s, s), q)
        box.finish(q)


def _flat_q(box: factors.Outbox) -> np.ndarray:
    """Q as the receiver has it: (rows, n r)."""
    q = factorise.transposed(box.received[1])
    return np.ascontiguousarray(q).reshape(len(q), -1)
