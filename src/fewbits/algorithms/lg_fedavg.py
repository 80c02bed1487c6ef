"""LG-FedAvg (Liang, Liu, Ziyin, Allen, Auerbach, Brent, Salakhutdinov, Morency 2020, arXiv 2001.01523, Algorithm 1)."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

import numpy as np

from fewbits.algorithms.base import needs_plain_server
from fewbits.algorithms.personal import Personal, mean_of_all
from fewbits.lazy import torch
from fewbits.registry import plugin


@plugin
class LGFedAvg(Personal):
    """Representations stay at home, the layers above them are averaged. S: the numbers of the layers whose names begin with `shared`.

        theta_i[S] = x^t[S]                                            S down, client i of the cohort
        theta_i    = local work from theta_i
        x^{t+1}[S] = x^t[S] - step (weighted mean of x^t[S] - theta_i[S])      S up, server, which has no more of x

    A client uses theta_i with the shared layers of x^{t+1}. What is measured is x^{t+1} with (1/n) sum_i theta_i elsewhere, which nobody
    has. `head` is a network's last layer here; "" shares everything.
    """

    name: ClassVar[str] = "lg_fedavg"
    sends: ClassVar[str] = "own"
    cite: ClassVar[str] = "liang2020lgfedavg"
    label: ClassVar[str] = "LG-FedAvg"

    shared: str = "head"

    @classmethod
    def examples(cls):
        return [{"local": cls.LOCAL, "algorithm": {"shared": ""}}]

    def check(self, local, model, server) -> str | None:
        """Why this cannot be used with these slots, or None."""
        return self.misfit(local, model) or needs_plain_server(server)

    def initial_state(self, x, run):
        theta_i = super().initial_state(x, run)["theta_i"]
        return {"x_S": x[:, self.places(run.objective)], "theta_i": theta_i}

    def round(self, s, run):
        S = self.places(run.objective)
        received, theta_i = run.down(s["x_S"]), run.own(s["theta_i"]).clone()
        theta_i[:, :, S] = received[:, None]
        theta_i = run.work(theta_i)
        sent = run.up(run.as_it_is(received[:, None] - theta_i[:, :, S]))
        return {
            "x_S": s["x_S"] - run.step * run.weighted_mean(sent),
            "theta_i": run.keep(s["theta_i"], theta_i),
        }

    def model(self, s, evaluation):
        x = mean_of_all(s, evaluation)
        x[:, self.places(evaluation.objective)] = s["x_S"]
        return x

    def used(self, s, evaluation):
        theta_i = s["theta_i"].clone()
        theta_i[:, :, self.places(evaluation.objective)] = evaluation.told(s["x_S"])[:, None]
        return theta_i

    def places(self, objective) -> torch.Tensor:
        """S, as positions in the vector. Raises ValueError."""
        ends = np.cumsum([0] + [int(np.prod(shape)) for _, shape in objective.layers])
        layers = zip(objective.layers, pairwise(ends.tolist()), strict=True)
        found = [torch.arange(*at) for layer, at in layers if layer.name.startswith(self.shared)]
        if not found:
            names = ", ".join(layer.name for layer in objective.layers)
            raise ValueError(
                f"algorithm.shared: found {self.shared!r}; layers of this model: {names}"
            )
        return torch.cat(found)
