"""Ditto (Li, Hu, Beirami, Smith 2021, ICML, arXiv 2012.04221, Algorithm 1)."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from fewbits.algorithms.personal import Personal, for_each, unstable
from fewbits.registry import plugin


@plugin
class Ditto(Personal):
    """A global model by FedAvg, and beside it a personal one that is held near: min f_i(theta) + lambda/2 |theta - x|^2.

        y_i     = local work from x^t                                  client i of the cohort
        theta_i = local work from theta_i, to whose gradients is added  lambda (theta_i - x^t)
        x^{t+1} = x^t - step (weighted mean of x^t - y_i)              server

    A client works twice a round, which costs twice the gradients of the other methods. strength: lambda. A local step times lambda
    must stay below 2. Sent is x^t - y_i, whole or compressed. The server's aggregation may be another than the mean, as in the paper.
    """

    name: ClassVar[str] = "ditto"
    sends: ClassVar[str] = "either"
    cite: ClassVar[str] = "li2021ditto"
    label: ClassVar[str] = "Ditto"

    strength: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0

    def check(self, local, model) -> str | None:
        """Why this cannot be used with these slots, or None."""
        return self.misfit(local, model) or unstable(
            "local step x strength", local.step * self.strength
        )

    def round(self, s, run):
        x, theta_i = run.down(s["x"]), run.own(s["theta_i"])
        difference = run.up(run.compress(run.updates(x)))
        near = for_each(x, theta_i.shape[1])
        theta_i = run.work(theta_i, lambda theta, at: self.strength * (theta - near[at]))
        return {
            "x": run.descend(s["x"], run.step * run.weighted_mean(difference)),
            "theta_i": run.keep(s["theta_i"], theta_i),
        }
