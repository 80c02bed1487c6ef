"""HOOI: the Tucker bases improved in turns, from ST-HOSVD.

De Lathauwer, De Moor, Vandewalle 2000, "On the best rank-1 and rank-(R1,...,RN) approximation of higher-order
tensors", SIAM J. Matrix Anal. Appl. 21(4), algorithm 4.2. (TensorLy's `tucker` is this.)
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field as Checked

from fewbits.compressors.factorise import orthonormal, times, unfolding
from fewbits.compressors.leading import leading
from fewbits.compressors.lowrank import Ranks
from fewbits.compressors.tucker import (
    Tucker,
    send_core,
    sequential_bound,
    truncated,
    widened,
)
from fewbits.registry import plugin


@plugin
class HOOI(Tucker):
    """`sweeps` times over the modes: each basis becomes the best one given the others. Payload as ST-HOSVD.

    alpha_C as ST-HOSVD, from which it starts: no step lowers the kept energy. In the last sweep a basis is rounded as
    soon as it is found, so that the later ones make up for it.
    """

    name: ClassVar[str] = "hooi"
    codec: ClassVar[int] = 75
    length: ClassVar[str] = "(prod r_i + sum r_i n_i) w"
    source: ClassVar[str] = "De Lathauwer, De Moor, Vandewalle 2000"

    rank: Ranks
    sweeps: Annotated[int, Checked(ge=1, le=1000)] = 2

    @classmethod
    def examples(cls, d):
        return [{"rank": 1}, {"rank": 2, "sweeps": 1, "factors": "int8"}]

    def bound(self, plan):
        return sequential_bound(self.factors, plan.dims, plan.ranks)

    def factorise(self, stack, plan, keys, box):
        order = truncated(plan.dims, plan.ranks)
        bases = sequential_bases(stack, plan.dims, plan.ranks)
        for _ in range(self.sweeps - 1):
            for m in order:
                bases[m] = best_given_others(stack, bases, m, plan.ranks[m])
        back = []
        for m in order:
            q, s, _ = orthonormal(box.send(best_given_others(stack, bases, m, plan.ranks[m])))
            bases[m] = q
            back.append((m, s))
        send_core(projected(stack, bases), back, box)


def sequential_bases(stack: np.ndarray, dims, ranks) -> dict[int, np.ndarray]:
    """ST-HOSVD's bases Q' (n, r, d) by mode, unrounded."""
    core, bases = stack, {}
    for m in truncated(dims, ranks):
        basis = leading(unfolding(core, m), min(ranks[m], core[0].size // core.shape[m + 1]))
        bases[m] = orthonormal(widened(basis, ranks[m]))[0]
        core = times(core, bases[m], m)
    return bases


def projected(stack: np.ndarray, bases: dict[int, np.ndarray], but: int = -1) -> np.ndarray:
    """The tensor in the given bases, mode `but` left as it is."""
    for m, basis in bases.items():
        if m != but:
            stack = times(stack, basis, m)
    return stack


def best_given_others(stack: np.ndarray, bases: dict, m: int, r: int) -> np.ndarray:
    """U' (n, r, d) of mode m that keeps the most energy when the other bases are fixed."""
    a = unfolding(projected(stack, bases, m), m)
    return widened(leading(a, min(r, a.shape[2])), r)
