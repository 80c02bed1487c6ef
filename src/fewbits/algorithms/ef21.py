"""EF21 (Richtarik, Sokolov, Fatkhullin 2021, arXiv 2106.05203, Algorithm 2)."""

from __future__ import annotations

from typing import ClassVar, Literal

from fewbits.algorithms.base import Algorithm, mean
from fewbits.algorithms.theory import ef21_step
from fewbits.compressors.base import Compressed
from fewbits.compressors.message import Bits
from fewbits.lazy import torch
from fewbits.registry import plugin


@plugin
class EF21(Algorithm):
    """Client i keeps an estimate g_i of its gradient; only the compressed correction to it is sent.

        x^{t+1}   = x^t - gamma g^t                                server, then broadcast
        c_i^t     = C(grad f_i(x^{t+1}) - g_i^t)                   client i, sent
        g_i^{t+1} = g_i^t + c_i^t                                  client i
        g^{t+1}   = g^t + (1/n) sum_i c_i^t                        server

    start: "compressed", g_i^0 = C(grad f_i(x^0)), as in the box; "gradient", g_i^0 = grad f_i(x^0), as in
    the published code, which does not count that message. Here it is sent dense and counted; "zero", g_i^0 = 0, for
    which nothing is sent: then x^1 = x^0, and all goes as with "compressed", one round later.

    With a cohort this is EF21-PP (arXiv 2110.03294, Algorithm 4): clients that sit a round out keep g_i, and so does the
    server. With samples of rows it is EF21-SGD (Algorithm 2 there).
    """

    name: ClassVar[str] = "ef21"
    feedback: ClassVar[bool] = True
    cite: ClassVar[str] = "richtarik2021ef21"
    label: ClassVar[str] = "EF21"

    start: Literal["gradient", "compressed", "zero"] = "gradient"

    def initial_state(self, x, run):
        g_i = run.up(first_message(self.start, x, run))
        return {"x": x, "g_i": g_i, "g": mean(g_i)}

    def round(self, s, run):
        x = run.down(run.descend(s["x"], run.step * s["g"]))
        g_i = run.own(s["g_i"])
        c_i = run.up(run.compress(run.updates(x) - g_i))
        return {"x": x, "g_i": run.keep(s["g_i"], g_i + c_i), "g": s["g"] + run.mean_of_all(c_i)}

    def step_size(self, rule, theory):
        return ef21_step(rule, theory)


def first_message(start: str, x, run, updates=None):
    """g_i^0: C(grad f_i(x^0)), or the whole gradient in full precision (so that g_i^0 is exact), or nothing.

    updates: the gradients, None for what the local solver makes.
    """
    if start == "zero":
        return Compressed(torch.zeros_like(run.gradients(x)), Bits(0, 0, 0))
    x = run.down(x)
    updates = run.updates(x) if updates is None else updates
    if start == "compressed":
        return run.compress(updates)
    return run.as_it_is(updates, wire=None)
