"""Rows dealt at random in equal shares."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from fewbits import rng
from fewbits.partition.base import Partition
from fewbits.registry import plugin


@plugin
class Iid(Partition):
    """A random permutation cut into shares whose sizes differ by at most one."""

    name: ClassVar[str] = "iid"
    random: ClassVar[bool] = True
    clients: Annotated[int, Field(ge=1)]

    def split(self, y, seed):
        order = rng.generator("partition", "iid", seed).permutation(len(y))
        return [np.sort(part) for part in np.array_split(order, self.clients)]
