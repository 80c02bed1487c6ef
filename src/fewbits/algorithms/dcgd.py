"""Distributed compressed gradient descent, without error feedback (Khirirat et al. 2018, arXiv 1806.06573)."""

from __future__ import annotations

from typing import ClassVar

from fewbits.algorithms.base import Algorithm
from fewbits.algorithms.theory import ef21_step
from fewbits.registry import plugin


@plugin
class DCGD(Algorithm):
    """x^{t+1} = x^t - gamma (1/n) sum_i C(grad f_i(x^t)).

    Unbiased C: theory gives 1 / (L + 2 omega max_i L_i / n), for convex f_i: x reaches a neighbourhood of the minimum whose size is
    that of the gradients there. Proof: with D = f(x) - f*, E|mean C|^2 <= 2 L D + (2 omega/n) (2 max_i L_i D + mean_i
    |grad f_i(x*)|^2). With a contractive C there is no guarantee, and no theoretical step: factors are of EF21's.
    """

    name: ClassVar[str] = "dcgd"
    averages: ClassVar[bool] = True
    cite: ClassVar[str] = "khirirat2018"
    label: ClassVar[str] = "DCGD"

    def round(self, s, run):
        x = run.down(s["x"])
        c_i = run.up(run.compress(run.updates(x)))
        return {"x": run.descend(s["x"], run.step * run.mean(c_i))}

    def step_size(self, rule, theory):
        if theory.omega is None:
            return ef21_step(rule, theory)
        theory.require_everyone()
        f = theory.smoothness
        return 1 / (f.L + 2 * theory.omega * max(f.L_i) / theory.clients)
