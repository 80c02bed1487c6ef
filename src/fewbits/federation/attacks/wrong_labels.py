"""Poisoned data: malicious clients learn from classes drawn at random."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fewbits import rng
from fewbits.federation.attacks.base import Attack, Scale, Share, normal
from fewbits.registry import plugin

LABELS = rng.stream("wrong labels")


@plugin
class WrongLabels(Attack):
    """Every row of a malicious client has a class drawn uniformly, once. scale: its update is also multiplied by s, normal with that
    standard deviation, new for each client and round, as the published code does (20); absent: sent as it is."""

    name: ClassVar[str] = "wrong_labels"
    label: ClassVar[str] = "wrong labels"

    share: Share
    scale: Scale | None = None

    def message(self, x, key):
        return x if self.scale is None else self.scale * normal(key) * x

    def labels(self, y, parts, who, key):
        classes, poisoned = int(y.max()) + 1, y.copy()
        for client in np.flatnonzero(who):
            drawn = rng.uniforms(rng.fold(rng.fold(key, LABELS), client), len(parts[client]))
            poisoned[parts[client]] = (drawn * classes).astype(y.dtype)
        return poisoned
