"""Binary logistic regression, without a bias term, with an optional regulariser."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from fewbits.datasets.base import Arrays
from fewbits.lazy import torch
from fewbits.models.linear import LinearObjective, block_seconds, blocks
from fewbits.models.rows import rows
from fewbits.registry import plugin


@plugin
class Logistic:
    """f_i(x) = (1/N_i) sum_j log(1 + exp(-y_j a_j'x)) + r(x), labels y in {-1, +1}.

    regulariser: nonconvex, r = strength * sum_k x_k^2 / (1 + x_k^2) (EF21, arXiv 2106.05203, section 5:
    strength 0.1); l2, r = strength/2 |x|^2; none. float64.

    relative: `strength` is a multiple of lmax(A'A)/N, A all N rows held by clients. That is four times the largest
    curvature of the logistic loss, and what some published code takes for its smoothness constant.
    """

    name: ClassVar[str] = "logistic"
    linear: ClassVar[bool] = True

    regulariser: Literal["nonconvex", "l2", "none"] = "nonconvex"
    strength: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.1
    relative: bool = False
    init: Literal["normal", "uniform", "zeros"] = "normal"
    init_scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0

    def check(self, classes: int | None = None) -> str | None:
        """Why this cannot be used on that many classes, or None."""
        if classes not in (None, 2):
            return f"logistic needs two classes, the data set has {classes}"
        return None

    def seconds(self, spec: dict, dataset: type, lanes: int) -> float:
        """About how long a round of so many runs like `spec` takes together, for the planner."""
        return block_seconds(dataset.rows * (dataset.features + 50)) * blocks(lanes)

    def objective(self, data: Arrays, parts: list[np.ndarray], source=None) -> LogisticObjective:
        """data: x (rows, d), y (rows,) classes 0/1. parts: row numbers of each client."""
        x, y = data.x, data.y
        sign = np.where(y > 0, -1.0, 1.0)
        strength = self.strength
        if self.relative:
            held = x[np.concatenate(parts)]
            strength *= float(np.linalg.eigvalsh(held.T @ held)[-1]) / len(held)
        return LogisticObjective(self, strength, [(x[p] * sign[p, None], sign[p]) for p in parts])


class LogisticObjective(LinearObjective):
    """Rows arrive multiplied by minus their label: a'x is minus the margin, and the loss log(1 + exp(a'x))."""

    curvature = 0.25

    def __init__(self, model: Logistic, strength: float, parts):
        super().__init__(parts, model.init, model.init_scale)
        self.kind, self.strength = model.regulariser, strength
        self.rows = rows([a for a, _ in parts])

    def slope(self, products, targets):
        return torch.from_numpy(products).sigmoid().numpy()

    def row_losses(self, products, targets):
        return np.logaddexp(products, 0.0)

    def block_gradients(self, x):
        return self.rows.back(self.rows.forward(x).sigmoid_())

    def block_loss(self, x):
        products = self.rows.forward(x)
        return self.rows.average(torch.logaddexp(products, products.new_zeros(())))

    def penalty(self, x):
        if self.kind == "nonconvex":
            square = x * x
            return self.strength * (square / (1 + square)).sum(dim=-1)
        if self.kind == "l2":
            return self.strength / 2 * (x * x).sum(dim=-1)
        return super().penalty(x)

    def penalty_slope(self, x):
        if self.kind == "nonconvex":
            return 2 * self.strength * x / (1 + x * x) / (1 + x * x)
        if self.kind == "l2":
            return self.strength * x
        return super().penalty_slope(x)

    @property
    def penalty_curvature(self) -> float:
        """Largest |second derivative|: 2 strength (at x = 0) for the non-convex one."""
        return {"nonconvex": 2 * self.strength, "l2": self.strength, "none": 0.0}[self.kind]
