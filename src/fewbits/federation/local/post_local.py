"""Post-local SGD: synchronous at first, local later (Lin, Stich, Patel, Jaggi 2020, arXiv 1808.07217, section 2)."""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar

from pydantic import Field

from fewbits.federation.local.base import Local
from fewbits.federation.local.sgd import LocalSGD
from fewbits.registry import plugin


@plugin
class PostLocalSGD(Local):
    """Local SGD that takes one step a round in the first `start` rounds, `steps` a round from then on.

    Everyone averages after every round, so the first part is synchronous SGD. Other parameters are those of local SGD.
    """

    name: ClassVar[str] = "post_local"
    label: ClassVar[str] = "post-local SGD"

    start: Annotated[int, Field(ge=0)]
    step: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    steps: Annotated[int, Field(ge=1)]
    batch: Annotated[int, Field(ge=1)] | None = None
    decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0

    def updates(self, objective, x, cohort, keys, round=1, *more):
        return self._phase(round).updates(objective, x, cohort, keys, round, *more)

    def solve(self, objective, start, who, keys, round=1, *more, jump=None):
        return self._phase(round).solve(objective, start, who, keys, round, *more, jump=jump)

    def work(self, sizes, round=1):
        return self._phase(round).work(sizes, round)

    def travel(self, sizes, round):
        return self._phase(round).travel(sizes, round)

    def _phase(self, round: int) -> LocalSGD:
        """What it is in that round."""
        given = dataclasses.asdict(self)
        if round <= given.pop("start"):
            given["steps"] = 1
        return LocalSGD(**given)
