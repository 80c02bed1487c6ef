"""Classical error feedback (Seide et al. 2014; in this form Stich et al. 2018, arXiv 1809.07599).

The baseline "EF" of EF21 (arXiv 2106.05203, Algorithm 4).
"""

from __future__ import annotations

from typing import ClassVar

from fewbits.algorithms.base import Algorithm
from fewbits.algorithms.theory import ef21_step
from fewbits.lazy import torch
from fewbits.registry import plugin


@plugin
class EF14(Algorithm):
    """Clients remember what compression left out, and add it to the next message. e_i^0 = 0.

        v_i^t     = C(e_i^t + gamma grad f_i(x^t))                 client i, sent
        x^{t+1}   = x^t - (1/n) sum_i v_i^t                        server
        e_i^{t+1} = e_i^t + gamma grad f_i(x^t) - v_i^t            client i

    The step is inside the message. EF21's assumptions give it no step; factors are of EF21's, as in the
    published experiments. Every message is counted; the published code does not count the first.
    """

    name: ClassVar[str] = "ef14"
    feedback: ClassVar[bool] = True
    averages: ClassVar[bool] = True
    cite: ClassVar[str] = "seide2014"
    label: ClassVar[str] = "EF14"

    def initial_state(self, x, run):
        return {"x": x, "e_i": torch.zeros_like(run.gradients(x))}

    def round(self, s, run):
        x = run.down(s["x"])
        wanted = run.own(s["e_i"]) + run.step[:, None] * run.updates(x)
        v_i = run.up(run.compress(wanted))
        x = run.descend(s["x"], run.mean(v_i))
        return {"x": x, "e_i": run.keep(s["e_i"], wanted - v_i)}

    def step_size(self, rule, theory):
        return ef21_step(rule, theory)
