"""lp-proj-1: personal models coupled by an l1 norm (Lin, Han, Li, Zhang 2022, NeurIPS 35)."""

from __future__ import annotations

from typing import ClassVar

from fewbits.algorithms.projected import Projected
from fewbits.registry import plugin


@plugin
class LpProj1(Projected):
    """Personal models theta_i in R^d, held together by a reference w in R^k through a random P (k x d) that all know:

        min_w (1/n) sum_i min_theta [ f_i(theta) + lambda R(w - P theta) ],   R(c) = |c|_1,   psi(c) = sign(c)

        w_i = w^t                                                      k numbers down, client i of the cohort
        R times:
            local work on theta_i, to whose gradients is added  -lambda P^T psi(w_i - P theta_i)
            w_i = w_i - eta_l lambda psi(w_i - P theta_i)
        w^{t+1} = w^t - step (1/m) sum_i (w^t - w_i)                   k numbers up, server; `step` is the published beta
        x^{t+1} = (1/n) sum_i theta_i                                  nobody's: what is measured beside the clients' own

    psi is bounded, so whatever the others make of w moves theta_i by at most lambda |P^T psi| a step: this, not the server's mean, is
    what withstands malicious clients. P = I and R = 1 is RSA. The published code has a general p, for which the gradients
    of its two steps are of different functions; p = 1 is the case where they agree.
    """

    name: ClassVar[str] = "lp_proj_1"
    cite: ClassVar[str] = "lin2022lpproj"
    label: ClassVar[str] = "lp-proj-1"

    def slope(self, c):
        return c.sign()
