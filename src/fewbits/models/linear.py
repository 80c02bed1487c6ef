"""What the linear models share: starting points, constants, and lanes in blocks of a fixed width.

A matrix product of a fixed shape treats its columns alike, so a lane's numbers do not depend on the other
lanes (federation/objective.py).
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from fewbits import rng
from fewbits.federation.objective import Layer, Smoothness, square
from fewbits.lazy import torch
from fewbits.models.rows import LANES


class LinearObjective:
    """f_i(x) = (1/N_i) sum_j loss(a_ij'x, b_ij) + penalty(x).

    Args:
        parts: each client's (rows, targets): (N_i, d) and (N_i,) float64.
        init: the starting point: "normal" with standard deviation `init_scale`, "uniform" from 0 to it, or "zeros".

    A subclass gives gradients and loss of a block of LANES models, `curvature` (largest second
    derivative of the loss by a'x) and, if it has one, the penalty.
    """

    curvature: float
    penalty_curvature: float = 0.0
    precision = "float64"
    statistics = walk = None
    at_once = 64
    own_tests = None

    def __init__(self, parts: list[tuple[np.ndarray, np.ndarray]], init: str, init_scale: float):
        self.clients = len(parts)
        self.sizes = np.array([len(targets) for _, targets in parts])
        self.shape = (parts[0][0].shape[1],)
        self.layers = (Layer("x", self.shape),)
        self.init, self.init_scale = init, init_scale
        self.parts = parts
        self._seen = self._gradients = None

    def _sampled(self, x, cohort, rows):
        """Gradients on samples of rows, a lane at a time."""
        out = []
        for lane, (places, weights) in enumerate(zip(rows.positions, rows.weights, strict=True)):
            who = np.arange(self.clients) if cohort is None else cohort[lane].numpy()
            same = x[lane].expand(len(who), -1)
            out.append(self.client_gradients(same, who, places, weights))
        return torch.stack(out)

    def block_gradients(self, x: np.ndarray) -> np.ndarray:
        """Without the penalty: x (d, LANES) -> (clients, d, LANES)."""
        raise NotImplementedError

    def block_loss(self, x: np.ndarray) -> torch.Tensor:
        """Without the penalty: x (d, LANES) -> (LANES,)."""
        raise NotImplementedError

    def slope(self, products: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Derivative of the loss by a'x, row by row."""
        raise NotImplementedError

    def row_losses(self, products: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """The loss of each row, of a'x."""
        raise NotImplementedError

    def losses(self, x, statistics=None):
        found = [[self.row_losses(a @ one, b).mean() for a, b in self.parts] for one in x.numpy()]
        return torch.tensor(found, dtype=torch.float64) + self.penalty(x)[:, None]

    def gradients(self, x, cohort=None, rows=None, statistics=None):
        if rows is not None:
            return self._sampled(x, cohort, rows)
        if x is not self._seen:  # the round and the evaluation after it ask for the same model
            self._gradients = by_blocks(self.block_gradients, x) + self.penalty_slope(x)[:, None]
            self._seen = x
        if cohort is None:
            return self._gradients
        return self._gradients[torch.arange(len(x))[:, None], cohort]

    def measure(self, x, statistics=None):
        gradient = self.gradients(x).mean(dim=1)
        return {"loss": self.loss(x), "grad_sq": square(gradient), **self.metrics(x)}

    def loss(self, x):
        return by_blocks(self.block_loss, x) + self.penalty(x)

    def metrics(self, x):
        return {}

    def start(self, dataset, seed):
        if self.init == "zeros":
            return np.zeros(self.shape)
        random = rng.generator("start", dataset, seed)
        draw = random.random if self.init == "uniform" else random.standard_normal
        return self.init_scale * draw(self.shape)

    def penalty(self, x):
        return 0.0 * x[:, 0]

    def penalty_slope(self, x):
        return torch.zeros_like(x)

    @cached_property
    def grams(self) -> np.ndarray:
        """A_i'A_i / N_i of every client: (clients, d, d)."""
        return np.stack([a.T @ a / len(b) for a, b in self.parts])

    @cached_property
    def smoothness(self) -> Smoothness:
        """L_i = curvature lmax(A_i'A_i)/N_i + the penalty's, and the same of all rows pooled for L.

        L is that of the published code. f is the mean of the clients' means, which differs a little from the
        pooled loss where clients have unequal numbers of rows; mu is f's own.
        """
        counts = [len(b) for _, b in self.parts]
        pooled = np.average(self.grams, axis=0, weights=counts)

        def constant(gram):
            return float(self.curvature * np.linalg.eigvalsh(gram)[-1] + self.penalty_curvature)

        constants = tuple(constant(gram) for gram in self.grams)
        mu = self.strong_constant(np.linalg.eigvalsh(self.grams.mean(axis=0)))
        return Smoothness(L=constant(pooled), L_i=constants, mu=mu)

    def strong_constant(self, eigenvalues: np.ndarray) -> float | None:
        """The PL constant of f, where one is known. `eigenvalues` of mean_i A_i'A_i/N_i, increasing."""
        return None

    def client_gradients(self, y, who, positions, weights, statistics=None, slope=None):
        """Each client's gradient at its own model, on some of its rows: y (m, d) -> (m, d).

        who (m,) client numbers; positions, weights (m, B) as of `sampling.Rows`.
        """
        out = np.zeros((len(who), *self.shape))
        for i, (model, place, weight) in enumerate(zip(y.numpy(), positions, weights, strict=True)):
            a, b = (part[place] for part in self.parts[who[i]])
            out[i] = a.T @ (self.slope(a @ model, b) * weight)
        return torch.from_numpy(out) + self.penalty_slope(y)


def blocks(lanes: int) -> int:
    """How many blocks that many lanes fill."""
    return -(-lanes // LANES)


def block_seconds(entries: int) -> float:
    """A round of a block in the engine, on one core, with matrices of that many entries (measured, within a factor
    of two: breast cancer 0.3 ms, phishing 1.8, a9a 6, w8a 9)."""
    return 0.3e-3 + 1.2e-9 * entries


def by_blocks(function, x):
    """`function` of LANES lanes at a time, x (lanes, d) turned to (d, LANES) arrays, its results turned back.

    The last block is filled up with zeros.
    """
    lanes = x.shape[0]
    turned = x.new_zeros(blocks(lanes), x.shape[1], LANES)
    for block, part in zip(turned, x.split(LANES), strict=True):
        block[:, : len(part)] = part.T
    found = [torch.as_tensor(function(block.numpy())).movedim(-1, 0) for block in turned]
    return torch.cat(found)[:lanes].contiguous()
