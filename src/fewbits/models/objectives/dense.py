"""Linear layers at the end of a network, and what follows each of them: ReLU, tanh or nothing (the last of a projection head)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from fewbits.aligned import BYTES, copy
from fewbits.models.nets.layers import BatchNormOfRows

After = Literal["relu", "tanh"] | None
NAMES: dict[type[nn.Module], After] = {nn.ReLU: "relu", nn.Tanh: "tanh"}


def tail(features: nn.Sequential, normalised: bool = False) -> tuple[int, list[After], list[bool]]:
    """How many modules the linear layers that end `features` take, what follows each of these layers, and whether batch
    normalisation comes between, which ends the tail where it is not asked for."""
    modules, found, normed = list(features), [], []
    while len(modules) > 1:
        after = NAMES.get(type(modules[-1]))
        rest = modules[:-1] if after else modules
        norm = normalised and isinstance(rest[-1], BatchNormOfRows)
        rest = rest[:-1] if norm else rest
        if not isinstance(rest[-1], nn.Linear):
            break
        modules, found, normed = rest[:-1], [after, *found], [norm, *normed]
    return len(features) - len(modules), found, normed


def activated(z: torch.Tensor, after: After) -> torch.Tensor:
    """What the next layer is given of z, in place."""
    if after is None:
        return z
    return z.tanh_() if after == "tanh" else z.relu_()


def before(delta: torch.Tensor, a: torch.Tensor, after: After) -> torch.Tensor:
    """The loss's derivative by what became `a`, from that by `a`; may change delta."""
    if after is None:
        return delta
    if after == "tanh":
        return delta.mul_(1 - a * a)
    # Several times faster than a product.
    return torch.ops.aten.threshold_backward(delta, a, 0, grad_input=delta)


def softmax(z: torch.Tensor) -> torch.Tensor:
    """Over the last dimension, `aligned`. Where that is shorter than a vector torch takes one number at a time; here rows are
    filled up instead, which is four times faster."""
    width, step = z.shape[-1], BYTES // z.element_size()
    if width >= step:
        return copy(torch.softmax(z, dim=-1))
    filled = z.new_full((*z.shape[:-1], step), -torch.inf)
    filled[..., :width] = z
    filled.sub_(filled.amax(dim=-1, keepdim=True)).exp_()
    return filled.div_(filled.sum(dim=-1, keepdim=True))[..., :width]
