"""LBGM, look-back gradient multiplier (Azam, Hosseinalipour, Qiu, Brinton 2022, ICLR, arXiv 2202.00280, Algorithm 1)."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from fewbits.algorithms.base import Algorithm
from fewbits.federation.network import choose
from fewbits.lazy import torch
from fewbits.registry import plugin


@plugin
class LBGM(Algorithm):
    """A client whose update points where its last whole one did sends a number: how far.

        g_i     = local update at x^t                                  client i of the cohort
        rho_i   = <g_i, l_i> / |l_i|^2
        if 1 - <g_i, l_i>^2 / (|g_i|^2 |l_i|^2) <= threshold:  sends rho_i, which stands for rho_i l_i
        else:                                                  sends g_i
        l_i     = what arrived: only its direction counts              both sides
        x^{t+1} = x^t - step (weighted mean of what arrived)           server

    l_i = 0 at the start. The published code of lp-proj divides by |l_i| where the square belongs.
    """

    name: ClassVar[str] = "lbgm"
    sends: ClassVar[str] = "own"
    averages: ClassVar[bool] = True
    cite: ClassVar[str] = "azam2022lbgm"
    label: ClassVar[str] = "LBGM"

    threshold: Annotated[float, Field(ge=0, le=1)] = 0.2

    @classmethod
    def examples(cls):
        return [
            {"algorithm": {"threshold": 0.0}}
        ]  # messages of one length, as the tests of all methods want

    def initial_state(self, x, run):
        held = torch.zeros(len(x), run.objective.clients, *x.shape[1:], dtype=x.dtype)
        return {"x": x, "l_i": held}

    def round(self, s, run):
        x, l_i = run.down(s["x"]), run.own(s["l_i"])
        g_i = run.updates(x)
        along, length = _inner(g_i, l_i), _inner(l_i, l_i)
        rho = torch.where(length > 0, along / length.where(length > 0, 1), 0)
        least = (1 - self.threshold) * _inner(g_i, g_i) * length
        near = (length > 0) & (along * along >= least)
        number, whole = run.as_it_is(rho[..., None]), run.as_it_is(g_i)
        sent = run.up(choose(near, number.times(l_i), whole))
        return {
            "x": run.descend(s["x"], run.step * run.weighted_mean(sent)),
            "l_i": run.keep(s["l_i"], sent),
        }


def _inner(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """(lanes, cohort)"""
    return (a * b).sum(dim=-1)
