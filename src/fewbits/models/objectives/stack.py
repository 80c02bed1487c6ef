"""Stacks of linear layers (2NN and other MLPs), differentiated by hand.

Gradients of all clients at one model share the forward pass and everything but the last product; clients with
models of their own are one batched matrix product. Both agree with automatic differentiation to rounding, and are several
times faster than a loop over clients.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from fewbits.aligned import aligned, bmm, empty
from fewbits.models import nets
from fewbits.models.objectives.base import CHUNK, Batch, NetworkObjective
from fewbits.models.objectives.walk import before


def is_stack(model, shape, classes) -> bool:
    """Whether the network is nothing but linear layers with one activation between them."""
    features = nets.build(model.net, shape, classes, ("layout",), **model.parameters).features
    kinds = [type(m) for m in features] if isinstance(features, nn.Sequential) else [None]
    inner = kinds[1:]
    pairs = set(zip(inner[::2], inner[1::2], strict=False))
    return kinds[0] is nn.Flatten and len(inner) % 2 == 0 and pairs in (
        set(), {(nn.Linear, nn.ReLU)}, {(nn.Linear, nn.Tanh)},
    )  # fmt: skip


class StackObjective(NetworkObjective):
    """a_0 = row; a_l = act(W_l a_{l-1} + b_l); logits = W_L a_{L-1} + b_L; cross-entropy."""

    at_once = 64
    evaluated = CHUNK

    def __init__(self, model, data, parts, source) -> None:
        super().__init__(model, data, parts, source)
        activations = [m for m in self.net.features if isinstance(m, nn.ReLU | nn.Tanh)]
        self.biased = self.net.head.bias is not None
        self.tanh = bool(activations) and isinstance(activations[0], nn.Tanh)

    def together(self, x, batch: Batch, statistics=None):
        weights = torch.from_numpy(batch.weights).to(self.dtype)
        layers = self._pairs(x)
        clients = [slice(first, last) for first, last in pairwise(batch.bounds.tolist())]

        def each(a, w):
            """a @ w, a client's rows at a time."""
            out = empty((len(a), w.shape[1]), a.dtype)
            for own in clients:
                torch.mm(a[own], w, out=out[own])
            return out

        a = aligned(self.flat(batch.rows))
        values, delta, losses = self._forward(layers, a, batch.rows, weights, each)
        gradients = empty((len(clients), len(x)), x.dtype)
        for number in reversed(range(len(layers))):
            place, bias = self._places(number)
            for own, out in zip(clients, gradients, strict=True):
                to = out[place].view(delta.shape[1], -1)
                torch.mm(delta[own].T, values[number][own], out=to)
                if bias:
                    torch.sum(delta[own], dim=0, out=out[bias])
            if number:
                delta = self._through(each(delta, layers[number][0]), values[number])
        losses *= weights
        return torch.stack([losses[own].sum() for own in clients]), gradients

    def apart(self, y, rows, weights, statistics=None, slope=None):
        layers = self._pairs(y)
        values, delta, _ = self._forward(layers, aligned(self.flat(rows)), rows, weights, bmm)
        gradients = empty(tuple(y.shape), y.dtype)
        for number in reversed(range(len(layers))):
            place, bias = self._places(number)
            to = gradients[:, place].view(len(y), delta.shape[2], -1)
            to.copy_(bmm(delta.transpose(1, 2), values[number]))
            if bias:
                gradients[:, bias] = delta.sum(dim=1)
            if number:
                delta = bmm(delta, layers[number][0])
                if slope is not None and number == len(layers) - 1:
                    delta += slope(slice(None), values[number])
                delta = self._through(delta, values[number])
        return gradients

    def logits(self, x, inputs, statistics=None):
        return self._values(self._pairs(x), inputs.flatten(1))[-1]

    def represent(self, x, inputs, statistics=None):
        return self._values(self._pairs(x), inputs.flatten(1))[-2]

    def logits_apart(self, models, inputs):
        return self._values(self._pairs(models), inputs.flatten(2))[-1]

    def _places(self, number: int) -> tuple[slice, slice | None]:
        """Where the weights and the biases of a layer are in the flat vector."""
        at = number * (1 + self.biased)
        places = [
            slice(low, high) for low, high in pairwise(self.bounds[at : at + 2 + self.biased])
        ]
        return places[0], places[1] if self.biased else None

    def _pairs(self, x):
        """(W, b) of every layer, b None without biases; with models of their own (m, out, in) and (m, 1, out)."""
        views = self.views(x)
        if not self.biased:
            return [(w, None) for w in views]
        biases = [b.unsqueeze(-2) if x.dim() > 1 else b for b in views[1::2]]
        return list(zip(views[::2], biases, strict=True))

    def _values(self, layers, a, product=torch.matmul):
        """a_0, ..., a_{L-1} and the logits."""
        values = [a]
        for number, (w, b) in enumerate(layers):
            z = product(a, w.transpose(-1, -2))
            if b is not None:
                z += b
            last = number == len(layers) - 1
            a = z if last else z.tanh_() if self.tanh else z.relu_()
            values.append(a)
        return values

    def _forward(self, layers, a, rows, weights, product):
        """Values, the derivative of the weighted loss by the logits, and each row's loss."""
        *values, logits = self._values(layers, a, product)
        wanted = self.targets(rows).unsqueeze(-1)
        log = logits.sub_(logits.logsumexp(dim=-1, keepdim=True))
        losses = -log.gather(-1, wanted).squeeze(-1)
        delta = log.exp_().scatter_add_(-1, wanted, torch.full_like(wanted, -1, dtype=log.dtype))
        return values, delta.mul_(weights.unsqueeze(-1)), losses

    def _through(self, delta, a):
        """Back through the activation that gave `a`."""
        return before(delta, a, self.tanh)
