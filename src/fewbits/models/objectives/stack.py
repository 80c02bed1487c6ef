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
from fewbits.models.objectives.base import CHUNK, TOGETHER, Batch, NetworkObjective
from fewbits.models.objectives.dense import activated, before, softmax, tail


def is_stack(model, shape, classes) -> bool:
    """Whether the network is nothing but linear layers with activations between them."""
    features = nets.build(model.net, shape, classes, ("layout",), **model.parameters).features
    if not isinstance(features, nn.Sequential):
        return False
    front = features[: len(features) - tail(features)[0]]
    return [type(module) for module in front] == [nn.Flatten]


class StackObjective(NetworkObjective):
    """a_0 = row; a_l = act(W_l a_{l-1} + b_l); logits = W_L a_{L-1} + b_L; cross-entropy."""

    at_once = TOGETHER
    evaluated = CHUNK

    def __init__(self, model, data, parts, source) -> None:
        super().__init__(model, data, parts, source)
        self.after = tail(self.net.features)[1]
        self.biased = self.net.head.bias is not None

    def together(self, x, batch: Batch, statistics=None):
        weights = self.numbers(batch.weights)
        layers = self._pairs(x)
        clients = [slice(first, last) for first, last in pairwise(batch.bounds.tolist())]

        def each(a, w):
            """a @ w, a client's rows at a time."""
            out = empty((len(a), w.shape[1]), a.dtype, a.device)
            for own in clients:
                torch.mm(a[own], w, out=out[own])
            return out

        a = aligned(self.flat(batch.rows))
        *values, logits = self._values(layers, a, each)
        delta, losses = self._derivative(logits, batch.rows, weights)
        gradients = empty((len(clients), len(x)), x.dtype, x.device)
        for number in reversed(range(len(layers))):
            place, bias = self._places(number)
            for own, out in zip(clients, gradients, strict=True):
                to = out[place].view(delta.shape[1], -1)
                torch.mm(delta[own].T, values[number][own], out=to)
                if bias:
                    torch.sum(delta[own], dim=0, out=out[bias])
            if number:
                back = each(delta, layers[number][0])
                delta = before(back, values[number], self.after[number - 1])
        losses *= weights
        return torch.stack([losses[own].sum() for own in clients]), gradients

    def apart(self, y, rows, weights, statistics=None, slope=None):
        layers = self._pairs(y)
        *values, logits = self._values(layers, aligned(self.flat(rows)), bmm)
        delta = softmax(logits).sub_(self.hot[self.targets(rows)]).mul_(weights.unsqueeze(-1))
        gradients = empty(tuple(y.shape), y.dtype, y.device)
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
                delta = before(delta, values[number], self.after[number - 1])
        return gradients

    def logits(self, x, inputs, statistics=None):
        return self._values(self._pairs(x), inputs.flatten(1))[-1]

    def represent(self, x, inputs, statistics=None):
        return self._values(self._pairs(x), inputs.flatten(1))[-2]

    def logits_apart(self, models, inputs):
        return self._values(self._pairs(aligned(models)), aligned(inputs.flatten(2)), bmm)[-1]

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
        for (w, b), after in zip(layers, [*self.after, None], strict=True):
            z = product(a, w.transpose(-1, -2))
            if b is not None:
                z += b
            a = activated(z, after)
            values.append(a)
        return values

    def _derivative(self, logits, rows, weights):
        """The derivative of the weighted loss by the logits, and each row's loss."""
        wanted = self.targets(rows).unsqueeze(-1)
        log = logits.sub_(logits.logsumexp(dim=-1, keepdim=True))
        losses = -log.gather(-1, wanted).squeeze(-1)
        delta = log.exp_().scatter_add_(-1, wanted, torch.full_like(wanted, -1, dtype=log.dtype))
        return delta.mul_(weights.unsqueeze(-1)), losses
