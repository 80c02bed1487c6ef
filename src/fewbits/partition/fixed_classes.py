"""Every client holds as many classes, as in the published scripts of lp-proj (Lin et al., NeurIPS 2022)."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from fewbits import rng
from fewbits.partition.base import Partition, needs_labels
from fewbits.registry import plugin


@plugin
class FixedClasses(Partition):
    """Exactly `classes` different classes for every client.

    The `clients * classes` shards are divided evenly between the classes (the first classes get one more where that
    does not come out) and each class is cut into its shards in file order. One client after another takes a shard of
    the `classes` classes that have most shards left, ties at random.
    """

    name: ClassVar[str] = "fixed_classes"
    random: ClassVar[bool] = True
    clients: Annotated[int, Field(ge=1)]
    classes: Annotated[int, Field(ge=1)] = 2

    def check(self, rows=None, groups=0, sequence=False, classes=None):
        if rows is not None and self.clients * self.classes > rows:
            return f"{self.clients} clients of {self.classes} classes each cannot share {rows} rows"
        return needs_labels(self, sequence) or (classes and self._misfit(classes))

    def _misfit(self, known: int) -> str | None:
        """Why so many classes cannot be held, or None."""
        if self.classes > known:
            return f"the data set has {known} classes"
        if self.clients * self.classes < known:
            return f"the data set's {known} classes need at least {-(-known // self.clients)} each"
        return None

    def split(self, y, seed):
        known = int(y.max()) + 1
        if text := self._misfit(known):
            raise ValueError(f"fixed_classes: found classes = {self.classes} ({text})")
        random = rng.generator("partition", "fixed_classes", self.clients, self.classes, seed)
        shares = np.array_split(np.arange(self.clients * self.classes), known)
        left = np.array([len(share) for share in shares])
        sizes = np.bincount(y, minlength=known)
        if (sizes < left).any():
            short = int(np.argmax(sizes < left))
            text = f"class {short} has {sizes[short]} rows for {left[short]} clients"
            raise ValueError(f"fixed_classes: {text}; take fewer clients or classes")
        piles = [np.array_split(np.flatnonzero(y == c), left[c]) for c in range(known)]
        parts = []
        for _ in range(self.clients):
            ties = random.permutation(known)
            chosen = ties[np.argsort(-left[ties], kind="stable")[: self.classes]]
            parts.append(np.sort(np.concatenate([piles[c].pop() for c in chosen])))
            left[chosen] -= 1
        return parts
