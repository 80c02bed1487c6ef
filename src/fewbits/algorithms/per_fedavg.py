"""Per-FedAvg, first order (Fallah, Mokhtari, Ozdaglar 2020, NeurIPS, arXiv 2002.07948, Algorithm 1, FO)."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from fewbits.algorithms.personal import Personal, for_each
from fewbits.registry import plugin


@plugin
class PerFedAvg(Personal):
    """A global model from which one step of a client's own is a good personal one: min_x (1/n) sum_i f_i(x - alpha grad f_i(x)).

        y_i     = local work from x^t, whose gradient at y is  grad f_i(y - alpha grad f_i(y; D); D')      client i of the cohort
        x^{t+1} = x^t - step (weighted mean of x^t - y_i)                                                  server
        theta_i = x^{t+1} - alpha grad f_i(x^{t+1})                                                        what the client uses

    The gradient leaves out the second derivative, the paper's FO. D and D' are the two halves of the step's batch. adaptation: alpha. Sent is
    x^t - y_i, whole or compressed. theta_i is what a client would make of the next broadcast, on all of its rows.
    """

    name: ClassVar[str] = "per_fedavg"
    sends: ClassVar[str] = "either"
    cite: ClassVar[str] = "fallah2020perfedavg"
    label: ClassVar[str] = "Per-FedAvg"

    adaptation: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.05

    def initial_state(self, x, run):
        return {"x": x}

    def round(self, s, run):
        x = run.down(s["x"])
        meta = replace(run, objective=LookAhead(run.objective, self.adaptation))
        difference = run.up(run.compress(meta.updates(x)))
        return {"x": run.descend(s["x"], run.step * run.weighted_mean(difference))}

    def used(self, s, evaluation):
        x, f = evaluation.told(s["x"]), evaluation.objective
        return for_each(x, f.clients) - self.adaptation * f.gradients(x)


class LookAhead:
    """An objective whose stochastic gradients are taken one step ahead; all else is the inner one's."""

    walk = None  # the inner one's is of its own gradients

    def __init__(self, inner, adaptation: float) -> None:
        self._inner, self._adaptation = inner, adaptation

    def __getattr__(self, name: str):
        return getattr(self._inner, name)

    def client_gradients(self, y, who, positions, weights, *others):
        first, second = _halves(weights)
        ahead = self._inner.client_gradients(y, who, positions, first, *others)
        ahead = y - self._adaptation * ahead
        return self._inner.client_gradients(ahead, who, positions, second, *others)


def _halves(weights: np.ndarray) -> list[np.ndarray]:
    """Every other row of each client's batch, and the rest: weights (m, B) that sum to 1 again; a batch of one row twice."""
    found = []
    for begin in (0, 1):
        half = np.zeros_like(weights)
        half[:, begin::2] = weights[:, begin::2]
        total = half.sum(axis=1, keepdims=True)
        found.append(np.where(total > 0, half / np.where(total > 0, total, 1), weights))
    return found
