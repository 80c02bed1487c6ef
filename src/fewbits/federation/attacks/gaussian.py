"""Noise."""

from __future__ import annotations

from typing import ClassVar

from fewbits import rng
from fewbits.federation.attacks.base import Attack, Scale, Share
from fewbits.lazy import torch
from fewbits.registry import plugin


@plugin
class Gaussian(Attack):
    """Independent normal numbers with standard deviation `scale`, new for each client and round."""

    name: ClassVar[str] = "gaussian"
    label: ClassVar[str] = "Gaussian noise"

    share: Share
    scale: Scale = 100.0

    def message(self, x, key):
        drawn = self.scale * rng.normals(key, x.numel())
        return torch.from_numpy(drawn).to(x.dtype).reshape(x.shape)
