"""PowerSGD as the optimiser of its paper (Vogels, Karimireddy, Jaggi 2019, arXiv 1905.13727, Algorithms 1 and 2).

The compressor of that name is its operator for one client; here the mean over the clients stands inside the operator.
"""

from __future__ import annotations

import functools
from math import prod
from typing import Annotated, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field

from fewbits import rng
from fewbits.algorithms.base import Algorithm, needs_everyone
from fewbits.compressors import reshaping
from fewbits.compressors.factorise import product, transposed
from fewbits.federation.objective import Layer
from fewbits.lazy import torch
from fewbits.registry import plugin

STREAM = rng.stream("powersgd")


class Block(NamedTuple):
    """A layer: where its numbers are, the sides of its matrix and the rank; rank 0: it is sent whole."""

    place: slice
    m: int
    n: int
    rank: int


@plugin
class PowerSGD(Algorithm):
    """Error feedback, one power iteration on the mean of the clients' matrices, and momentum behind it.

        D_i     = grad f_i(x^t) + e_i^t                            client i; M_i: its matrix, layer by layer
        P_i     = M_i Q^t                                          client i, sent
        P       = orthonormal basis of (1/n) sum_i P_i             server, broadcast
        Q_i     = M_i' P                                           client i, sent
        Q^{t+1} = (1/n) sum_i Q_i                                  server, broadcast
        D       = P (Q^{t+1})'                                     every client
        e_i^{t+1} = D_i - D                                        client i
        m^{t+1} = momentum m^t + D                                 every client
        x^{t+1} = x^t - gamma (D + m^{t+1})                        every client, e_i^0 = m^0 = 0

    The broadcasts are the second half of an all-reduce and are counted as downlink; x^0 goes down once. As printed, without
    momentum a step is one of 2 gamma. Which e_i a client keeps, D_i - D (the published code) or D_i - P Q_i' (Algorithm 2 taken
    word for word), does not matter: only their mean is ever used, and it is the same. Nor does a step tell n
    clients from one that holds their mean gradient (the paper's linearity).

    Q^0 is normal, from a shared seed (warm start: then Q^t). A matrix is the layer's first side times the others; layers that are vectors,
    and those whose factors are not shorter, go whole with P and leave no error. A model that is one vector is folded into a near-square
    matrix (compressors/reshaping.py), for want of a matrix: nothing makes it of low rank. wire: float format of all that is sent.
    There is no theory of its step.

    Two ablations of the paper: `keeps_error` false, e_i = 0 always; `warm_start` false, Q^t is drawn anew in every round.
    """

    name: ClassVar[str] = "powersgd"
    sends: ClassVar[str] = "own"
    cite: ClassVar[str] = "vogels2019powersgd"
    label: ClassVar[str] = "PowerSGD"

    rank: Annotated[int, Field(ge=1)] = 1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    wire: Literal["float32", "float64"] = "float32"
    keeps_error: bool = True
    warm_start: bool = True

    @classmethod
    def examples(cls):
        ablated = {"keeps_error": False, "warm_start": False}
        return [{}, {"algorithm": {"rank": 2, "momentum": 0.0}}, {"algorithm": ablated}]

    def check(self, selection) -> str | None:
        """Why this cannot be used with that selection of clients, or None."""
        return needs_everyone(selection)

    def initial_state(self, x, run):
        e_i = torch.zeros_like(run.gradients(run.down(x)))
        return {"x": x, "e_i": e_i, "m": torch.zeros_like(x), "q": self._drawn(x, run)}

    def round(self, s, run):
        D_i = run.updates(s["x"]) + s["e_i"]
        start = s["q"] if self.warm_start else self._drawn(s["x"], run)
        D, q = self._reduce(D_i.flatten(2), start, run)
        D = D.reshape(s["x"].shape)
        m = self.momentum * s["m"] + D
        x = run.descend(s["x"], run.step * (D + m))
        e_i = D_i - D[:, None] if self.keeps_error else s["e_i"]
        return {"x": x, "e_i": e_i, "m": m, "q": q}

    def _drawn(self, x, run):
        """Q of all layers one behind the other, (lanes, k), from the round's shared seed."""
        factors = sum(b.n * b.rank for b in blocks(run.objective.layers, self.rank))
        q = rng.normals(rng.fold(run.keys, STREAM), factors)
        return torch.from_numpy(q).to(x.dtype)

    def _reduce(self, D_i, q, run):
        """D (lanes, d) and the next Q from what the clients hold (lanes, clients, d)."""
        lanes, clients, _ = D_i.shape
        layers = blocks(run.objective.layers, self.rank)
        low, whole = [b for b in layers if b.rank], [b for b in layers if not b.rank]
        Q = _split(q, [(b.n, b.rank) for b in low])
        M = [_matrices(D_i[..., b.place], b) for b in low]

        P_i = [product(a, np.repeat(w, clients, axis=0)) for a, w in zip(M, Q, strict=True)]
        first = _joined(P_i, lanes, clients, D_i.dtype)
        first = self._all_reduce(torch.cat([first, *(D_i[..., b.place] for b in whole)], -1), run)
        means = _split(first, [(b.m, b.rank) for b in low] + [(b.m, b.n) for b in whole])
        P = [np.linalg.qr(p.astype(np.float64))[0].astype(p.dtype) for p in means[: len(low)]]

        Q_i = [
            product(transposed(a), np.repeat(p, clients, axis=0)) for a, p in zip(M, P, strict=True)
        ]
        q = self._all_reduce(_joined(Q_i, lanes, clients, D_i.dtype), run)
        Q = _split(q, [(b.n, b.rank) for b in low])

        D = torch.empty_like(D_i[:, 0])
        for b, p, w in zip(low, P, Q, strict=True):
            value = torch.from_numpy(product(p, np.ascontiguousarray(transposed(w))))
            D[:, b.place] = value.flatten(1)[:, : b.place.stop - b.place.start].to(D.dtype)
        for b, value in zip(whole, means[len(low) :], strict=True):
            D[:, b.place] = torch.from_numpy(value).flatten(1)
        return D, q

    def _all_reduce(self, x, run):
        """The mean of what the clients hold (lanes, clients, k), as all receive it."""
        if not x.shape[-1]:
            return x[:, 0]
        mean = run.mean(run.up(run.as_it_is(x, self.wire)))
        return run.down(run.network.uncompressed(mean, self.wire, tuple(x.shape[2:])))


