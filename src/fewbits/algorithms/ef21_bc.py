"""EF21-BC (Fatkhullin, Sokolov, Gorbunov, Li, Richtarik 2021, arXiv 2110.03294, Algorithm 5)."""

from __future__ import annotations

from typing import ClassVar, Literal

from fewbits.algorithms.base import Algorithm, mean, needs_everyone
from fewbits.algorithms.ef21 import first_message
from fewbits.algorithms.theory import NoStep, lag, only_theory
from fewbits.registry import plugin


@plugin
class EF21BC(Algorithm):
    """EF21 both ways: the server compresses too, and every client takes the step by itself.

        x^{t+1}   = x^t - gamma g^t                                server and every client
        c_i^t     = C_w(grad f_i(x^{t+1}) - w_i^t)                 client i, sent
        w_i^{t+1} = w_i^t + c_i^t                                  client i
        w^{t+1}   = w^t + (1/n) sum_i c_i^t                        server
        b^{t+1}   = C_M(w^{t+1} - g^t)                             server, broadcast
        g^{t+1}   = g^t + b^{t+1}                                  server and every client

    C_M is the run's `downlink`; with the identity this is EF21. start: w_i^0 as EF21's g_i^0; then x^0 (with the first
    gradients) and g^0 = w^0 go down whole and are counted. In the state w_i is called g_i, as in all of EF21's kin.

    Step: 1 / (L + kappa), kappa = L_tilde lag_w + lag_M (L + 2 L_tilde lag_w), proven here by the lemma of theory.py: w trails the
    gradient by |e_w|_T <= L_tilde lag_w |dx|_T, moves by at most |e_w^{t+1}| + |e_w^t| + L |dx^t|, and g trails w by lag_M
    of that. Of the paper's order 1/(alpha_w alpha_M). The published experiments take multiples of EF21's step (rule: ef21).
    """

    name: ClassVar[str] = "ef21_bc"
    feedback: ClassVar[bool] = True
    cite: ClassVar[str] = "fatkhullin2021bells"
    label: ClassVar[str] = "EF21-BC"
    both_ways: ClassVar[bool] = True

    start: Literal["gradient", "compressed"] = "gradient"

    @classmethod
    def examples(cls):
        return [
            {"downlink": {"name": "topk", "k": 3}},
            {"downlink": {"name": "randk", "k": 4, "scaled": False}},
        ]

    def check(self, selection) -> str | None:
        """Why this cannot be used with that selection of clients, or None."""
        return needs_everyone(selection)

    def initial_state(self, x, run):
        w_i = run.up(first_message(self.start, x, run))
        w = mean(w_i)
        return {"x": x, "g_i": w_i, "w": w, "g": run.down(w)}

    def round(self, s, run):
        x = run.descend(s["x"], run.step * s["g"])
        c_i = run.up(run.compress(run.updates(x) - s["g_i"]))
        w = s["w"] + run.mean(c_i)
        b = run.down(run.compress_down(w - s["g"]))
        return {"x": x, "g_i": s["g_i"] + c_i, "w": w, "g": s["g"] + b}

    def step_size(self, rule, theory):
        only_theory(rule)
        theory.require_everyone()
        if theory.alpha_down is None:
            raise NoStep("the downlink's compressor has no contraction constant")
        f = theory.smoothness
        trail = f.L_tilde * lag(theory.contraction)
        return 1 / (f.L + trail + lag(theory.alpha_down) * (f.L + 2 * trail))
