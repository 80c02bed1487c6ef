"""The subsampled randomised Hadamard transform (Ailon and Chazelle 2006; Tropp 2011, arXiv 1011.1595)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fewbits import rng
from fewbits.compressors.walsh import transform
from fewbits.federation.sampling import permutation
from fewbits.lazy import torch
from fewbits.projectors.base import Projector

ROWS, SIGN = rng.stream("rows of a Hadamard matrix"), rng.stream("signs of a Hadamard matrix")


class SRHT(Projector):
    """P = sqrt(n/d) S H D E: E pads x with zeros to n numbers, a power of two; D are random signs; H is the orthonormal
    Walsh-Hadamard matrix; S takes k of its rows. d signs and k numbers of memory, O(n log n) a use.

    Rows have length 1. P P^T = I only where d is a power of two: a Hadamard matrix that is cut to d columns has rows that are
    no longer orthogonal, and |P|^2 may be as large as n/d, which is below 2. (k <= d.)
    """

    name: ClassVar[str] = "srht"
    label: ClassVar[str] = "subsampled Hadamard"

    def __init__(self, seed, k, d, dtype):
        super().__init__(seed, k, d, dtype)
        key = np.uint64(seed)
        self._n = 1 << (d - 1).bit_length()
        signs = np.where(rng.uniforms(rng.fold(key, SIGN), d) < 0.5, -1.0, 1.0)
        self._weight = torch.from_numpy(signs / d**0.5).to(
            dtype
        )  # sqrt(n/d) / sqrt(n), H without its own factor
        self._rows = torch.from_numpy(np.sort(permutation(rng.fold(key, ROWS), self._n)[:k]))

    @classmethod
    def norm_squared(cls, ratio):
        return 2.0

    def forward(self, x):
        padded = x.new_zeros(self._n, len(x))
        padded[: self.d] = (x * self._weight).T
        return self._transform(padded)[self._rows].T.contiguous()

    def adjoint(self, v):
        padded = v.new_zeros(self._n, len(v))
        padded[self._rows] = v.T
        return self._transform(padded)[: self.d].T * self._weight

    def _transform(self, u):
        return transform(u, torch.empty_like(u))[0]
