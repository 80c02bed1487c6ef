"""HOSVD as it is usually written: every mode's basis from the full tensor, all modes truncated at once.

De Lathauwer, De Moor, Vandewalle 2000, "A multilinear singular value decomposition", SIAM J. Matrix Anal. Appl. 21(4).
"""

from __future__ import annotations

from math import prod
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field as Checked

from fewbits.compressors import factorise, factors, lowrank, reshaping
from fewbits.compressors.base import Compressed, size, through_wire
from fewbits.compressors.factorise import orthonormal, times, unfolding
from fewbits.compressors.leading import leading
from fewbits.compressors.lowrank import DENSE, FACTORS, Plan, Ranks
from fewbits.compressors.message import Bits
from fewbits.compressors.tucker import (
    Tucker,
    arrays,
    send_core,
    sequential_bound,
    truncated,
)
from fewbits.registry import plugin


@plugin
class HOSVD(Tucker):
    """Truncated by rank. **Not contractive**: there are tensors other than zero that it maps to zero.

    The 2 x 2 x 2 tensor with ones at (0,0,1), (0,1,0), (1,0,0) and rank 1 is one; the identity matrix may
    be another (all bases are leading ones). So `contraction` is None, unless one mode only is truncated. The squared
    error is at most the sum of the modes' tails, which may exceed the tensor's own energy. EF21 with it may
    not converge; `st_hosvd` sends as many bits and has a constant. Payload as there.
    """

    name: ClassVar[str] = "hosvd"
    codec: ClassVar[int] = 72
    length: ClassVar[str] = "(prod r_i + sum r_i n_i) w"
    source: ClassVar[str] = "De Lathauwer, De Moor, Vandewalle 2000"
    instead: ClassVar[str] = "st_hosvd, which sends as many bits"

    rank: Ranks

    @classmethod
    def examples(cls, d):
        return [{"rank": 1}, {"rank": 2, "factors": "natural"}]

    def bound(self, plan):
        one = len(truncated(plan.dims, plan.ranks)) == 1
        return sequential_bound(self.factors, plan.dims, plan.ranks) if one else None

    def factorise(self, stack, plan, keys, box):
        send_parallel(stack, plan, box)


def send_parallel(stack: np.ndarray, plan: Plan, box: factors.Outbox) -> None:
    """Bases from the full tensor, then the core."""
    core, back = stack, []
    for m in truncated(plan.dims, plan.ranks):
        q, s, _ = orthonormal(box.send(leading(unfolding(stack, m), plan.ranks[m])))
        core = times(core, q, m)
        back.append((m, s))
    send_core(core, back, box)


