"""Random masks (Konecny et al. 2016, arXiv 1610.05492, section 2, "random mask")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from fewbits.compressors.base import size
from fewbits.compressors.subsample import chosen, kept
from fewbits.federation.space.base import Space, misfit
from fewbits.lazy import torch
from fewbits.registry import plugin


@plugin
class Mask(Space):
    """A client may change a random `share` of the numbers of each layer, and trains and sends those alone.

    E picks the chosen numbers, without a factor: the paper mentions none, and tunes the step for each share. The mask goes over the
    gradient in every local step, which for plain local SGD is the same as restricting the update. Layers of fewer than
    `small` numbers (biases, ends of the network) are left whole.
    """

    name: ClassVar[str] = "mask"
    label: ClassVar[str] = "random mask"
    projects: ClassVar[bool] = True

    share: Annotated[float, Field(gt=0, le=1)]
    small: Annotated[int, Field(ge=0)] = 0

    def check(self, algorithm, local, sending) -> str | None:
        """Why this cannot be used with these slots, or None."""
        return misfit(algorithm, local, sending)

    def inside(self, shape):
        d = size(shape)
        count = kept(self.share, d)
        return None if d < self.small or count == d else (count,)

    def draw(self, keys, shape, dtype):
        d = size(shape)
        return Places(torch.from_numpy(chosen(keys, d, kept(self.share, d))), d)


@dataclass(frozen=True)
class Places:
    """places (m, n) int64, increasing, of N."""

    places: torch.Tensor
    total: int

    def spread(self, u):
        return u.new_zeros(len(u), self.total).scatter_(1, self.places, u)

    def gather(self, g):
        return g.gather(1, self.places)

    solve = gather

    def of(self, rows):
        return Places(self.places[rows], self.total)
