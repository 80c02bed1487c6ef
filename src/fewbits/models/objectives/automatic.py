"""What comes before the dense tail, of one client, by automatic differentiation."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.func import functional_call

from fewbits.models.objectives.moving import Moving, Rule


class Automatic:
    """Any module. views: its parameters (1, ...), copies of which move; named: what batch normalisation keeps, moved in place."""

    def __init__(
        self, front: nn.Module, objective, views, named: dict[str, torch.Tensor], rule: Rule
    ) -> None:
        self.front, self.objective, self.rule = front, objective, rule
        self.moved = [rule.begin(view[0].clone()) for view in views]
        values = [each.value.requires_grad_() for each in self.moved]
        names = [name for name, _ in front.named_parameters()]
        self.named = named | dict(zip(names, values, strict=True))

    def forward(self, rows: np.ndarray) -> torch.Tensor:
        """What the tail takes, (n, features), of these rows."""
        self.made = functional_call(self.front, self.named, (self.objective.inputs(rows),))
        return self.made.detach()

    def back(self, delta: torch.Tensor) -> None:
        """Moves the parameters, from the derivative by what `forward` gave, times the step."""
        changes = torch.autograd.grad(self.made, [each.value for each in self.moved], delta)
        for each, change in zip(self.moved, changes, strict=True):
            self.rule.by(Moving(each.value.detach(), each.speed), change)
