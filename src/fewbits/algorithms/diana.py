"""DIANA (Mishchenko, Gorbunov, Takac, Richtarik 2019, arXiv 1901.09269; any unbiased C: Horvath et al., arXiv 1904.05115)."""

from __future__ import annotations

from math import sqrt
from typing import Annotated, ClassVar

from pydantic import Field

from fewbits.algorithms.base import Algorithm, needs_variance, omega
from fewbits.algorithms.theory import lag
from fewbits.lazy import torch
from fewbits.registry import plugin


@plugin
class DIANA(Algorithm):
    """Clients compress the difference to a memory h_i that learns their gradient. Unbiased C.

        m_i^t     = C(grad f_i(x^t) - h_i^t)                       client i, sent
        x^{t+1}   = x^t - gamma (h^t + (1/n) sum_i m_i^t)          server, then broadcast
        h_i^{t+1} = h_i^t + a m_i^t                                client i
        h^{t+1}   = h^t + a (1/n) sum_i m_i^t                      server

    h_i^0 = 0. memory: the rate a; None is 1/(1 + omega). A client that sits a round out keeps h_i; the mean of the messages
    is then over the cohort, and stays unbiased.

    Steps. theory: 1 / (L + L_tilde (1 + lag) sqrt(omega/n)), lag that of alpha = 1/(1 + omega), proven here (the
    papers' own non-convex steps were not at hand to compare): H^t = mean_i |grad f_i - h_i|^2 obeys |H|_T <= c + L_tilde (1 + lag) |dx|_T, and enters by E|dx|^2 <=
    gamma^2 (|grad f|^2 + omega/n H), E f(x^{t+1}) <= f(x^t) - gamma |grad f|^2 + L/2 E|dx|^2. pl: 1 / (L + 6 omega max_i L_i / n), for strongly convex f and convex f_i: |x - x*|^2 + (4 omega gamma^2/(a n))
    mean_i |h_i - grad f_i(x*)|^2 falls by 1 - min(gamma mu, a/2) a round in expectation.
    """

    name: ClassVar[str] = "diana"
    cite: ClassVar[str] = "mishchenko2019diana"
    label: ClassVar[str] = "DIANA"
    unbiased: ClassVar[bool] = True

    memory: Annotated[float, Field(gt=0, le=1)] | None = None

    @classmethod
    def examples(cls):
        return [{"compressor": {"name": "randk", "k": 3}}, {"algorithm": {"memory": 0.1}}]

    def check(self, compressor, space) -> str | None:
        """Why this cannot be used with these slots, or None."""
        if space is not None and self.memory is None:
            return "memory must be given in an update space, where no omega is known"
        return needs_variance(compressor, "memory") if self.memory is None else None

    def initial_state(self, x, run):
        return {"x": x, "h_i": torch.zeros_like(run.gradients(x)), "h": torch.zeros_like(x)}

    def round(self, s, run):
        a = 1 / (1 + omega(run)) if self.memory is None else self.memory
        x = run.down(s["x"])
        h_i = run.own(s["h_i"])
        m_i = run.up(run.compress(run.updates(x) - h_i))
        return {
            "x": run.descend(s["x"], run.step * (s["h"] + run.mean(m_i))),
            "h_i": run.keep(s["h_i"], h_i + a * m_i),
            "h": s["h"] + a * run.mean_of_all(m_i),
        }

    def step_size(self, rule, theory):
        theory.require_everyone()
        f, spread = theory.smoothness, theory.variance / theory.clients
        if rule == "pl":
            return 1 / (f.L + 6 * spread * max(f.L_i))
        return 1 / (f.L + f.L_tilde * (1 + lag(1 / (1 + theory.variance))) * sqrt(spread))
