"""Two models trained apart, and their averages (McMahan et al. 2017, arXiv 1602.05629, Figure 1)."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from fewbits.algorithms.base import Algorithm
from fewbits.lazy import torch
from fewbits.registry import plugin


@plugin
class AveragedPair(Algorithm):
    """No method but a measurement: the loss along the line through two models. Its rounds are points of the line.

        y_1, y_2 = what local work of clients 1 and 2 ends in, each on its own rows
        x^0      = (1 - low) y_1 + low y_2
        x^{t+1}  = (1 - theta) y_1 + theta y_2,   theta = low + (t + 1) spacing

    start: "shared", both begin at the run's starting point, or "own", the second begins at another random point. theta is recorded as `mixing`.
    Nothing is sent.
    """

    name: ClassVar[str] = "averaged_pair"
    sends: ClassVar[str] = "nothing"
    shows: ClassVar[tuple[str, ...]] = ("mixing",)
    cite: ClassVar[str] = "mcmahan2017"
    label: ClassVar[str] = "Pair"

    start: Literal["shared", "own"] = "shared"
    low: Annotated[float, Field(allow_inf_nan=False)] = -0.2
    spacing: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.05

    @classmethod
    def examples(cls):
        return []  # it does not descend

    def check(self, partition, selection, server) -> str | None:
        """Why this cannot be used with these slots, or None."""
        if getattr(partition, "clients", 2) < 2:
            return "needs two clients"
        if selection is not None or server is not None:
            return "is of two clients that never meet, so leave selection and server out"
        return None

    def initial_state(self, x, run):
        pair = replace(run, cohort=_pair(x))
        other = x if self.start == "shared" else _another_start(x, run)
        y = [(begin - pair.updates(begin)[:, i]) for i, begin in enumerate((x, other))]
        return self._point(0, torch.stack(y, dim=1))

    def round(self, s, run):
        return self._point(run.number, s["y_i"])

    def model(self, s, evaluation):
        theta = float(s["mixing"][0])  # of all lanes
        y_1, y_2 = evaluation.pooled(s["y_i"], _pair(s["y_i"])).unbind(dim=1)
        return (1 - theta) * y_1 + theta * y_2

    def _point(self, number: int, y_i) -> dict:
        theta = self.low + number * self.spacing
        return {"y_i": y_i, "mixing": torch.full((len(y_i),), theta, dtype=torch.float64)}


def _pair(x) -> torch.Tensor:
    """The two clients, for every lane of x: (lanes, 2)."""
    return torch.tensor([[0, 1]]).expand(len(x), -1)


def _another_start(x, run):
    """A starting point for each lane that is not its own."""
    points = [run.objective.start("the second of a pair", int(key)) for key in run.keys]
    return torch.stack([torch.from_numpy(point) for point in points]).to(x.dtype)
