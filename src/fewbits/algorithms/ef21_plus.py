"""EF21+ (Richtarik, Sokolov, Fatkhullin 2021, arXiv 2106.05203, Algorithm 3)."""

from __future__ import annotations

from typing import ClassVar, Literal

from fewbits.algorithms.base import Algorithm, mean
from fewbits.algorithms.ef21 import first_message
from fewbits.algorithms.theory import ef21_step
from fewbits.federation.network import choose
from fewbits.registry import plugin


@plugin
class EF21Plus(Algorithm):
    """EF21, or plain compression where that is nearer to the gradient.

        x^{t+1}   = x^t - gamma g^t                                server, then broadcast
        b_i       = C(grad f_i(x^{t+1}))                           client i
        m_i       = g_i^t + C(grad f_i(x^{t+1}) - g_i^t)           client i
        g_i^{t+1} = m_i if |m_i - grad f_i|^2 <= |b_i - grad f_i|^2, else b_i
        g^{t+1}   = (1/n) sum_i g_i^{t+1}                          server

    The client sends the C(...) of the one chosen; which one it is, is the flag bit of the message's
    header, so it costs nothing more. The server keeps every client's g_i. Deterministic C only.
    """

    name: ClassVar[str] = "ef21_plus"
    feedback: ClassVar[bool] = True
    cite: ClassVar[str] = "richtarik2021ef21"
    label: ClassVar[str] = "EF21+"

    start: Literal["gradient", "compressed"] = "gradient"

    def initial_state(self, x, run):
        g_i = run.up(first_message(self.start, x, run))
        return {"x": x, "g_i": g_i, "g": mean(g_i)}

    def round(self, s, run):
        x = run.down(run.descend(s["x"], run.step * s["g"]))
        G_i = run.updates(x)
        plain = run.compress(G_i)
        own = run.own(s["g_i"])
        markov = run.compress(G_i - own).onto(own)
        nearer = _square(markov.value - G_i) <= _square(plain.value - G_i)
        g_i = run.keep(s["g_i"], run.up(choose(nearer, markov, plain)))
        return {"x": x, "g_i": g_i, "g": mean(g_i)}

    def step_size(self, rule, theory):
        return ef21_step(rule, theory)


def _square(x):
    """|x|^2 of every client's tensor: (lanes, clients)."""
    return (x * x).flatten(2).sum(dim=-1)
