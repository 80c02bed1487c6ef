"""Federated averaging (McMahan et al. 2017, AISTATS, arXiv 1602.05629, Algorithm 1)."""

from __future__ import annotations

from typing import ClassVar

from fewbits.algorithms.base import Algorithm
from fewbits.registry import plugin


@plugin
class FedAvg(Algorithm):
    """S_t = a cohort; every client of it works locally on x^t and ends with y_k; n_k: its number of rows.

        x^{t+1} = sum_{k in S_t} (n_k / sum_{S_t} n) y_k  =  x^t - sum_k (n_k / sum n) (x^t - y_k)

    Sent is the difference x^t - y_k, whole or compressed (Konecny et al. 2016). A `step` other than 1 is the server's.
    With one gradient of all rows in place of local work, this is FedSGD with that step.
    """

    name: ClassVar[str] = "fedavg"
    sends: ClassVar[str] = "either"
    averages: ClassVar[bool] = True
    cite: ClassVar[str] = "mcmahan2017"
    label: ClassVar[str] = "FedAvg"

    def round(self, s, run):
        x = run.down(s["x"])
        difference = run.up(run.compress(run.updates(x)))
        return {"x": run.descend(s["x"], run.step * run.weighted_mean(difference))}
