"""Tucker's form: a core tensor times one basis for each mode that is truncated.

Modes that keep their full rank have no basis: the core absorbs it. Bases are sent in the order in which the modes are
truncated (`truncated`), then the core.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from math import prod

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as pydantic_dataclass

from fewbits.compressors import factorise, factors
from fewbits.compressors.factorise import orthonormal, times, unfolding
from fewbits.compressors.leading import leading
from fewbits.compressors.lowrank import LowRank, between, wanted_ranks


@pydantic_dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Tucker(LowRank):
    """Base of the operators that send a core and bases. Theirs is the parameter `rank` (lowrank.Ranks)."""

    def wanted(self, dims: tuple[int, ...]) -> tuple[int, ...]:
        """The ranks asked for, not yet capped."""
        return wanted_ranks(self.rank, len(dims))

    @classmethod
    def sizes(cls, given, shape):
        return list(range(1, max(cls.dims_of(shape, given.get("fold", "auto"))) + 1))

    @classmethod
    def finer(cls, given, shape, value):
        return between(value, len(cls.dims_of(shape, given.get("fold", "auto"))))

    def arrange(self, dims):
        ranks = capped(dims, self.wanted(dims))
        return ranks, arrays(dims, ranks)

    def rebuild(self, parts, plan):
        core, order = parts[-1], truncated(plan.dims, plan.ranks)
        for mode, basis in reversed(list(zip(order, parts[:-1], strict=True))):
            core = times(core, factorise.transposed(basis), mode)
        return core


def capped(dims: Sequence[int], ranks: Sequence[int]) -> tuple[int, ...]:
    """Ranks no larger than a mode's side and, where that is truncated, than the product of the other ranks."""
    before, now = None, [min(r, d) for r, d in zip(ranks, dims, strict=True)]
    while now != before:
        before = list(now)
        for m, d in enumerate(dims):
            if now[m] < d:
                now[m] = min(now[m], prod(now[:m] + now[m + 1 :]))
    return tuple(now)


@functools.cache
def truncated(dims: tuple[int, ...], ranks: tuple[int, ...]) -> tuple[int, ...]:
    """Modes whose rank is below their side, in the order that gives ST-HOSVD its largest constant.

    That is the least product of min(d, c) over the steps, c the columns at a mode's turn: small modes first, so that
    a large one meets few columns; its Gram matrix is then small too. (Vannieuwenhoven et al. 2012, section 6.4, take
    modes by increasing side for speed.) Ties, and more than six modes: largest reduction first.
    """
    modes = [m for m in range(len(dims)) if ranks[m] < dims[m]]
    modes.sort(key=lambda m: (ranks[m] / dims[m], m))
    if len(modes) > 6:
        return tuple(modes)

    def cost(order: tuple[int, ...]) -> int:
        return prod(least for least, _ in _steps(dims, ranks, order))

    return min(itertools.permutations(modes), key=cost)


def _steps(dims, ranks, order) -> list[tuple[int, int]]:
    """min(d, c) and the mode, step by step."""
    now, out = list(dims), []
    for m in order:
        out.append((min(now[m], prod(now) // now[m]), m))
        now[m] = ranks[m]
    return out


def arrays(dims: tuple[int, ...], ranks: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Shapes of what is sent; nothing where nothing is truncated."""
    order = truncated(dims, ranks)
    return (*((ranks[m], dims[m]) for m in order), tuple(ranks)) if order else ()


def sequential_stages(
    dims: tuple[int, ...], ranks: tuple[int, ...]
) -> list[tuple[float, int, int]]:
    """Stages of `factors.surviving`: each mode keeps r/min(d, c) of the tensor truncated so far, c its unfolding's columns."""
    steps = _steps(dims, ranks, truncated(dims, ranks))
    return [(min(1.0, ranks[m] / least), dims[m], ranks[m]) for least, m in steps]


def sequential_bound(kind: str, dims: tuple[int, ...], ranks: tuple[int, ...]) -> float | None:
    """alpha_C of the sequentially truncated decomposition."""
    return factors.surviving(kind, sequential_stages(dims, ranks), prod(ranks))


def send_sequentially(
    stack: np.ndarray,
    dims: tuple[int, ...],
    ranks: tuple[int, ...],
    box: factors.Outbox,
) -> None:
    """ST-HOSVD: each mode's basis from the tensor as truncated so far, and by the bases as they were received."""
    core, back = stack, []
    for m in truncated(dims, ranks):
        basis = leading(unfolding(core, m), min(ranks[m], core[0].size // dims[m]))
        q, s, _ = orthonormal(box.send(widened(basis, ranks[m])))
        core = times(core, q, m)
        back.append((m, s))
    send_core(core, back, box)


def widened(basis: np.ndarray, r: int) -> np.ndarray:
    """(n, r, d) with zero rows where the tensor had fewer directions than the rank."""
    missing = r - basis.shape[1]
    return np.pad(basis, ((0, 0), (0, missing), (0, 0))) if missing else basis


def send_core(core: np.ndarray, back: list[tuple[int, np.ndarray]], box: factors.Outbox) -> None:
    """The core, in terms of the received bases instead of their orthonormal versions."""
    for m, s in back:
        core = times(core, s, m)
    box.finish(core)
