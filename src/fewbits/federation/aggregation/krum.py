"""Krum (Blanchard, El Mhamdi, Guerraoui, Stainer 2017, NeurIPS, arXiv 1703.02757, section 4)."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from fewbits.federation.aggregation.base import Aggregation
from fewbits.federation.objective import square_of_clients
from fewbits.lazy import torch
from fewbits.registry import plugin


@plugin
class Krum(Aggregation):
    """The update whose squared distances to its m - f - 2 nearest others have the smallest sum, of m updates of which f are
    thought to be malicious: f = round(share m). Ties: the first client. The paper's guarantee asks for m > 2 f + 2; where m - f - 2
    is less than one, one neighbour is counted.
    """

    name: ClassVar[str] = "krum"
    label: ClassVar[str] = "Krum"
    cite: ClassVar[str] = "blanchard2017krum"

    share: Annotated[float, Field(ge=0, lt=1)] = 0.2

    def least(self):
        return 3

    def combine(self, x):
        clients = x.shape[1]
        near = max(1, clients - round(self.share * clients) - 2)
        rows = x.flatten(2)
        each = [square_of_clients(rows - rows[:, i : i + 1]) for i in range(clients)]
        apart = torch.stack(each, dim=1)
        score = apart.sort(dim=2).values[:, :, 1 : near + 1].sum(dim=2)  # without itself
        return x[torch.arange(len(x)), score.argmin(dim=1)]
