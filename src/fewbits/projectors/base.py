"""What a projector is: a random linear map P of R^d to R^k that a seed says everything of."""

from __future__ import annotations

import functools
from typing import ClassVar

import numpy as np

from fewbits.lazy import torch


class Projector:
    """`forward` is P, `adjoint` its transpose; no more of P is ever needed. E|P x|^2 = (k/d) |x|^2 over seeds.

    Args:
        seed: names the random stream; all that the two sides share.
        k, d: 1 <= k <= d.
        dtype: of the numbers that it works on, float32 or float64.
    """

    name: ClassVar[str]
    label: ClassVar[str]

    def __init__(self, seed: int, k: int, d: int, dtype) -> None:
        if not 1 <= k <= d:
            raise ValueError(f"found k = {k} for {d} numbers; allowed: from 1 to {d}")
        self.k, self.d, self.dtype = k, d, dtype

    @classmethod
    @functools.lru_cache(maxsize=16)
    def of(cls, seed: int, k: int, d: int, dtype) -> Projector:
        """The same, remembered."""
        return cls(seed, k, d, dtype)

    @classmethod
    def norm_squared(cls, ratio: float) -> float:
        """About the largest that |P|^2 gets at k/d = `ratio`: what step sizes rest on."""
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """P x: (rows, d) -> (rows, k)."""
        raise NotImplementedError

    def adjoint(self, v: torch.Tensor) -> torch.Tensor:
        """P^T v: (rows, k) -> (rows, d)."""
        raise NotImplementedError

    def matrix(self) -> np.ndarray:
        """P itself, (k, d): to look at and to test."""
        return self.forward(torch.eye(self.d, dtype=self.dtype)).T.numpy()


def count(ratio: float, d: int) -> int:
    """k for k/d = `ratio`: at least 1."""
    return max(1, min(d, round(ratio * d)))
