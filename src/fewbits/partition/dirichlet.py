"""Label skew: each client's share of a class is drawn from a Dirichlet distribution (Hsu et al. 2019).

The variant of Yurochkin et al. 2019 that most code uses: for every class, its rows are divided between
the clients in proportions drawn from Dirichlet(alpha, ..., alpha).
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from fewbits import rng
from fewbits.partition.base import Partition
from fewbits.registry import plugin


@plugin
class Dirichlet(Partition):
    """Dirichlet(alpha) over the clients for every class; small alpha means strong skew.

    Published code redraws until every client has enough rows, which need never end. Here one draw is
    taken, and a client short of `minimum` rows then takes rows from the client that has most.
    """

    name: ClassVar[str] = "dirichlet"
    random: ClassVar[bool] = True
    clients: Annotated[int, Field(ge=1)]
    alpha: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    minimum: Annotated[int, Field(ge=1)] = 1

    def check(self, rows=None):
        if rows is not None and self.clients * self.minimum > rows:
            return (
                f"{self.clients} clients of at least {self.minimum} rows cannot share {rows} rows"
            )
        return None

    def split(self, y, seed):
        random = rng.generator("partition", "dirichlet", self.clients, self.alpha, seed)
        parts: list[list[int]] = [[] for _ in range(self.clients)]
        for label in range(int(y.max()) + 1):
            rows = random.permutation(np.flatnonzero(y == label))
            # Gammas in logarithms: at alpha = 0.01 they underflow and their ratio would be 0/0.
            logs = np.log(random.gamma(self.alpha + 1, size=self.clients))
            logs += np.log(random.uniform(size=self.clients)) / self.alpha
            shares = np.exp(logs - logs.max())
            cuts = np.round(np.cumsum(shares / shares.sum())[:-1] * len(rows)).astype(int)
            for part, block in zip(parts, np.split(rows, cuts), strict=True):
                part.extend(block.tolist())
        self._fill(parts)
        return [np.sort(np.array(part, dtype=np.int64)) for part in parts]

    def _fill(self, parts: list[list[int]]) -> None:
        for part in parts:
            while len(part) < self.minimum:
                part.append(max(parts, key=len).pop())
