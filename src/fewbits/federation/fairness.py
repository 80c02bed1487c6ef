"""How well clients are served: statistics over them, of the benign ones where some are malicious."""

from __future__ import annotations

from fewbits.lazy import torch

WORST = 0.1  # share of the clients that the low end is the mean of, at least one


def of_clients(accuracy: torch.Tensor, benign: torch.Tensor) -> dict[str, torch.Tensor]:
    """Mean, mean of the worst tenth, and (population) variance: accuracy (lanes, clients) on test rows of their own, benign
    (lanes, clients) bool -> each (lanes,).

    The variance of accuracies is the measure of fairness of Li et al. (2020, q-FFL, arXiv 1905.10497) and of lp-proj.
    """
    found = [_of_one(own[counted].double()) for own, counted in zip(accuracy, benign, strict=True)]
    names = "client_test_accuracy", "client_test_accuracy_low", "client_test_variance"
    return dict(zip(names, torch.tensor(found, dtype=torch.float64).T, strict=True))


def _of_one(accuracy: torch.Tensor) -> tuple[float, float, float]:
    worst = accuracy.sort().values[: max(1, round(WORST * len(accuracy)))]
    mean = accuracy.mean()
    return float(mean), float(worst.mean()), float(((accuracy - mean) ** 2).mean())
