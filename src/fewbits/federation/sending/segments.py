"""Sparse cyclic sliding segments (QSFL: Yi, Wang, Liu, ICML 2022, PMLR 162:25501): who sends which part of the model."""

from __future__ import annotations

import functools
from math import prod
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from fewbits.federation.objective import Layer
from fewbits.federation.sending.base import Sending
from fewbits.lazy import torch
from fewbits.registry import plugin


@plugin
class Segments(Sending):
    """The model as one vector is cut into `count` segments; client k = 1, 2, .. sends number (k + t) mod count in
    round t = 0, 1, ..

    So in `count` rounds a client walks through the whole model, and neighbours send different parts. What is kept of the
    segment is the compressor's business (the paper's: `top_share`). Where `count` does not divide the model, lengths differ by
    one and short segments end in a zero that is sent along; the published code rounds the length and loses the tail.
    """

    name: ClassVar[str] = "segments"
    label: ClassVar[str] = "segments"
    whole: ClassVar[bool] = False

    count: Annotated[int, Field(ge=1)]

    def check(self, algorithm: Any, features: int | None) -> str | None:
        """Why this cannot be used with these, or None."""
        if features is not None and self.count > features:
            return f"count = {self.count} is more than the {features} numbers of the model"
        if algorithm.sends in ("own", "nothing"):
            return f"'{algorithm.name}' does not send its update through the compressor"
        if getattr(algorithm, "unbiased", False):
            return (
                f"'{algorithm.name}' rests on unbiased messages, and other segments arrive as zero"
            )
        return None

    def layers(self, layers):
        numbers = sum(prod(layer.shape) for layer in layers)
        return (Layer("segment", (-(-numbers // self.count),)),)

    def take(self, x, who, round):
        flat = x.flatten(2)
        ended = torch.cat([flat, flat.new_zeros(*flat.shape[:2], 1)], dim=-1)
        return ended.gather(-1, self._places(who, round, flat.shape[-1]))

    def put(self, part, who, round, shape):
        d = prod(shape)
        out = part.new_zeros(*part.shape[:2], d + 1)
        out.scatter_(-1, self._places(who, round, d), part)
        return out[..., :d].reshape(*part.shape[:2], *shape)

    def _places(self, who: np.ndarray, round: int, d: int) -> torch.Tensor:
        """Where in the vector each client's segment lies, (lanes, m, length); d: beyond its end."""
        turn = (who + round) % self.count  # (k + t) with k = who + 1 and t = round - 1
        return torch.from_numpy(_segments(self.count, d)[turn])


@functools.lru_cache(maxsize=32)
def _segments(count: int, d: int) -> np.ndarray:
    """The places of every segment: (count, ceil(d / count)) int64, d where a segment is shorter."""
    starts = np.arange(count + 1) * d // count
    places = starts[:-1, None] + np.arange(-(-d // count))
    return np.where(places < starts[1:, None], places, d)
