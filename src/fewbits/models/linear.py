"""Linear models of all clients and lanes as two batched matrix products.

The rows of the clients are padded to one number with rows of weight zero, which makes one array
(clients, rows, d). Lanes are worked on in blocks of a fixed width: a matrix product of a fixed shape
treats its columns alike, so a lane's numbers do not depend on the other lanes (objective.py).
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from fewbits import rng
from fewbits.federation.objective import Smoothness
from fewbits.lazy import torch

LANES = 16  # width of a block; any array with a multiple of 16 entries has no tail in vector loops


class LinearObjective:
    """f_i(x) = sum_j w_ij loss(a_ij' x, b_ij) + penalty(x), with weights w_ij = 1/N_i.

    Args:
        parts: each client's (rows, targets): (N_i, d) and (N_i,) float64.
        init: "normal" or "zeros", the starting point; `init_scale` the normal's standard deviation.

    A subclass gives `slope` (derivative of the loss by a'x), `value`, `curvature` (largest second
    derivative of the loss) and, if it has one, the penalty.
    """

    curvature: float

    def __init__(self, parts: list[tuple[np.ndarray, np.ndarray]], init: str, init_scale: float):
        self.clients = len(parts)
        self.shape = (parts[0][0].shape[1],)
        self.init, self.init_scale = init, init_scale
        self._parts = parts
        padded = max(len(targets) for _, targets in parts)
        rows = np.zeros((self.clients, padded, *self.shape))
        targets = np.zeros((self.clients, padded))
        weights = np.zeros((self.clients, padded))
        for i, (a, b) in enumerate(parts):
            rows[i, : len(b)], targets[i, : len(b)], weights[i, : len(b)] = a, b, 1 / len(b)
        self.rows = torch.from_numpy(rows)
        self.targets = torch.from_numpy(targets)[:, None, :]
        self.weights = torch.from_numpy(weights)[:, None, :]
        self._seen = self._gradients = None

    def gradients(self, x):
        if x is not self._seen:  # the round and the evaluation after it ask for the same model
            self._gradients = _by_blocks(self._block_gradients, x) + self.penalty_slope(x)[:, None]
            self._seen = x
        return self._gradients

    def loss(self, x):
        return _by_blocks(self._block_loss, x) + self.penalty(x)

    def metrics(self, x):
        return {}

    def start(self, dataset, seed):
        if self.init == "zeros":
            return np.zeros(self.shape)
        return self.init_scale * rng.generator("start", dataset, seed).standard_normal(self.shape)

    def slope(self, products, targets):
        raise NotImplementedError

    def value(self, products, targets):
        raise NotImplementedError

    def penalty(self, x):
        return 0.0 * x[:, 0]

    def penalty_slope(self, x):
        return torch.zeros_like(x)

    penalty_curvature = 0.0

    @cached_property
    def smoothness(self) -> Smoothness:
        """L_i = curvature lmax(A_i'A_i)/N_i + the penalty's, and the same of all rows pooled for L.

        L is that of the published code. f is the mean of the clients' means, which differs a little from the
        pooled loss where clients have unequal numbers of rows; mu is f's own.
        """
        grams = [a.T @ a / len(b) for a, b in self._parts]
        counts = np.array([len(b) for _, b in self._parts])
        pooled = sum(g * c for g, c in zip(grams, counts, strict=True)) / counts.sum()
        mean = sum(grams) / len(grams)

        def constant(gram):
            return float(self.curvature * np.linalg.eigvalsh(gram)[-1] + self.penalty_curvature)

        constants = tuple(constant(gram) for gram in grams)
        mu = self.strong_constant(np.linalg.eigvalsh(mean))
        return Smoothness(L=constant(pooled), L_i=constants, mu=mu)

    def strong_constant(self, eigenvalues: np.ndarray) -> float | None:
        """The PL constant of f, where one is known. `eigenvalues` of mean_i A_i'A_i/N_i, increasing."""
        return None

    def _block_gradients(self, x):
        products = torch.matmul(x, self.rows.transpose(1, 2))
        slopes = self.slope(products, self.targets) * self.weights
        return torch.matmul(slopes, self.rows).transpose(0, 1)

    def _block_loss(self, x):
        products = torch.matmul(x, self.rows.transpose(1, 2))
        return (self.value(products, self.targets) * self.weights).sum(dim=-1).mean(dim=0)


def _by_blocks(function, x):
    """`function` of LANES lanes at a time; the last block is filled up with zeros."""
    lanes = x.shape[0]
    short = -lanes % LANES
    if short:
        x = torch.cat([x, x.new_zeros(short, *x.shape[1:])])
    blocks = [function(block) for block in x.split(LANES)]
    return torch.cat(blocks)[:lanes].contiguous()
