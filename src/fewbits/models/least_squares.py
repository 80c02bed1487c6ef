"""Linear least squares on labels -1/+1, the Polyak-Lojasiewicz experiment of EF21."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from fewbits.datasets.base import Arrays
from fewbits.lazy import torch
from fewbits.models.linear import LinearObjective, block_seconds, blocks, by_blocks
from fewbits.registry import plugin


@plugin
class LeastSquares:
    """f_i(x) = (1 / 2 N_i) sum_j (a_j'x - y_j)^2, float64. Records `loss_gap` = f - min f.

    The paper writes the loss without the 1/2 while its code's gradient is that of the form with it
    (arXiv 2106.05203, published code); this is the consistent form, so a loss gap here is half the
    published one. mu is the smallest non-zero eigenvalue of f's Hessian: the matrices are rank deficient, and
    the PL inequality holds with that one.
    """

    name: ClassVar[str] = "least_squares"
    linear: ClassVar[bool] = True

    init: Literal["normal", "uniform", "zeros"] = "normal"
    init_scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 2.0

    def check(self, classes: int | None = None) -> str | None:
        """Why this cannot be used on that many classes, or None."""
        if classes not in (None, 2):
            return f"least_squares needs two classes, the data set has {classes}"
        return None

    def seconds(self, spec: dict, dataset: type, lanes: int) -> float:
        """As Logistic.seconds."""
        clients = spec["partition"].get("clients", 1)
        return block_seconds(clients * dataset.features**2) * blocks(lanes)

    def objective(
        self, data: Arrays, parts: list[np.ndarray], source=None
    ) -> LeastSquaresObjective:
        """data: x (rows, d), y (rows,) classes 0/1. parts: row numbers of each client."""
        x, y = data.x, data.y
        sign = np.where(y > 0, 1.0, -1.0)
        return LeastSquaresObjective(self, [(x[p], sign[p]) for p in parts])


class LeastSquaresObjective(LinearObjective):
    """f is a quadratic: d x d matrices take the place of the rows, of which a client has more than d."""

    curvature = 1.0

    def __init__(self, model: LeastSquares, parts):
        super().__init__(parts, model.init, model.init_scale)
        self.moments = np.stack([a.T @ b / len(b) for a, b in parts])[:, :, None]
        self.best, self.lowest = _minimum(parts)

    def slope(self, products, targets):
        return products - targets

    def row_losses(self, products, targets):
        return 0.5 * (products - targets) ** 2

    def block_gradients(self, x):
        return self.grams @ x - self.moments

    def block_loss(self, x):
        return self.lowest + self._block_gap(x)

    def metrics(self, x):
        return {"loss_gap": by_blocks(self._block_gap, x)}

    def strong_constant(self, eigenvalues):
        return float(eigenvalues[eigenvalues > 1e-10 * eigenvalues[-1]][0])

    def _block_gap(self, x):
        """f - min f = 1/2 (x - x*)'H(x - x*), which loses no digits as a difference of losses would."""
        away = x - self.best[:, None]
        return torch.from_numpy(0.5 * (self.grams.mean(axis=0) @ away * away)).sum(dim=0)


def _minimum(parts) -> tuple[np.ndarray, float]:
    """argmin f and min f by a direct solver, on rows weighted as f weights them (clients alike, not rows)."""
    weights = [np.full(len(b), (len(parts) * len(b)) ** -0.5) for _, b in parts]
    a = np.concatenate([w[:, None] * a for w, (a, _) in zip(weights, parts, strict=True)])
    b = np.concatenate([w * b for w, (_, b) in zip(weights, parts, strict=True)])
    best = np.linalg.lstsq(a, b, rcond=None)[0]
    residual = a @ best - b
    return best, float(0.5 * residual @ residual)
