"""Gradient descent: every client sends its whole gradient."""

from __future__ import annotations

from typing import ClassVar

from fewbits.algorithms.base import Algorithm
from fewbits.registry import plugin


@plugin
class GradientDescent(Algorithm):
    """x^{t+1} = x^t - gamma (1/n) sum_i grad f_i(x^t)."""

    name: ClassVar[str] = "gd"
    sends: ClassVar[str] = "dense"
    averages: ClassVar[bool] = True
    cite: ClassVar[str] = "cauchy1847"
    label: ClassVar[str] = "GD"

    def round(self, s, run):
        x = run.down(s["x"])
        G_i = run.up(run.compress(run.updates(x)))
        return {"x": run.descend(s["x"], run.step * run.mean(G_i))}

    def step_size(self, rule, theory):
        return 1 / theory.smoothness.L
