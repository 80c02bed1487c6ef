"""RSA, Byzantine-robust stochastic aggregation (Li, Xu, Chen, Giannakis, Ling 2019, AAAI, arXiv 1811.03761, Algorithm 2, p = 1)."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from fewbits.algorithms.personal import Personal, for_each
from fewbits.registry import plugin


@plugin
class RSA(Personal):
    """min over x and theta_i of sum_i f_i(theta_i) + lambda |theta_i - x|_1: a client moves the server by a step of fixed length.

        theta_i = local work from theta_i, to whose gradients is added  lambda sign(theta_i - x^t)      client i of the cohort
        x^{t+1} = x^t - step eta lambda (1/m) sum_i sign(x^t - theta_i)                                 server

    Sent is theta_i itself; the server takes the signs, so that a malicious message counts no more than an honest one. The paper's server has
    a regulariser of its own, which is left out, and its sum over workers is a mean here, so that eta is that of lp-proj-1 and pFedMe.
    strength: lambda. reference_step: eta.
    """

    name: ClassVar[str] = "rsa"
    averages: ClassVar[bool] = False  # of signs of what it gets
    cite: ClassVar[str] = "li2019rsa"
    label: ClassVar[str] = "RSA"

    strength: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.1
    reference_step: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.1

    @classmethod
    def examples(cls):
        return [{"local": cls.LOCAL, "algorithm": {"strength": 0.1, "reference_step": 1.0}}]

    def round(self, s, run):
        x, theta_i = run.down(s["x"]), run.own(s["theta_i"])
        near = for_each(x, theta_i.shape[1])
        theta_i = run.work(theta_i, lambda theta, at: self.strength * (theta - near[at]).sign())
        signs = (s["x"][:, None] - run.up(run.as_it_is(theta_i))).sign()
        change = self.reference_step * self.strength * signs.mean(dim=1)
        return {
            "x": run.descend(s["x"], run.step * change),
            "theta_i": run.keep(s["theta_i"], theta_i),
        }
