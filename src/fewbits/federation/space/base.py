"""What an update space is: a random linear subspace for the change that a client makes to the model ("structured
updates", Konecny et al. 2016, arXiv 1610.05492, section 2).

Client i's update is x - y = E_i u. It trains u and nothing else, and sends u beside the 32-bit seed from which the server
draws E_i again. E_i is drawn anew for every client and round. Layers that a space does not restrict are in u as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar, Protocol

import numpy as np

from fewbits import rng
from fewbits.compressors.base import size
from fewbits.federation.local.terms.pull import made
from fewbits.federation.objective import Layer
from fewbits.lazy import torch


class Map(Protocol):
    """E of one layer for m clients, each with its own: n numbers of u to the N of the layer."""

    def spread(self, u: torch.Tensor) -> torch.Tensor:
        """E u: (m, n) -> (m, N)"""

    def gather(self, g: torch.Tensor) -> torch.Tensor:
        """E' g: (m, N) -> (m, n)"""

    def solve(self, v: torch.Tensor) -> torch.Tensor:
        """The u with the least |E u - v|: (m, N) -> (m, n)"""

    def of(self, rows: np.ndarray | slice) -> Map:
        """That of some of the clients."""


class Space:
    """A subclass says which layers it restricts, to how many numbers, and draws their maps."""

    name: ClassVar[str]
    label: ClassVar[str]
    projects: ClassVar[bool] = False  # E'E = I: a step of u is the projection of the step

    def inside(self, shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """The shape of u for a layer of `shape`; None: the layer is whole in u."""
        raise NotImplementedError

    def draw(self, keys: np.ndarray, shape: tuple[int, ...], dtype) -> Map:
        """E of a layer that is restricted, from a key for each client, (m,) uint64."""
        raise NotImplementedError

    def inner(self, layers: Sequence[Layer]) -> tuple[Layer, ...]:
        """The layers of u."""
        return tuple(Layer(name, self.inside(shape) or shape) for name, shape in layers)


class Frames:
    """The maps of a space on a model of these layers. The last that were drawn are remembered: local work and its messages
    ask for the same."""

    def __init__(self, space: Space, layers: Sequence[Layer]) -> None:
        self.space, self.outer, self.inner = space, tuple(layers), space.inner(layers)
        self.size = sum(size(layer.shape) for layer in self.inner)
        self._last: tuple = (None, None)

    def of(self, seeds: np.ndarray, dtype) -> Frame:
        """E of the clients with these seeds, uint64 below 2^32, in C order."""
        name = seeds.tobytes(), dtype
        if self._last[0] != name:
            self._last = name, self._draw(seeds.reshape(-1), dtype)
        return self._last[1]

    def _draw(self, seeds: np.ndarray, dtype) -> Frame:
        maps = [
            self.space.draw(rng.fold(seeds, number), layer.shape, dtype)
            if self.space.inside(layer.shape)
            else None
            for number, layer in enumerate(self.outer)
        ]
        return Frame(self.outer, self.inner, maps)


class Frame:
    """E of m clients on flat vectors: n numbers of u to D of the model. A map None: the layer is whole."""

    def __init__(self, outer: Sequence[Layer], inner: Sequence[Layer], maps: list) -> None:
        self.outer, self.inner, self.maps = outer, inner, maps

    def spread(self, u: torch.Tensor) -> torch.Tensor:
        """E u: (m, n) -> (m, D)"""
        return self._each("spread", u, self.inner)

    def gather(self, g: torch.Tensor) -> torch.Tensor:
        """E' g: (m, D) -> (m, n)"""
        return self._each("gather", g, self.outer)

    def solve(self, v: torch.Tensor) -> torch.Tensor:
        """u of the nearest point to v that has one: (m, D) -> (m, n)"""
        return self._each("solve", v, self.outer)

    def of(self, rows: np.ndarray | slice) -> Frame:
        """That of some of the clients."""
        return Frame(self.outer, self.inner, [m and m.of(rows) for m in self.maps])

    def _each(self, what: str, x: torch.Tensor, layers: Sequence[Layer]) -> torch.Tensor:
        ends = np.cumsum([0] + [size(layer.shape) for layer in layers]).tolist()
        parts = [
            x[:, low:high] if m is None else getattr(m, what)(x[:, low:high])
            for m, (low, high) in zip(self.maps, pairwise(ends), strict=True)
        ]
        return torch.cat(parts, dim=1)


def misfit(algorithm, local, sending) -> str | None:
    """Why clients cannot train in a space with these slots, or None."""
    if sending is not None:
        return "all that is trained is sent, so leave sending out"
    if local is None or local.exact:
        return "clients train in it by local work, so give them some, as local: {name: sgd, ...}"
    if algorithm is not None and algorithm.sends in ("own", "nothing"):
        return "the method sends nothing of what local work makes"
    if algorithm is not None and algorithm.personal:
        return "the method's clients have models of their own, which are in no space of a round"
    if any("previous" in term.anchors for term in made(getattr(local, "terms", {}))):
        return "a model that a client keeps from an earlier round is not in the space of this one"
    return None