@functools.cache
def blocks(layers: tuple[Layer, ...], rank: int) -> tuple[Block, ...]:
    """What is done with each layer of a flat vector."""
    out, start = [], 0
    for layer in layers:
        d = prod(layer.shape)
        vector = max((*layer.shape, 1)) == d
        sides = (d,) if vector and len(layers) > 1 else reshaping.sides(layer.shape, "matrix")
        m, n = sides[0], prod(sides[1:])
        r = min(rank, m, n)
        place = slice(start, start + d)
        out.append(Block(place, m, n, r) if r * (m + n) < d else Block(place, d, 1, 0))
        start += d
    return tuple(out)


def _matrices(x, b: Block) -> np.ndarray:
    """(lanes, clients, d) -> (lanes * clients, m, n), with zeros behind the last entry."""
    return reshaping.fold(x.reshape(-1, x.shape[-1]).numpy(), (b.m, b.n))


def _joined(parts: list[np.ndarray], lanes: int, clients: int, dtype):
    """Factors (lanes * clients, ., r) one behind the other: (lanes, clients, k)."""
    flat = [torch.from_numpy(p).reshape(lanes, clients, -1).to(dtype) for p in parts]
    return torch.cat([torch.empty(lanes, clients, 0, dtype=dtype), *flat], -1)


def _split(x, shapes: list[tuple[int, int]]) -> list[np.ndarray]:
    """(lanes, k) -> arrays (lanes, *shape)."""
    parts = x.split([prod(shape) for shape in shapes], dim=-1) if shapes else ()
    return [
        p.reshape(-1, *shape).contiguous().numpy() for p, shape in zip(parts, shapes, strict=True)
    ]
