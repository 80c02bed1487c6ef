"""Blocks of consecutive rows in file order, as EF21's published code splits (arXiv 2106.05203)."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from fewbits.partition.base import Partition
from fewbits.registry import plugin


@plugin
class Contiguous(Partition):
    """floor(rows / clients) consecutive rows each, the remainder to the last client; not shuffled."""

    name: ClassVar[str] = "contiguous"
    clients: Annotated[int, Field(ge=1)]

    def split(self, y, seed):
        share = len(y) // self.clients
        return np.split(np.arange(len(y)), [share * i for i in range(1, self.clients)])
