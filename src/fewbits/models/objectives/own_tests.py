"""Each client's own share of the test part, and how many of it models get right.

Where the data have natural clients and the partition goes by them, a client's share is the test rows of its groups. Any other
partition here deals out rows by their classes alone, so a client's own rows are like all rows of its classes: its share is every
test row of a class that it holds, weighted so that classes count as among its training rows. That leaves an accuracy less to
chance than cutting a few rows off each client would.
"""

from __future__ import annotations

import numpy as np
import torch

from fewbits.datasets.base import Arrays

ROWS = 16384  # that are worked on together: bounds memory


class OwnTests:
    """`rows`, `weights` (clients, B): numbers of test rows, and weights that sum to 1; places that are not used have weight 0."""

    def __init__(self, objective, data: Arrays, parts: list[np.ndarray]) -> None:
        self.objective = objective
        shares = list((_by_groups if _natural(data, parts) else _by_classes)(data, parts))
        width = max(len(rows) for rows, _ in shares)
        self.rows = np.zeros((len(parts), width), np.int64)
        self.weights = np.zeros((len(parts), width))
        for i, (rows, weights) in enumerate(shares):
            self.rows[i, : len(rows)], self.weights[i, : len(rows)] = rows, weights
        self._x = torch.from_numpy(data.test_x)
        self._y = torch.from_numpy(data.test_y)

    def to(self, device: str) -> None:
        self._x, self._y = self._x.to(device), self._y.to(device)

    def __call__(self, models: torch.Tensor, who: np.ndarray | None = None) -> torch.Tensor:
        """Accuracy of clients on their shares: models (lanes, D), one for all, or (lanes, m, D) -> (lanes, m) float64.

        who (m,): the clients, whoever else is among them their numbers are the same; None: all of them.
        """
        who = np.arange(len(self.rows)) if who is None else who
        weights = torch.from_numpy(self.weights[who]).to(models.device)
        found = [self._right(model.clone(), self.rows[who]) for model in models]
        return torch.stack([(right * weights).sum(dim=1) for right in found])

    def _right(self, model: torch.Tensor, shares: np.ndarray) -> torch.Tensor:
        """Which rows of each share (m, B) its client's model gets right: (m, B) float64."""
        if model.dim() == 1:
            rows = torch.arange(len(self._y))
            right = [self._hits(model[None], part[None])[0] for part in rows.split(ROWS)]
            return torch.cat(right)[shares]
        at_once = max(1, ROWS // shares.shape[1])
        pairs = zip(model.split(at_once), torch.from_numpy(shares).split(at_once), strict=True)
        return torch.cat([self._hits(*pair) for pair in pairs])

    def _hits(self, models: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """models (m, D), rows (m, B) -> (m, B) float64."""
        inputs = self.objective.inputs(rows.flatten(), self._x).unflatten(0, rows.shape)
        logits = self.objective.logits_apart(models, inputs)
        return (logits.argmax(dim=-1) == self._y[rows]).double()


def _natural(data: Arrays, parts: list[np.ndarray]) -> bool:
    """Whether no group's rows are held by two clients."""
    if data.test_groups is None:
        return False
    held = np.concatenate([np.unique(data.groups[part]) for part in parts])
    return len(np.unique(held)) == len(held)


def _by_groups(data: Arrays, parts: list[np.ndarray]):
    for i, part in enumerate(parts):
        rows = np.flatnonzero(np.isin(data.test_groups, data.groups[part]))
        if not len(rows):
            raise ValueError(f"client_tests: client {i} has no test rows; leave client_tests out")
        yield rows, np.full(len(rows), 1 / len(rows))


def _by_classes(data: Arrays, parts: list[np.ndarray]):
    classes = int(max(data.y.max(), data.test_y.max())) + 1
    there = np.bincount(data.test_y, minlength=classes)
    for i, part in enumerate(parts):
        held = np.bincount(data.y[part], minlength=classes) * (there > 0)
        if not held.sum():
            raise ValueError(
                f"client_tests: no test row is of a class of client {i}; leave client_tests out"
            )
        rows = np.flatnonzero(held[data.test_y])
        weights = (held / np.maximum(there, 1))[data.test_y[rows]]
        yield rows, weights / weights.sum()
