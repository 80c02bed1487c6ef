"""Linear layers at the end of a network, and what follows each of them: ReLU, tanh or nothing (the last of a projection head)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from fewbits.aligned import empty
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


def activated(z: torch.Tensor, after: After, out: torch.Tensor | None = None) -> torch.Tensor:
    """What the next layer is given of z, in `out` (None: in place)."""
    out = z if out is None else out
    if after is None:
        return z if out is z else out.copy_(z)
    return torch.tanh(z, out=out) if after == "tanh" else torch.clamp_min(z, 0, out=out)


def before(delta: torch.Tensor, a: torch.Tensor, after: After) -> torch.Tensor:
    """The loss's derivative by what became `a`, from that by `a`; may change delta."""
    if after is None:
        return delta
    if after == "tanh":
        return delta.mul_(1 - a * a)
    return delta.mul_(a.sign())  # faster than by what torch has for it


def softmax(z: torch.Tensor) -> torch.Tensor:
    """Over the last dimension of (m, B, C); `aligned`, a client's classes (C, B) in memory: of rows side by side torch takes many
    at once, else, where C is shorter than a vector, one number at a time."""
    turned = z.transpose(1, 2)
    out = empty(turned.shape, z.dtype, z.device)
    return torch.softmax(turned, dim=1, out=out).transpose(1, 2)
