"""The terms of some clients' objectives in one round, as the derivative that local steps add."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable

import numpy as np

from fewbits import registry
from fewbits.federation.local.terms.base import Seen, Term
from fewbits.lazy import torch


@functools.cache
def _made(blocks: str) -> tuple[Term, ...]:
    items = json.loads(blocks).items()
    return tuple(registry.make("term", {"name": name, **given}) for name, given in items)


def made(blocks: dict[str, dict]) -> tuple[Term, ...]:
    """The terms that `{name: parameters}` asks for. Raises UnknownPlugin or pydantic.ValidationError."""
    return _made(json.dumps(blocks))


def misfit(blocks: dict[str, dict], model, sequence: bool, batch: int | None) -> str | None:
    """Why these terms cannot be used with the model, in batches of so many rows, or None."""
    if not blocks:
        return None
    if model is not None and model.linear:
        return "terms: only networks have representations"
    reasons = [model and model.without_representations(sequence)]
    reasons += [term.misfit(batch) for term in made(blocks)]
    return next((f"terms: {reason}" for reason in reasons if reason), None)


class Pull:
    """What the terms of a client's objective add to the derivative by the representations of its rows.

    who (m,): the clients; anchors: by name, a model for each of them (m, D), and its running statistics (m, S) or None.
    Their representations are taken once, of all the clients' rows, for all local steps.
    """

    def __init__(self, terms: tuple[Term, ...], objective, who: np.ndarray, anchors: dict) -> None:
        self.terms = terms
        wanted = {name for term in terms for name in term.anchors}
        self.by = {name: objective.representations(who, *anchors[name]) for name in sorted(wanted)}

    def on(self, places: np.ndarray, weights: np.ndarray) -> Callable:
        """For batches of the first of these clients: `slope(part, z)`, where z (k, B, C) are representations of the
        clients `part` (a slice), gives the derivative by z. places, weights (m, B) as of `sampling.Rows`; z may leave out the
        last rows, which only fill up."""
        rows, weight = torch.from_numpy(places), torch.from_numpy(weights)

        def slope(part: slice, z: torch.Tensor) -> torch.Tensor:
            def anchor(name: str) -> torch.Tensor:
                index = rows[part, : z.shape[1]].to(z.device).unsqueeze(-1).expand(z.shape)
                return self.by[name][: len(rows)][part].gather(1, index)

            seen = Seen(z, weight[part, : z.shape[1]].to(z.device, z.dtype), anchor)
            return sum(term.value_and_slope(seen)[1] for term in self.terms)

        return slope
