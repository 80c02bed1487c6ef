"""pFedMe (Dinh, Tran, Nguyen 2020, NeurIPS, arXiv 2006.08848, Algorithm 1)."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from fewbits.algorithms.personal import Personal, for_each, unstable
from fewbits.registry import plugin


@plugin
class PFedMe(Personal):
    """Moreau envelopes: min_w (1/n) sum_i min_theta [ f_i(theta) + lambda/2 |theta - w|^2 ].

        w_i = x^t                                                      client i of the cohort
        R times:
            local work on theta_i, to whose gradients is added  lambda (theta_i - w_i)
            w_i = w_i - eta lambda (w_i - theta_i)
        x^{t+1} = x^t - step (1/m) sum_i (x^t - w_i)                   server; `step` is the paper's beta

    The paper leaves open where the inner solver starts; here it goes on from the theta_i of before, as lp-proj's does. strength: lambda.
    reference_step: eta. repeats: R. Local steps times lambda, and eta lambda, must stay below 2. Sent is x^t - w_i, whole or compressed.
    """

    name: ClassVar[str] = "pfedme"
    sends: ClassVar[str] = "either"
    cite: ClassVar[str] = "dinh2020pfedme"
    label: ClassVar[str] = "pFedMe"

    strength: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 15.0
    reference_step: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.1
    repeats: Annotated[int, Field(ge=1)] = 1

    @classmethod
    def examples(cls):
        return [{"local": cls.LOCAL, "algorithm": {"strength": 0.5, "reference_step": 1.0}}]

    def check(self, local, model) -> str | None:
        """Why this cannot be used with these slots, or None."""
        return (
            self.misfit(local, model)
            or unstable("local step x strength", local.step * self.strength)
            or unstable("reference_step x strength", self.reference_step * self.strength)
        )

    def round(self, s, run):
        x, theta_i = run.down(s["x"]), run.own(s["theta_i"])
        w_i = for_each(x, theta_i.shape[1])
        for call in range(self.repeats):
            theta_i = run.work(theta_i, towards(w_i, self.strength), call)
            w_i = w_i - self.reference_step * self.strength * (w_i - theta_i)
        difference = run.up(run.compress(x[:, None] - w_i))
        return {
            "x": run.descend(s["x"], run.step * run.mean(difference)),
            "theta_i": run.keep(s["theta_i"], theta_i),
        }


def towards(reference, strength: float):
    """The slope of strength/2 |theta - reference|^2, reference (lanes, cohort, ...)."""
    return lambda theta, at: strength * (theta - reference[at])
