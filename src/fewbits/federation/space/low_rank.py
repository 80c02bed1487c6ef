"""Low rank (Konecny et al. 2016, arXiv 1610.05492, section 2, "low rank")."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Annotated, ClassVar

from pydantic import Field

from fewbits import rng
from fewbits.aligned import aligned, bmm
from fewbits.compressors.base import size
from fewbits.federation.space.base import Space, misfit
from fewbits.lazy import torch
from fewbits.registry import plugin


@plugin
class LowRank(Space):
    """The update of a layer is A B: A (d1, k) is random and stays as it is, B (k, d2) is trained from 0 and sent.

    d1 counts the inputs of a layer (of a kernel: input channels times its pixels), d2 its outputs. k is `rank`, or
    `share` d1, at which a client sends this share of the layer's numbers. Layers of which that is no saving (k >= d1), vectors,
    and layers of fewer than `small` numbers are trained whole.

    Entries of A are N(0, 1/k), so that E[A A'] = I: a step on B moves the layer by -s A A' grad, in the mean by a plain step.
    (The paper gives no distribution; it tunes the step, which hides the scale.) Since every client has its own A, the server
    averages the products, not the B's.
    """

    name: ClassVar[str] = "low_rank"
    label: ClassVar[str] = "low rank"

    rank: Annotated[int, Field(ge=1)] | None = None
    share: Annotated[float, Field(gt=0, le=1)] | None = None
    small: Annotated[int, Field(ge=0)] = 0

    def check(self, model, algorithm, local, sending) -> str | None:
        """Why this cannot be used with these slots, or None."""
        if (self.rank is None) == (self.share is None):
            return "low rank needs one of rank and share"
        if model is not None and model.linear:
            return "the model's numbers are one vector, which has no two factors"
        return misfit(algorithm, local, sending)

    def inside(self, shape):
        if len(shape) < 2 or size(shape) < self.small:
            return None
        columns = self._columns(prod(shape[1:]))
        return None if columns >= prod(shape[1:]) else (shape[0], columns)

    def draw(self, keys, shape, dtype):
        rows = prod(shape[1:])
        columns = self._columns(rows)
        entries = rng.normals(keys, rows * columns) / columns**0.5
        return Products(aligned(torch.from_numpy(entries).reshape(-1, rows, columns).to(dtype)))

    def _columns(self, rows: int) -> int:
        return self.rank if self.share is None else max(1, round(self.share * rows))


@dataclass(frozen=True)
class Products:
    """a (m, d1, k). A layer is kept with its outputs first, so here it is (A B)', and u is B' (d2, k)."""

    a: torch.Tensor

    def spread(self, u):
        return bmm(self._fold(u, self.a.shape[2]), self.a.transpose(1, 2)).flatten(1)

    def gather(self, g):
        return bmm(self._fold(g, self.a.shape[1]), self.a).flatten(1)

    def solve(self, v):
        a = aligned(self.a.double())
        products = bmm(aligned(self._fold(v, a.shape[1]).double()), a)
        gram = bmm(a.transpose(1, 2), a)
        return torch.linalg.solve(gram, products, left=False).flatten(1).to(v.dtype)

    def of(self, rows):
        return Products(aligned(self.a[rows]))

    def _fold(self, x, last: int):
        return aligned(x.reshape(len(x), -1, last))
