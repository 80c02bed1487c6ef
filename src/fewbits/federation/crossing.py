"""Networks on another device: what crosses to it, and back.

Only f and local work go there. The method, the messages and all that is random stay on the processor, so streams, bits and files
are the same as without it, and numbers agree to rounding.
"""

from __future__ import annotations

from contextlib import contextmanager

from fewbits.federation.local.base import Local
from fewbits.federation.objective import Objective
from fewbits.federation.wrapped import Wrapped, WrappedLocal
from fewbits.lazy import torch


class There(Wrapped):
    """An objective whose tensors come from the processor and go back there; what is not of tensors is its own."""

    def __init__(self, objective: Objective, device: str) -> None:
        super().__init__(objective)
        self.device = device
        self.own_tests = objective.own_tests and self._own_tests
        self._last = self._point = None

    def point(self, x: torch.Tensor) -> torch.Tensor:
        """x there; of the same x the same tensor, whose gradients the objective may remember."""
        if x is not self._last:
            self._last, self._point = x, x.to(self.device)
        return self._point

    def gradients(self, x, cohort=None, rows=None, statistics=None):
        with crossing(self.device, statistics) as (moved, _):
            return self.inner.gradients(self.point(x), cohort, rows, moved).cpu()

    def client_gradients(self, y, who, positions, weights, statistics=None, slope=None):
        with crossing(self.device, statistics) as (moved, _):
            of = who, positions, weights, moved, slope
            return self.inner.client_gradients(y.to(self.device), *of).cpu()

    def losses(self, x, statistics=None):
        with crossing(self.device, statistics) as (moved, _):
            return self.inner.losses(self.point(x), moved).cpu()

    def measure(self, x, statistics=None):
        with crossing(self.device, statistics) as (moved, _):
            found = self.inner.measure(self.point(x), moved)
        return {name: value.cpu() for name, value in found.items()}

    def representations(self, who, x, statistics=None):
        with crossing(self.device, statistics) as (moved, _):
            return self.inner.representations(who, x.to(self.device), moved).cpu()

    def test_representations(self, x, statistics=None):
        with crossing(self.device, statistics) as (moved, _):
            return self.inner.test_representations(x.to(self.device), moved).cpu()

    def _own_tests(self, models, who=None):
        return self.inner.own_tests(models.to(self.device), who).cpu()


class WorkThere(WrappedLocal):
    """Local work from beginning to end on the device, so that models cross once a round.

    A coupling is the method's, which stays on the processor: with one, clients' models cross at every step.
    """

    def __init__(self, inner: Local, objective: There) -> None:
        super().__init__(inner)
        self.there = objective

    def updates(
        self, objective, x, cohort, keys, round=1, correction=None, statistics=None, held=None
    ):
        there, device = self.there, self.there.device
        extra = None if correction is None else correction.to(device)
        with crossing(device, statistics, held) as moved:
            of = there.point(x), cohort, keys, round, extra
            return self.inner.updates(there.inner, *of, *moved).cpu()

    def solve(
        self, objective, start, who, keys, round=1, coupling=None, statistics=None, held=None, jump=None
    ):  # fmt: skip
        there, device = self.there, self.there.device
        pull = coupling and (lambda y, at: coupling(y.cpu(), at).to(device))
        leap = jump and jump._replace(by=jump.by.to(device))
        with crossing(device, statistics, held) as moved:
            of = start.to(device), who, keys, round, pull
            return self.inner.solve(there.inner, *of, *moved, leap).cpu()


@contextmanager
def crossing(device: str, statistics=None, held=None):
    """What a call changes in place, as it is there, and brought back after it: statistics (or None), and `held` by name."""
    moved = None if statistics is None else statistics.to(device)
    kept = None if held is None else {name: value.to(device) for name, value in held.items()}
    yield moved, kept
    if statistics is not None:
        statistics.copy_(moved)
    for name, value in (kept or {}).items():
        held[name] = value.cpu()
