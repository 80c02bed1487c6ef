"""The dense Gaussian matrix of lp-proj's published code."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fewbits import rng
from fewbits.lazy import torch
from fewbits.models.linear import by_blocks
from fewbits.projectors.base import Projector


class Dense(Projector):
    """k x d standard normal numbers, each row scaled to length 1. 4 k d bytes of memory in float32 on every side.

    The singular values lie between about 1 - sqrt(k/d) and 1 + sqrt(k/d) (Marchenko and Pastur 1967). Products are made in blocks
    of a fixed width, so that a client's numbers do not depend on who is computed beside it.
    """

    name: ClassVar[str] = "dense"
    label: ClassVar[str] = "dense Gaussian"

    def __init__(self, seed, k, d, dtype):
        super().__init__(seed, k, d, dtype)
        drawn = rng.generator("dense projector", int(seed)).standard_normal((k, d))
        drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
        self._rows = torch.from_numpy(drawn).to(dtype).numpy()

    @classmethod
    def norm_squared(cls, ratio):
        return (1 + ratio**0.5) ** 2

    def forward(self, x):
        return by_blocks(self._rows.__matmul__, x)

    def adjoint(self, v):
        return by_blocks(self._rows.T.__matmul__, v)
