"""Deep gradient compression (Lin, Han, Mao, Wang, Dally 2017, arXiv 1712.01887, sections 3.1 and 3.2)."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from fewbits.algorithms.base import Algorithm
from fewbits.lazy import torch
from fewbits.registry import plugin


@plugin
class DGC(Algorithm):
    """Error feedback whose memory holds velocities, not gradients, so that momentum is not lost in it.

        u_i^t     = m u_i^{t-1} + grad f_i(x^t)                    client i: momentum correction
        w_i^t     = v_i^{t-1} + u_i^t                              client i: what waits to be sent
        c_i^t     = C(w_i^t)                                       client i, sent
        v_i^t     = w_i^t - c_i^t                                  client i
        u_i^t     = 0 where c_i^t is not                           client i: momentum factor masking
        x^{t+1}   = x^t - gamma (1/n) sum_i c_i^t                  server, then broadcast

    C is the paper's Top-k, any other will do. masking: whether u_i is masked. Momentum 0 without a mask is EF14, whose
    step stands inside the message. Warm-up and clipping are the paper's too, and are not here. There is no theory
    of its step.
    """

    name: ClassVar[str] = "dgc"
    feedback: ClassVar[bool] = True
    averages: ClassVar[bool] = True
    cite: ClassVar[str] = "lin2018dgc"
    label: ClassVar[str] = "DGC"

    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    masking: bool = True

    def initial_state(self, x, run):
        zero = torch.zeros_like(run.gradients(x))
        return {"x": x, "u_i": zero, "v_i": zero.clone()}

    def round(self, s, run):
        x = run.down(s["x"])
        u_i = self.momentum * run.own(s["u_i"]) + run.updates(x)
        wanted = run.own(s["v_i"]) + u_i
        c_i = run.up(run.compress(wanted))
        if self.masking:
            u_i = torch.where(c_i == 0, u_i, 0)
        held = {"u_i": run.keep(s["u_i"], u_i), "v_i": run.keep(s["v_i"], wanted - c_i)}
        return {"x": run.descend(s["x"], run.step * run.mean(c_i)), **held}
