"""Batch normalisation of the rows of several clients at once, differentiated by hand (Ioffe and Szegedy 2015, arXiv 1502.03167)."""

from __future__ import annotations

from typing import NamedTuple

import torch

from fewbits.models.objectives.moving import Moving, Rule

EPS, MOMENTUM = 1e-5, 0.1  # those of torch.nn.BatchNorm1d


class Normalised(NamedTuple):
    """Clients' scale and shift (m, 1, C), and their running means and variances (m, 1, C), which `forward` moves in place.

    As layers.BatchNormOfRows: of a client with one row in its batch that row is normalised by the running ones.
    """

    scale: Moving
    shift: Moving
    mean: torch.Tensor
    variance: torch.Tensor

    def of(self, who: slice) -> Normalised:
        return Normalised(*(each.of(who) for each in self[:2]), *(each[who] for each in self[2:]))

    def forward(self, z: torch.Tensor, used: torch.Tensor) -> tuple[torch.Tensor, tuple]:
        """z (m, B, C) normalised, and what `back` needs; used (m, B, 1): False for what only fills up."""
        rows = used.sum(dim=1, keepdim=True)
        alone = rows == 1
        mean = (z * used).sum(dim=1, keepdim=True) / rows
        centred = (z - torch.where(alone, self.mean, mean)) * used
        variance = centred.square().sum(dim=1, keepdim=True) / rows
        inverse = (torch.where(alone, self.variance, variance) + EPS).rsqrt()
        share = MOMENTUM * (~alone).to(z.dtype)
        self.mean.mul_(1 - share).add_(share * mean)
        self.variance.mul_(1 - share).add_(share * variance * rows / (rows - 1).clamp(min=1))
        unit = centred.mul_(inverse)
        return unit * self.scale.value + self.shift.value, (unit, inverse, rows, alone, used)

    def back(self, delta: torch.Tensor, seen: tuple, rule: Rule) -> torch.Tensor:
        """The derivative by z from that by what `forward` gave; moves scale and shift."""
        unit, inverse, rows, alone, used = seen
        by_unit = delta * self.scale.value
        rule.by(self.shift, delta.sum(dim=1, keepdim=True))
        rule.by(self.scale, (delta * unit).sum(dim=1, keepdim=True))
        along = by_unit.sum(dim=1, keepdim=True) + unit * (by_unit * unit).sum(dim=1, keepdim=True)
        return (by_unit - along * ~alone / rows).mul_(inverse).mul_(used)
