"""What methods share whose clients have models of their own, theta_i: their start, and how they are measured."""

from __future__ import annotations

from typing import ClassVar

from fewbits.algorithms.base import Algorithm, needs_local_work
from fewbits.federation.local.terms.pull import made
from fewbits.lazy import torch


class Personal(Algorithm):
    """theta_i^0 = x^0 for every client. Clients use theta_i, whatever the server holds."""

    sends: ClassVar[str] = "dense"
    averages: ClassVar[bool] = True
    personal: ClassVar[bool] = True

    LOCAL: ClassVar[dict] = {"name": "sgd", "step": 0.1, "steps": 1}

    @classmethod
    def examples(cls):
        return [{"local": cls.LOCAL}]

    def check(self, local, model) -> str | None:
        """Why this cannot be used with these slots, or None."""
        return self.misfit(local, model)

    @staticmethod
    def misfit(local, model) -> str | None:
        """Why clients cannot have models of their own, or None."""
        if getattr(model, "parameters", {}).get("norm") == "batch":
            return "its clients' running statistics would have to stay with them, so norm: batch does not fit"
        if any(term.anchors for term in made(getattr(local, "terms", {}))):
            return "terms of the local objective that compare with other models do not fit clients with models of their own"
        return needs_local_work(local)

    def initial_state(self, x, run):
        return {"x": x, "theta_i": for_each(x, run.objective.clients).clone()}

    def used(self, s, evaluation):
        return s["theta_i"]


class Serverless(Personal):
    """Those whose server holds no model: what is measured is the mean of the theta_i, which nobody has."""

    def initial_state(self, x, run):
        return {"theta_i": super().initial_state(x, run)["theta_i"]}

    def model(self, s, evaluation):
        return mean_of_all(s, evaluation)


def mean_of_all(s, evaluation) -> torch.Tensor:
    """(1/n) sum_i theta_i of all clients, for records: (lanes, *shape)."""
    theta_i = evaluation.pooled(s["theta_i"])
    return theta_i.contiguous().mean(dim=1)  # of any other layout it would depend on the lanes


def for_each(x: torch.Tensor, clients: int) -> torch.Tensor:
    """The same for each of so many clients: (lanes, ...) -> (lanes, clients, ...), without copies."""
    return x[:, None].expand(len(x), clients, *x.shape[1:])


def unstable(of: str, amount: float) -> str | None:
    """Why a step of gradient descent on a quadratic diverges, whose length times curvature is `amount`, or None."""
    if amount < 2:
        return None
    return f"{of} is {amount:.3g} and must be below 2, else the coupling alone diverges"
