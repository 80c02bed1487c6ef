"""lp-proj-2: personal models coupled by a squared norm (Lin, Han, Li, Zhang 2022, NeurIPS 35)."""

from __future__ import annotations

from typing import ClassVar

from fewbits.algorithms.personal import unstable
from fewbits.algorithms.projected import PROJECTORS, Projected
from fewbits.registry import plugin


@plugin
class LpProj2(Projected):
    """Personal models theta_i in R^d, held together by a reference w in R^k through a random P (k x d) that all know:

        min_w (1/n) sum_i min_theta [ f_i(theta) + lambda R(w - P theta) ],   R(c) = |c|^2 / 2,   psi(c) = c

        w_i = w^t                                                      k numbers down, client i of the cohort
        R times:
            local work on theta_i, to whose gradients is added  -lambda P^T psi(w_i - P theta_i)
            w_i = w_i - eta_l lambda psi(w_i - P theta_i)
        w^{t+1} = w^t - step (1/m) sum_i (w^t - w_i)                   k numbers up, server; `step` is the published beta
        x^{t+1} = (1/n) sum_i theta_i                                  nobody's: what is measured beside the clients' own

    With P = I it is pFedMe, with lambda = 0 each client trains alone. Steps of local work times lambda |P|^2, and eta_l lambda, must stay below 2.
    The published code's lambda is 15, its k is 10, eta_l and the local step are 0.1, with w^0 = 0 and R = 5. It scales gradients to a norm of
    60 at most, which is not done here.
    """

    name: ClassVar[str] = "lp_proj_2"
    cite: ClassVar[str] = "lin2022lpproj"
    label: ClassVar[str] = "lp-proj-2"

    @classmethod
    def examples(cls):
        small = {"strength": 0.5, "reference_step": 0.5, "ratio": 0.3}
        others = ({"repeats": 2}, {"projector": "srht", "start": "zero"})
        return [{"local": cls.LOCAL, "algorithm": small | other} for other in others]

    def bound(self, local):
        curvature = self.strength * PROJECTORS[self.projector].norm_squared(self.ratio)
        return unstable("local step x strength x |P|^2", local.step * curvature) or unstable(
            "reference_step x strength", self.reference_step * self.strength
        )

    def slope(self, c):
        return c
