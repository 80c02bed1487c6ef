"""What an attack is: some clients are malicious, and what they send is not what the method made.

The four kinds beside this file are those of the published code of lp-proj (Lin et al., NeurIPS 2022), which acts on uploaded models;
here the message is what a method sends, for most the difference that local work made.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from fewbits import rng
from fewbits.federation.sampling import permutation
from fewbits.lazy import torch

WHO = rng.stream("malicious clients")
Share = Annotated[float, Field(ge=0, lt=1)]
Scale = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Attack:
    """`share` of the clients, rounded, are malicious throughout a run; which ones depends on the run's seed alone, and more of
    them are malicious at a larger share. They work as the others do, and send `message` in place of what they should."""

    name: ClassVar[str]
    label: ClassVar[str]
    share: float

    def check(self, partition) -> str | None:
        """Why this cannot be used with that partition, or None."""
        if self.share and not round(self.share * partition.clients):
            return f"a share of {self.share:g} of the {partition.clients} clients is nobody"
        return None

    def malicious(self, keys: np.ndarray, clients: int) -> torch.Tensor:
        """Who is: (lanes, clients) bool. keys (lanes,): the lanes' own streams."""
        count = round(self.share * clients)
        chosen = torch.zeros(len(keys), clients, dtype=torch.bool)
        for lane, key in enumerate(rng.fold(keys, WHO)):
            chosen[lane, torch.from_numpy(permutation(key, clients)[:count])] = True
        return chosen

    def spoil(self, x: torch.Tensor, who: torch.Tensor, keys: np.ndarray) -> torch.Tensor:
        """What a cohort sends that should send x (lanes, m, *shape). who (lanes, m) bool: the malicious ones; keys (lanes, m): a
        stream for each."""
        sent = x.clone()
        for lane, i in who.nonzero().tolist():
            sent[lane, i] = self.message(x[lane, i], keys[lane, i])
        return sent

    def message(self, x: torch.Tensor, key: np.uint64) -> torch.Tensor:
        """What one malicious client sends instead of x (*shape)."""
        raise NotImplementedError

    def labels(self, y: np.ndarray, parts: list[np.ndarray], who: np.ndarray, key) -> np.ndarray:
        """The classes (rows,) that clients learn from; who (clients,) bool."""
        return y


def normal(key: np.uint64) -> float:
    """One standard normal number."""
    return float(rng.normals(key, 1)[0])
