"""A linear layer of several clients' own models, as local steps move it."""

from __future__ import annotations

from typing import NamedTuple

import torch

from fewbits.aligned import BYTES, bmm
from fewbits.models.objectives.moving import Moving, Rule
from fewbits.models.objectives.normalised import Normalised


class Layer(NamedTuple):
    """[W b] of some clients, in `w` (m, out, room), and room for what goes into it, in `a` (m, rows, room): `fan` numbers, then a
    1 that b belongs to (0 without biases). The rest is 0, so that rows begin at multiples of 64 bytes: else products
    take a quarter longer. `norm` normalises what it gives, or None.
    """

    w: Moving
    a: torch.Tensor
    fan: int
    norm: Normalised | None

    @classmethod
    def begin(cls, w, b, rows: int, rule: Rule, norm: Normalised | None = None) -> Layer:
        """A copy of w (m, out, fan) and b (m, out) or None, with room for so many rows."""
        fan, step = w.shape[2], BYTES // w.element_size()
        room = (fan // step + 1) * step
        value, a = w.new_empty(*w.shape[:2], room), w.new_zeros(len(w), rows, room)
        value[..., :fan] = w
        value[..., fan:] = 0
        if b is not None:
            value[..., fan], a[..., fan] = b, 1
        return cls(rule.begin(value), a, fan, norm)

    def of(self, who: slice, rows: int) -> Layer:
        """The part of these clients, with room for so many rows."""
        return Layer(self.w.of(who), self.a[who, :rows], self.fan, self.norm and self.norm.of(who))

    @property
    def inputs(self) -> torch.Tensor:
        """(m, rows, fan), to be filled."""
        return self.a[..., : self.fan]

    def forward(self) -> torch.Tensor:
        """W a + b: (m, rows, out)."""
        return bmm(self.a, self.w.value.transpose(1, 2))

    def back(self, delta: torch.Tensor) -> torch.Tensor:
        """The derivative by the inputs from that by what `forward` gave."""
        return bmm(delta, self.w.value)[..., : self.fan]

    def values(self, biased: bool) -> list[torch.Tensor]:
        """W, b and those of `norm`, as they are now."""
        own = [self.w.value[..., : self.fan]]
        own += [self.w.value[..., self.fan]] if biased else []
        return own + [each.value for each in self.norm[:2]] if self.norm else own
