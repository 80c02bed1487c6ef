"""What a term of the local objective is: a function of the representations of a batch, added to a client's loss.

A representation is what goes into a network's last linear layer. A term gives its derivative by that; what lies below is the
network's affair (models/objectives/), so a term works on any network, by hand or by automatic differentiation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, NamedTuple

from fewbits.lazy import torch


class Seen(NamedTuple):
    """What a term is shown of a batch of each of some clients. Rows of weight 0 only fill up.

    z (m, B, C): the representations; weights (m, B): of the rows, they sum to 1; anchor(name): (m, B, C), the same rows'
    representations by another model, `received` (from the server, this round) or `previous` (what the client ended
    with when it last took part, the starting point before that).
    """

    z: torch.Tensor
    weights: torch.Tensor
    anchor: Callable[[str], torch.Tensor] | None = None


class Term:
    """`anchors` are the models whose representations it asks for."""

    name: ClassVar[str]
    label: ClassVar[str]
    cite: ClassVar[str]
    anchors: ClassVar[tuple[str, ...]] = ()

    def value_and_slope(self, seen: Seen) -> tuple[torch.Tensor, torch.Tensor]:
        """The term of every client, its coefficient included, and the derivative by z: (m,), (m, B, C)."""
        raise NotImplementedError

    def misfit(self, batch: int | None) -> str | None:
        """Why it has nothing to work on in batches of so many rows (None: all of a client's), or None."""
        return None
