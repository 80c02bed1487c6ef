"""The mean of random vectors, estimated from messages (Suresh, Yu, Kumar, McMahan 2017, arXiv 1611.00429)."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from fewbits import rng
from fewbits.algorithms.base import Algorithm
from fewbits.lazy import torch
from fewbits.registry import plugin

VECTORS = rng.stream("vectors whose mean is estimated")
NONZERO = 32  # of a sparse vector


@plugin
class MeanEstimation(Algorithm):
    """No method but a measurement of C where nothing is trained: each client holds a vector v_i of the model's size.

        m_i^t   = C(v_i)                                           client i, sent; fresh randomness in every round
        x^{t+1} = x^t

    Recorded are relative squared errors, of one message, of the server's mean, and of a client's mean over rounds:

        error_one    mean_i |m_i^t - v_i|^2 / |v_i|^2              vNMSE
        error_mean   |mean_i m_i^t - mean_i v_i|^2 / mean_i |v_i|^2
        error_drawn  mean_i |(1/t) sum_{s <= t} m_i^s - v_i|^2 / |v_i|^2     falls as 1/t if C is unbiased

    law: entries of v_i are standard normal (gauss), their exponentials (lognormal), or normal in 32 random places and else
    zero (sparse). same: all clients hold the first one's vector.
    """

    name: ClassVar[str] = "mean_estimation"
    shows: ClassVar[tuple[str, ...]] = ("error_one", "error_mean", "error_drawn")
    cite: ClassVar[str] = "suresh2017"
    label: ClassVar[str] = "Mean estimation"

    law: Literal["gauss", "lognormal", "sparse"] = "gauss"
    same: bool = False

    @classmethod
    def examples(cls):
        return []  # it does not descend

    def check(self, selection, server) -> str | None:
        """Why this cannot be used with these slots, or None."""
        if selection is not None or server is not None:
            return "everyone takes part and nothing moves, so leave selection and server out"
        return None

    def initial_state(self, x, run):
        v = self._vectors(run, x[0].numel()).to(x.dtype)
        nothing = torch.zeros(len(x), dtype=torch.float64)
        held = {"v_i": v.reshape(*v.shape[:2], *x.shape[1:])}
        held["sum"] = torch.zeros_like(held["v_i"])
        return {"x": x, **held, **dict.fromkeys(self.shows, nothing)}

    def round(self, s, run):
        v, m = s["v_i"], run.up(run.compress(s["v_i"]))
        total = s["sum"] + m
        length = _square(v)
        server = _square((m - v).mean(dim=1, keepdim=True))[:, 0]
        return {
            "x": s["x"], "v_i": v, "sum": total,
            "error_one": (_square(m - v) / length).mean(dim=1),
            "error_mean": server / length.mean(dim=1),
            "error_drawn": (_square(total / run.number - v) / length).mean(dim=1),
        }  # fmt: skip

    def _vectors(self, run, d: int):
        """(lanes, clients, d) float64"""
        who = (
            np.zeros(run.objective.clients, int) if self.same else np.arange(run.objective.clients)
        )
        keys = rng.fold(rng.fold(run.keys, VECTORS)[:, None], who)
        v = torch.from_numpy(rng.normals(keys, d))
        if self.law == "lognormal":
            return v.exp()
        if self.law == "sparse":
            order = torch.from_numpy(np.argsort(rng.integers(rng.fold(keys, 1), d), axis=-1))
            return v.scatter(2, order[..., min(NONZERO, d) :], 0.0)
        return v


def _square(x):
    """|x_i|^2 of every client's tensor, summed in double precision: (lanes, clients)."""
    return x.double().square().flatten(2).sum(dim=-1)
