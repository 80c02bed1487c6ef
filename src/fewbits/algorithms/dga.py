"""Delayed gradient averaging (Zhu, Lin, Lu, Lin, Han 2021, NeurIPS)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from fewbits.algorithms.base import Algorithm, needs_everyone
from fewbits.algorithms.personal import Personal
from fewbits.compressors.identity import Identity
from fewbits.federation.local.base import Jump
from fewbits.lazy import torch
from fewbits.registry import plugin


@plugin
class DGA(Algorithm):
    """Clients go on working while their messages are on the way: the average comes D local steps late, and replaces their own part.

        G_j^t   = the sum of client j's K local steps in round t, from its replica w_j              client j
        m_j^t   = C(G_j^t), sent; o_j^t = m_j^t stays in w_j for the time being                     client j
        x^{t+1} = x^t - gamma sum_j (n_j / n) m_j^t                                                 server, sent to all
        w_j     = w_j + (x^{t+1} - x^t) + gamma o_j^t,  D local steps after the round's end         client j

    So w_j = x^s - gamma sum_{t >= s} o_j^t - (its steps since), x^s being the newest model that has come: replicas differ by
    what is on the way and by nothing older, however many rounds that is. With D = 0 it is FedAvg, with K = 1 too it is
    synchronous SGD, bit for bit. D need be no multiple of K: then the model comes amid local work.

    correction: what o_j^t is, and what is taken back when x^{t+1} comes.
      message   m_j^t: w_j moves by what was sent, and that is taken back (as the box has it)
      work      G_j^t, and that is taken back: the paper's line; the same where all is sent whole
      residual  G_j^t, but m_j^t is taken back: what C has lost stays in the replica for good
      double    G_j^t, and nothing is taken back: own work counts again in the average
      stale     nothing: own work is dropped when it is sent, and only averages move a replica from round to round
    The last two are what "without correction" may mean in the paper's ablation, whose text does not say it.

    error_feedback: C(G_j + e_j) is sent and what it loses is kept in e_j. inside: own work, too, goes through the server's
    momentum, each client's for itself; then w_j moves by momentum steps with the bracket of the paper's line as their
    gradient. Without it, momentum is the server's alone, or (`local.momentum`) inside the local steps alone.

    weighted: by numbers of rows, as FedAvg; the paper takes the plain mean. The downlink's compressor, if there is one, takes
    the change of x since what clients were sent last. x^{t+1} is counted in the round that it goes out in, as FedAvg's.

    Numbers are recorded of x, where everything on the way has arrived; of the replicas' mean at the end of a round
    (`replicas_...`); and of the mean of what replicas are without that which is on the way (`settled_...`). `..._apart`: root mean square distance
    of the replicas from that mean.
    """

    name: ClassVar[str] = "dga"
    sends: ClassVar[str] = "either"
    cite: ClassVar[str] = "zhu2021dga"
    label: ClassVar[str] = "DGA"
    both_ways: ClassVar[bool] = True

    delay: Annotated[int, Field(ge=0)] = 0
    correction: Literal["message", "work", "residual", "double", "stale"] = "message"
    error_feedback: bool = False
    inside: bool = False
    weighted: bool = True

    @classmethod
    def examples(cls):
        local = {"name": "sgd", "step": 0.3, "steps": 2, "batch": 20}
        return [
            {"algorithm": {"delay": 3}, "local": local},
            {"algorithm": {"delay": 4, "inside": True}, "local": local, "server": {"name": "momentum", "beta": 0.5}},
            {
                "algorithm": {"delay": 1, "correction": "residual", "error_feedback": True},
                "local": local,
                "downlink": {"name": "topk", "k": 20},
            },
        ]  # fmt: skip

    def check(self, selection, local, server, model, space) -> str | None:
        """Why this cannot be used with these slots, or None."""
        if text := Personal.misfit(local, model):
            return text
        if space is not None:
            return "its clients work on from replicas, which are in no update space of a round"
        if getattr(local, "steps", None) is None:
            return "its delay counts local steps, so local must have a number of them: {name: sgd, step: ..., steps: ...}"
        if local.work(np.ones(1), 1) != local.work(np.ones(1), 10**6):
            return "its delay counts local steps, so every round of local must have as many"
        if self.inside and getattr(server, "beta", None) is None:
            return "inside is about the server's momentum, so there must be one: {name: momentum}"
        if self.inside and self.correction not in ("message", "work"):
            return "inside takes back what it has applied, so correction must be message or work"
        return needs_everyone(selection)

    def initial_state(self, x, run):
        rounds = self.delay // run.local.steps
        zeros = torch.zeros_like(x)[:, None].repeat(1, run.objective.clients, *[1] * (x.dim() - 1))
        state = {
            "x": x,
            "here": x.clone(),
            "coming": x[:, None].repeat(1, rounds, *[1] * (x.dim() - 1)),
            "own": zeros[:, None].repeat(1, rounds + 1, *[1] * x.dim()),
        }
        if self.correction in ("residual", "double"):
            state["kept"] = zeros.clone()
        if self.error_feedback:
            state["e_j"] = zeros.clone()
        if self.inside:
            state |= {OWN + key: value for key, value in run.server.initial(zeros).items()}
        return state

    def round(self, s, run):
        before = replicas(s)
        s = _arrived(s, self._broadcast(s, run))
        w_j = replicas(s)
        steps = self.delay % run.local.steps
        jump = Jump(steps, w_j - before) if steps else None
        G_j = w_j - run.work(before if steps else w_j, jump=jump)
        message = run.compress(G_j + s["e_j"] if self.error_feedback else G_j)
        m_j = run.up(message)
        average = run.weighted_mean(m_j) if self.weighted else run.mean(m_j)
        if self.error_feedback:
            s["e_j"] = s["e_j"] + G_j - m_j
        return self._sent(s, run, G_j, m_j) | {"x": run.descend(s["x"], run.step * average)}

    def models(self, s):
        return {"replicas": replicas(s), "settled": replicas(s | {"own": s["own"][:, :0]})}

    def _broadcast(self, s, run):
        """What clients will hold once the server's model has come."""
        if isinstance(run.network.downlink, Identity):
            return run.down(s["x"])
        last = torch.cat([s["here"][:, None], s["coming"]], dim=1)[:, -1]
        return last + run.down(run.compress_down(s["x"] - last))

    def _sent(self, s, run, G_j, m_j):
        """The state with this round's own part on the way."""
        step = run.step[:, None]
        own = step * {"message": m_j, "stale": 0 * m_j, "double": 0 * m_j, "residual": m_j}.get(
            self.correction, G_j
        )
        if self.correction in ("residual", "double"):
            s["kept"] = s["kept"] + step * G_j - own
        if self.inside:
            memory = {k.removeprefix(OWN): v for k, v in s.items() if k.startswith(OWN)}
            own = -run.server.descend(torch.zeros_like(own), own, step, memory)
            s |= {OWN + key: value for key, value in memory.items()}
        s["own"] = torch.cat([s["own"], own[:, None]], dim=1)
        return s


OWN = "own momentum."


def replicas(s) -> torch.Tensor:
    """What clients hold, w_j: (lanes, clients, *shape)."""
    w_j = s["here"][:, None].expand(-1, s["own"].shape[2], *s["here"].shape[1:])
    if "kept" in s:
        w_j = w_j - s["kept"]
    for number in range(s["own"].shape[1]):
        w_j = w_j - s["own"][:, number]
    return w_j


def _arrived(s, x):
    """The state, in which x sets out and the oldest model on the way is here: own work in it is taken back."""
    coming = torch.cat([s["coming"], x[:, None]], dim=1)
    here, coming = coming[:, 0].contiguous(), coming[:, 1:].contiguous()
    return s | {"here": here, "coming": coming, "own": s["own"][:, 1:]}
