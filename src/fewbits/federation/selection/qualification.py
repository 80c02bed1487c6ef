"""QSFL's qualification judgement (Yi, Wang, Liu, ICML 2022, PMLR 162:25501): who of those that worked uploads."""

from __future__ import annotations

from math import ceil
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field as Checked

from fewbits.federation.selection.base import Selection
from fewbits.federation.selection.notes import Notes
from fewbits.lazy import torch
from fewbits.registry import plugin

CENTILES = range(0, 101, 10)


@plugin
class Qualification(Selection):
    """All clients work; those with the highest scores upload. Client k, of m, with n_k rows:

        I_k = share of numbers in which a_k and b have the same sign          relevance
        c_k = loss_k / sum_i loss_i                                           contribution: a large loss needs updating most
        q_k = (1 - beta) I_k / sum_i I_i + beta c_k
        k uploads if q_k is at least the (1 - keep) quantile of all q         so m - ceil((m - 1)(1 - keep)) clients do

    a_k is the update that k made and b the last global update, x^{t-1} - x^t, which all clients know (in the first round b is
    zero and the loss alone decides). loss_k is f_k at the model received. Ties: lowest number.

    What the published code does otherwise (the body of the paper could not be read): relevance "weights" has a_k = the model that k
    ends with and b = x^t; without `normalised`, I_k stands in the score as it is; with `per_row`, c_k is of loss_k / n_k. Its
    loss is the mean over local epochs, equal scores at the quantile all pass, and the judgement comes when everybody has uploaded.
    `prefer`: "small" turns the sign of c_k round, to be compared with.

    Three float32 numbers go up from each client, and a bit for each client down to all, in messages with a header; both are
    counted, those that go up as metadata. Recorded: `upload_gini`, the Gini coefficient of the clients' numbers of uploads, and `upload_p0` .. `upload_p100`, the
    share of the rounds in which the client at that percentile uploaded.
    """

    name: ClassVar[str] = "qualification"
    label: ClassVar[str] = "qualification"

    keep: Annotated[float, Checked(gt=0, le=1)]
    beta: Annotated[float, Checked(ge=0, le=1)] = 0.9
    relevance: Literal["update", "weights"] = "update"
    normalised: bool = True
    per_row: bool = False
    prefer: Literal["large", "small"] = "large"

    def check(self, algorithm) -> str | None:
        """Why this cannot be used with that method, or None."""
        if getattr(algorithm, "personal", False):
            return f"judges updates of one model for all, and clients of {algorithm.label} have their own"
        return None

    def cohort(self, keys, clients):
        return None

    def initial(self, x, clients):
        uploads = torch.zeros(len(x), clients, dtype=torch.float64)
        return {"judged_x": x.clone(), "uploads": uploads}

    def judge(self, run, x, updates):
        scores = self.scores(*self._reports(run, x, updates))
        clients = scores.shape[1]
        chosen = np.argsort(-scores, axis=1, kind="stable")[:, : self.count(clients)]
        flags = torch.zeros(len(x), clients, dtype=torch.float64)
        flags.scatter_(1, torch.from_numpy(chosen), 1.0)
        flags = run.network.down(run.network.noted(flags, Notes(flags=True)))
        run.memory["uploads"] = run.memory["uploads"] + flags
        run.memory["judged_x"] = x
        return flags.nonzero()[:, 1].reshape(len(x), -1)

    def count(self, clients: int) -> int:
        """How many of them upload."""
        return clients - ceil((clients - 1) * (1 - self.keep) - 1e-9)

    def scores(self, relevance: np.ndarray, losses: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """q, from what the clients reported, each (lanes, clients)."""
        contribution = _shares(losses / rows if self.per_row else losses)
        if self.prefer == "small":
            contribution = -contribution
        relevance = _shares(relevance) if self.normalised else relevance
        return (1 - self.beta) * relevance + self.beta * contribution

    def _reports(self, run, x, updates) -> np.ndarray:
        """What the server receives: relevance, loss and number of rows, (3, lanes, clients) float64."""
        before = x[:, None]
        if self.relevance == "weights":
            same = torch.sign(before - updates) == torch.sign(before)
        else:
            last = run.memory["judged_x"][:, None] - before
            same = torch.sign(updates) == torch.sign(last)
        same = same.flatten(2)
        held = None if run.statistics is None else run.statistics.held
        losses = run.objective.losses(x, held)
        numbers = same.sum(dim=-1) / same.shape[-1], losses, torch.from_numpy(run.sizes(x))
        report = torch.stack([part.double() for part in numbers], dim=-1)
        return run.network.up(run.network.noted(report, Notes())).movedim(-1, 0).numpy()

    def measure(self, memory):
        uploads = memory["uploads"].sort(dim=1).values
        clients = uploads.shape[1]
        total = uploads.sum(dim=1)
        rounds = (total / self.count(clients)).clamp(min=1)
        ranks = torch.arange(1, clients + 1, dtype=torch.float64)
        spread = (uploads * (2 * ranks - clients - 1)).sum(dim=1) / (clients * total.clamp(min=1))
        places = {p: round(p / 100 * (clients - 1)) for p in CENTILES}
        shares = {f"upload_p{p}": uploads[:, place] / rounds for p, place in places.items()}
        return {"upload_gini": spread, **shares}


def _shares(x: np.ndarray) -> np.ndarray:
    """x over its sum in every lane; zeros where that is zero."""
    total = x.sum(axis=1, keepdims=True)
    return np.divide(x, total, out=np.zeros_like(x), where=total != 0)
