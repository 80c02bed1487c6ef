"""Parameters of some clients in local steps, and how they move."""

from __future__ import annotations

from typing import NamedTuple

import torch

from fewbits.aligned import empty


class Moving(NamedTuple):
    """A parameter of some clients (m, ...) and what it moves by, None without momentum."""

    value: torch.Tensor
    speed: torch.Tensor | None

    def of(self, who: slice) -> Moving:
        return Moving(self.value[who], None if self.speed is None else self.speed[who])


class Rule(NamedTuple):
    """v <- momentum v + c + pulled y, y <- y - v, where c is the step times the gradient without weight decay, `pulled`
    the step times the weight decay; v is 0 at first."""

    momentum: float
    pulled: float

    def begin(self, value: torch.Tensor) -> Moving:
        """value: aligned, or of one client."""
        speed = empty(tuple(value.shape), value.dtype).zero_() if self.momentum else None
        return Moving(value, speed)

    def by_product(self, moving: Moving, delta: torch.Tensor, a: torch.Tensor) -> None:
        """c is delta'a of every client: (m, B, out), (m, B, in)."""
        value, speed = moving
        turned = delta.transpose(1, 2)
        if speed is None:
            value.baddbmm_(turned, a, beta=1 - self.pulled, alpha=-1)
        else:
            self._settle(value, speed.baddbmm_(turned, a, beta=self.momentum))

    def by(self, moving: Moving, c: torch.Tensor) -> None:
        value, speed = moving
        if speed is not None:
            self._settle(value, speed.mul_(self.momentum).add_(c))
            return
        if self.pulled:
            value.mul_(1 - self.pulled)
        value.sub_(c)

    def _settle(self, value: torch.Tensor, speed: torch.Tensor) -> None:
        if self.pulled:
            speed.add_(value, alpha=self.pulled)
        value.sub_(speed)
