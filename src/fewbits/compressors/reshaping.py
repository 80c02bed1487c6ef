"""Which matrix or tensor the numbers of one update are laid out as, before a low-rank operator sees them.

    shape                 as a matrix               as a tensor
    () or (1,)            none: sent dense          none: sent dense
    (d,)                  near-square a x b         near-cubic a x b x c
    (out, in)             as it is                  as it is (order4: each side split in two)
    (O, I, kh, kw)        O x (I kh kw)             as it is (order3: O x I x (kh kw))

Axes of length 1 are dropped first, so that a depthwise kernel (C, 1, 3, 3) is C x 9 or C x 3 x 3. A vector is
padded with zeros to a product of near-equal small factors: the least sum of factors (that is what a factorisation
costs) among the products that are at most 1/16 longer than d, then the least padding: 112 = 14 x 8 = 7 x 4 x 4,
123 -> 125 = 5 x 5 x 5, 300 = 10 x 6 x 5. The order of a vector's entries means nothing, so there is no reason for it to
have low rank; a kernel's axes do mean something. "7x2x2x2x2" asks for these sides and no others.
"""

from __future__ import annotations

import functools
import re
from math import isqrt, prod

import numpy as np

NAMED = ("auto", "matrix", "order3", "order4")
PATTERN = r"auto|matrix|order3|order4|[1-9][0-9]*(x[1-9][0-9]*)+"
PADDING = 16  # a vector grows by at most d / PADDING


@functools.cache
def sides(shape: tuple[int, ...], how: str) -> tuple[int, ...]:
    """The sides to lay `shape` out in; their product is at least the number of entries.

    Args:
        how: "matrix", "tensor" (see the table), "order3", "order4", or sides such as "7x4x4".

    Raises:
        ValueError: given sides hold fewer numbers than the shape, or a fold is not known.
    """
    d, own = prod(shape), tuple(n for n in shape if n > 1)
    if re.fullmatch(r"[0-9]+(x[0-9]+)+", how):
        given = tuple(map(int, how.split("x")))
        if prod(given) < d:
            raise ValueError(f"fold {how} holds {prod(given)} numbers, the update has {d}")
        return given
    if how not in ("tensor", *NAMED[1:]):
        raise ValueError(f"found fold {how!r}; allowed: {', '.join(NAMED)}, or sides such as 7x4x4")
    order = {"matrix": 2, "tensor": 3, "order3": 3, "order4": 4}[how]
    if len(own) == 0:
        return (1,)
    if len(own) == 1:
        return _without_ones(near_equal(d, order))
    if len(own) == 2:
        return _without_ones(halves(own[0]) + halves(own[1])) if how == "order4" else own
    if how == "tensor":
        return own
    return (*own[: order - 1], prod(own[order - 1 :]))


@functools.cache
def near_equal(d: int, order: int) -> tuple[int, ...]:
    """`order` factors, largest first, whose product is d or up to 1/16 more and whose sum is least."""
    best = (d + order - 1, 0, (d,) + (1,) * (order - 1))
    for factors in _candidates(d, d + d // PADDING, order):
        best = min(best, (sum(factors), prod(factors) - d, tuple(sorted(factors, reverse=True))))
    return best[2]


def _candidates(d: int, most: int, order: int):
    """Factorisations of numbers in [d, most], smallest factor near the even split."""
    if order == 1:
        yield (d,)
        return
    even = max(1, round(d ** (1 / order)))
    for small in range(even + 1, max(0, even // 2 - 1), -1):
        rest = -(-d // small)
        if small * rest > most:
            continue
        if order == 2:
            yield (small, rest)
        else:
            for others in _candidates(rest, most // small, order - 1):
                yield (small, *others)


def halves(n: int) -> tuple[int, int]:
    """The two exact factors of n that are nearest to each other, larger first."""
    small = next(k for k in range(isqrt(n), 0, -1) if n % k == 0)
    return n // small, small


def _without_ones(factors: tuple[int, ...]) -> tuple[int, ...]:
    kept = tuple(n for n in factors if n > 1)
    return kept or (1,)


def fold(rows: np.ndarray, dims: tuple[int, ...]) -> np.ndarray:
    """(n, d) -> (n, *dims), zeros behind the last entry. A view where nothing is padded."""
    missing = prod(dims) - rows.shape[1]
    if missing:
        rows = np.pad(rows, ((0, 0), (0, missing)))
    return rows.reshape(len(rows), *dims)


def unfold(stack: np.ndarray, d: int) -> np.ndarray:
    """(n, *dims) -> (n, d), without the padding."""
    return stack.reshape(len(stack), -1)[:, :d]
