"""MARINA and VR-MARINA (Gorbunov, Burlachenko, Li, Richtarik 2021, arXiv 2102.07845, Algorithms 1 and 2)."""

from __future__ import annotations

from math import inf, sqrt
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from fewbits.algorithms.base import (
    Algorithm,
    mean,
    needs_everyone,
    needs_gradients,
    needs_variance,
    omega,
)
from fewbits.federation.network import choose
from fewbits.registry import plugin


@plugin
class MARINA(Algorithm):
    """Clients compress the change of their gradient, and send it whole in rare rounds, all of them at once. Unbiased C.

        x^{t+1}   = x^t - gamma g^t                                server, then broadcast
        g_i^{t+1} = grad f_i(x^{t+1})                              client i, with probability p; else
                    g^t + C(grad f_i(x^{t+1}, xi) - grad f_i(x^t, xi))     the same rows xi at both points
        g^{t+1}   = (1/n) sum_i g_i^{t+1}                          server

    Sent: the gradient, or C(...). One coin a round for all clients, drawn from a shared seed. g^0 = grad f(x^0), sent whole.
    p: None is 1/(1 + omega). xi is the sample of the run's local solver: all rows, MARINA; fewer, VR-MARINA.
    wire: float format of whole gradients.

    Steps, as in the paper's theorems for general and for PL functions: theory, 1 / (L + L_tilde sqrt((1 - p) omega / (p n))); pl, the smaller of the same with
    twice the number under the root and p / (2 mu). The paper has L_tilde in place of L too. Full gradients.
    """

    name: ClassVar[str] = "marina"
    cite: ClassVar[str] = "gorbunov2021marina"
    label: ClassVar[str] = "MARINA"
    unbiased: ClassVar[bool] = True

    p: Annotated[float, Field(gt=0, le=1)] | None = None
    wire: Literal["float32", "float64"] = "float32"

    @classmethod
    def examples(cls):
        return [{"compressor": {"name": "randk", "k": 3}}, {"algorithm": {"p": 0.3}}]

    def check(self, selection, local, compressor) -> str | None:
        """Why this cannot be used with these, or None."""
        unknown = needs_variance(compressor, "p") if self.p is None else None
        return unknown or needs_everyone(selection) or needs_gradients(local)

    def initial_state(self, x, run):
        return {"x": x, "g": mean(run.up(self._whole(run.gradients(run.down(x)), run)))}

    def round(self, s, run):
        p = 1 / (1 + omega(run)) if self.p is None else self.p
        change = -run.updates(s["x"])
        x = run.down(run.descend(s["x"], run.step * s["g"]))
        change = change + run.updates(x)
        coin = (run.uniform("marina") < p)[:, None].expand(change.shape[:2])
        moved = run.compress(change).onto(s["g"][:, None])
        g_i = run.up(choose(coin, self._whole(run.gradients(x), run), moved))
        return {"x": x, "g": run.mean(g_i)}

    def _whole(self, gradients, run):
        return run.as_it_is(gradients, self.wire)

    def step_size(self, rule, theory):
        theory.require_everyone()
        f, w = theory.smoothness, theory.variance
        p = 1 / (1 + w) if self.p is None else self.p
        noise = (1 - p) * w / (p * theory.clients)
        if rule == "theory":
            return 1 / (f.L + f.L_tilde * sqrt(noise))
        return min(1 / (f.L + f.L_tilde * sqrt(2 * noise)), p / (2 * f.mu) if f.mu else inf)
