"""SCAFFOLD (Karimireddy et al. 2020, arXiv 1910.06378, Algorithm 1)."""

from __future__ import annotations

from typing import ClassVar

from fewbits.algorithms.base import Algorithm
from fewbits.lazy import torch
from fewbits.registry import plugin


@plugin
class Scaffold(Algorithm):
    """Control variates c_i, c take the clients' drift out of local work. c_i^0 = c^0 = 0.

        y_i       = local work from x^t with c^t - c_i^t added to every gradient       client i of the cohort S
        c_i^{t+1} = c_i^t - c^t + (x^t - y_i) / (sum of its local steps)               client i (option II of the box)
        x^{t+1}   = x^t - gamma (1/|S|) sum_S (x^t - y_i)                              server
        c^{t+1}   = c^t + (1/n) sum_S (c_i^{t+1} - c_i^t)                              server

    Two messages go each way, so a round costs twice that of FedAvg. With a compressor both are compressed, each by itself,
    and a client goes on with the c_i that the server decodes, so that c stays the mean of the c_i.
    """

    name: ClassVar[str] = "scaffold"
    sends: ClassVar[str] = "either"
    cite: ClassVar[str] = "karimireddy2020scaffold"
    label: ClassVar[str] = "SCAFFOLD"

    def check(self, local, space) -> str | None:
        """Why this cannot be used with these slots, or None."""
        if space is not None and not space.projects:
            return "its control variates would be of steps that are not the gradient's projections"
        if getattr(local, "momentum", 0.0):
            return "its control variates rest on local steps without momentum"
        return None

    def initial_state(self, x, run):
        zeros = torch.zeros_like(x)
        held = zeros[:, None].expand(len(x), run.objective.clients, *x.shape[1:]).clone()
        return {"x": x, "c": zeros, "c_i": held}

    def round(self, s, run):
        x, c, c_i = run.down(s["x"]), run.down(s["c"]), run.own(s["c_i"])
        update = run.updates(x, c[:, None] - c_i)
        difference = run.up(run.compress(update))
        shift = run.up(run.compress(update / run.travel(update) - c[:, None]))
        return {
            "x": run.descend(s["x"], run.step * run.mean(difference)),
            "c": s["c"] + run.mean_of_all(shift),
            "c_i": run.keep(s["c_i"], c_i + shift),
        }
