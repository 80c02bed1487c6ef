"""One gradient at the received model: of all of a client's rows, or of a sample of them."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from fewbits.federation import sampling
from fewbits.federation.local.base import Local, Work, rows_of_a_step
from fewbits.registry import plugin


@plugin
class Gradient(Local):
    """The update is grad f_i(x), or with `batch` the gradient on so many rows, drawn anew every round
    without replacement within the batch (all rows where the client has no more than that)."""

    name: ClassVar[str] = "gradient"
    label: ClassVar[str] = "one gradient"
    exact: ClassVar[bool] = True

    batch: Annotated[int, Field(ge=1)] | None = None

    def updates(
        self, objective, x, cohort, keys, round=1, correction=None, statistics=None, held=None
    ):
        rows = None
        if self.batch is not None:
            who = sampling.everyone(x, objective) if cohort is None else cohort
            rows = sampling.batches(keys, who, objective.sizes, self.batch)
        found = objective.gradients(x, cohort, rows, statistics)
        return found if correction is None else found + correction

    def work(self, sizes, round=1):
        rows = rows_of_a_step(sizes, self.batch)
        return Work(np.ones_like(rows), rows)

    def travel(self, sizes, round):
        return np.ones(sizes.shape)
