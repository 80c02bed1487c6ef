"""What lp-proj-1 and lp-proj-2 share: the projector, the reference w in its range, and how a round goes."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as pydantic_dataclass

from fewbits import rng
from fewbits.algorithms.base import needs_plain_server
from fewbits.algorithms.personal import Serverless, for_each
from fewbits.lazy import torch
from fewbits.projectors import PROJECTORS
from fewbits.projectors.base import Projector, count

PROJECTOR = rng.stream("projector")
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@pydantic_dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Projected(Serverless):
    """Fields of both methods.

    ratio: k/d, at least one number. projector: dense, sparse_sign or srht (projectors/), from a seed that all share. strength: lambda.
    reference_step: eta_l. repeats: R. start: w^0 = P x^0 (`projected`), or 0 as in the published code (`zero`).
    """

    sends: ClassVar[str] = "own"

    ratio: Annotated[float, Field(gt=0, le=1)] = 0.01
    strength: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 15.0
    reference_step: Positive = 0.1
    repeats: Annotated[int, Field(ge=1)] = 1
    projector: Literal[*PROJECTORS] = "sparse_sign"
    start: Literal["projected", "zero"] = "projected"

    @classmethod
    def examples(cls):
        small = {"strength": 0.5, "reference_step": 0.5, "ratio": 0.3, "projector": "dense"}
        return [{"local": cls.LOCAL, "algorithm": small}]

    def check(self, local, model, server) -> str | None:
        """Why this cannot be used with these slots, or None."""
        return self.misfit(local, model) or needs_plain_server(server) or self.bound(local)

    def bound(self, local) -> str | None:
        """Why steps of this length diverge, or None."""
        return None

    def initial_state(self, x, run):
        w = self.project(x[:, None], self.projectors(x, run))[:, 0]
        return super().initial_state(x, run) | {"w": w if self.start == "projected" else 0 * w}

    def round(self, s, run):
        theta_i, P = run.own(s["theta_i"]), self.projectors(s["theta_i"], run)
        w = run.down(s["w"])
        w_i = for_each(w, theta_i.shape[1])
        for call in range(self.repeats):
            theta_i = run.work(theta_i, self.coupling(w_i, P), call)
            c = w_i - self.project(theta_i, P)
            w_i = w_i - self.reference_step * self.strength * self.slope(c)
        sent = run.up(run.as_it_is(w[:, None] - w_i))
        return {
            "theta_i": run.keep(s["theta_i"], theta_i),
            "w": s["w"] - run.step * run.mean(sent),
        }

    def slope(self, c: torch.Tensor) -> torch.Tensor:
        """The derivative psi of R."""
        raise NotImplementedError

    def coupling(self, w_i: torch.Tensor, P: list[Projector]):
        """What the coupling adds to gradients: -lambda P^T psi(w_i - P theta_i)."""

        def added(theta, at):
            c = w_i[at] - P[at[0]].forward(theta)
            return -self.strength * P[at[0]].adjoint(self.slope(c))

        return added

    def project(self, theta: torch.Tensor, P: list[Projector]) -> torch.Tensor:
        """P theta of every lane, from memory of its own: (lanes, m, d) -> (lanes, m, k)."""
        return torch.stack([p.forward(own.clone()) for p, own in zip(P, theta, strict=True)])

    def projectors(self, x: torch.Tensor, run) -> list[Projector]:
        """The P of every lane, of models like x (lanes, ..., d): the run's seed says it all."""
        kind, d = PROJECTORS[self.projector], x.shape[-1]
        seeds = rng.fold(run.lanes, PROJECTOR).tolist()
        return [kind.of(seed, count(self.ratio, d), d, x.dtype) for seed in seeds]