@plugin
class HOSVDEnergy(Tucker):
    """Truncated by energy: over all modes together, singular directions with at most `eps` of |x|^2 are dropped.

    alpha_C = 1 - eps (less what rounding takes), since the squared error is at most the sum of the dropped
    squared singular values. Those are dropped from the smallest on, whatever their mode; one direction a mode stays.
    The payload depends on the data; the ranks are in the message's count, as digits r_m - 1 to the bases d_m.
    """

    name: ClassVar[str] = "hosvd_energy"
    codec: ClassVar[int] = 73
    what: ClassVar[str] = (
        "HOSVD by energy: every mode keeps what holds all but a share of the energy."
    )
    length: ClassVar[str] = "(prod r_i + sum r_i n_i) w, r from the data"
    source: ClassVar[str] = "De Lathauwer, De Moor, Vandewalle 2000"
    knob: ClassVar[None] = None  # the payload follows from the data

    eps: Annotated[float, Checked(gt=0, lt=1)] = 0.1

    @classmethod
    def examples(cls, d):
        return [{"eps": 0.1}, {"eps": 0.7}, {"eps": 0.5, "factors": "int8"}]

    def wanted(self, dims):
        return (1,) * len(dims)

    def payload(self, shape):
        return None

    def contraction(self, shape):
        dims = self._dims(tuple(shape))
        worst = [(1.0, d, d) for d in dims if d > 1]
        left = factors.surviving(self.factors, worst, prod(dims))
        if left is None:
            return None
        lost = sum(factors.column_loss(self.factors, d) for d in dims if d > 1)
        alpha = 1 - self.eps - max(lost, 1 - left)
        return alpha if alpha > 0 else None

    def compress(self, x, shape, keys=None):
        rows, _ = lowrank.as_rows(x, shape, keys)
        d = rows.shape[1]
        out = np.empty_like(rows)
        bits = np.zeros((3, len(rows)))
        for piece in lowrank.pieces(*rows.shape):
            part, got, cost = rows[piece], out[piece], bits[:, piece]
            ranks = self._ranks(part, shape)
            for r in np.unique(ranks, axis=0):
                same = (ranks == r).all(axis=1)
                plan = self._plan_for(tuple(r.tolist()), tuple(shape))
                got[same] = self._sent(part[same], plan, d)
                cost[:, same] = np.array([[*_split(plan.bits)]]).T
        batch = x.shape[: x.dim() - len(shape)]
        split = [lowrank.torch.from_numpy(b).reshape(batch) for b in bits]
        return Compressed(lowrank.like(out, x), Bits(*split))

    def factorise(self, stack, plan, keys, box):
        send_parallel(stack, plan, box)

    def encode(self, x, where="update", key=0):
        rows, keys = lowrank.as_rows(x.detach().reshape(1, -1), (x.numel(),), None)
        shape = tuple(x.shape)
        plan = self._plan_for(tuple(self._ranks(rows, shape)[0].tolist()), shape)
        return self._message(rows, keys, plan, where)

    def _sent(self, rows: np.ndarray, plan: Plan, d: int) -> np.ndarray:
        if plan.form == DENSE:
            return through_wire(lowrank.torch.from_numpy(rows), self._wire()).numpy()
        box = self._send(rows, np.zeros(len(rows), np.uint64), plan)
        return self._value(box.received, plan, d, rows.dtype)

    def _ranks(self, rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """(n, order): the ranks that each row needs."""
        dims = self._dims(tuple(shape))
        stack, *_ = factorise.scaled(reshaping.fold(rows, dims))
        spectra = [spectrum(unfolding(stack, m)) for m in range(len(dims))]
        return np.array([kept_ranks([s[i] for s in spectra], self.eps) for i in range(len(rows))])

    def _plan_for(self, ranks: tuple[int, ...], shape: tuple[int, ...]) -> Plan:
        dims = self._dims(shape)
        ranks = tuple(min(r, d) for r, d in zip(ranks, dims, strict=True))
        return lowrank.make_plan(
            self, size(shape), dims, ranks, arrays(dims, ranks), count_of(ranks, dims)
        )

    def _plan_of(self, count, form, shape):
        dims = self._dims(shape)
        if form == FACTORS:
            plan = self._plan_for(ranks_of(count, dims), shape)
            if plan.form == FACTORS:
                return plan
        elif form == DENSE and count == size(shape):
            return self._plan_for(dims, shape)
        raise ValueError(f"no message of this shape has count {count} in form {form}")

    def _most(self, shape):
        return max(size(shape), prod(self._dims(shape)))


def spectrum(a: np.ndarray) -> np.ndarray:
    """Squared singular values of (n, d, k), ascending, (n, d): zeros first where k is below d."""
    d, k = a.shape[1:]
    turned = factorise.transposed(a)
    gram = np.matmul(a, turned) if d <= k else np.matmul(turned, a)
    values = np.maximum(np.linalg.eigvalsh(gram), 0.0)
    return np.pad(values, ((0, 0), (max(0, d - k), 0)))


def kept_ranks(spectra: list[np.ndarray], eps: float) -> list[int]:
    """Ranks left when the smallest squared singular values of all modes together are dropped, `eps` of the energy at most.

    Args:
        spectra: ascending, one array a mode; each sums to the energy.
    """
    energy = spectra[0].sum()
    candidates = np.concatenate([s[:-1] for s in spectra])  # one direction a mode stays
    modes = np.concatenate([np.full(len(s) - 1, m) for m, s in enumerate(spectra)])
    order = np.argsort(candidates, kind="stable")
    gone = order[np.cumsum(candidates[order]) <= eps * energy]
    return [len(s) - int((modes[gone] == m).sum()) for m, s in enumerate(spectra)]


def count_of(ranks: tuple[int, ...], dims: tuple[int, ...]) -> int:
    """One number that says all ranks, below the product of the sides."""
    count = 0
    for r, d in zip(ranks, dims, strict=True):
        count = count * d + r - 1
    return count


def ranks_of(count: int, dims: tuple[int, ...]) -> tuple[int, ...]:
    """The ranks in such a number. Raises ValueError if it is none."""
    ranks = []
    for d in reversed(dims):
        count, digit = divmod(count, d)
        ranks.append(digit + 1)
    if count:
        raise ValueError("the count says ranks above the sides")
    return tuple(reversed(ranks))


def _split(bits: Bits) -> tuple[float, float, float]:
    return bits.values, bits.indices, bits.metadata
