"""Every number the same."""

from __future__ import annotations

from typing import ClassVar

from fewbits.federation.attacks.base import Attack, Scale, Share, normal
from fewbits.lazy import torch
from fewbits.registry import plugin


@plugin
class SameValue(Attack):
    """c (1, ..., 1), c normal with standard deviation `scale`, new for each client and round."""

    name: ClassVar[str] = "same_value"
    label: ClassVar[str] = "same value"

    share: Share
    scale: Scale = 100.0

    def message(self, x, key):
        return torch.full_like(x, self.scale * normal(key))
