"""The opposite of the update, many times."""

from __future__ import annotations

from typing import ClassVar

from fewbits.federation.attacks.base import Attack, Scale, Share, normal
from fewbits.registry import plugin


@plugin
class SignFlip(Attack):
    """-|s| times its own update, s normal with standard deviation `scale`, new for each client and round."""

    name: ClassVar[str] = "sign_flip"
    label: ClassVar[str] = "sign flip"

    share: Share
    scale: Scale = 10.0

    def message(self, x, key):
        return -abs(self.scale * normal(key)) * x
