"""Any network, by automatic differentiation, a client after the other."""

from __future__ import annotations

import functools

import torch
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from fewbits.models.objectives.base import CHUNK, TOGETHER, Batch, NetworkObjective


class AutogradObjective(NetworkObjective):
    """The general form."""

    def __init__(self, model, data, parts, source) -> None:
        super().__init__(model, data, parts, source)
        if self.walk is not None and self.walk.together:
            self.at_once = TOGETHER

    def together(self, x, batch: Batch, statistics=None):
        weights = self.numbers(batch.weights)
        losses, gradients = (
            x.new_zeros(len(batch.bounds) - 1),
            x.new_zeros(len(batch.bounds) - 1, len(x)),
        )
        for i in range(len(losses)):
            for first in range(batch.bounds[i], batch.bounds[i + 1], CHUNK):
                part = slice(first, min(first + CHUNK, batch.bounds[i + 1]))
                own = None if statistics is None else statistics[i]
                loss, gradient = self._backward(x, batch.rows[part], weights[part], own)
                losses[i] += loss
                gradients[i] += gradient
        return losses, gradients

    def apart(self, y, rows, weights, statistics=None, slope=None):
        used = (
            (weights > 0).cpu().numpy()
        )  # rows that only fill up would count in batch normalisation
        found = []
        for i, point in enumerate(y):
            held = None if statistics is None else statistics[i]
            own = slope and functools.partial(slope, slice(i, i + 1))
            batch = rows[i][used[i]], weights[i][used[i]]
            found.append(self._backward(point.clone(), *batch, held, own)[1])
        return torch.stack(found)

    @torch.no_grad()
    def logits(self, x, inputs, statistics=None):
        return self._forward(self.views(x), inputs, statistics)[0]

    @torch.no_grad()
    def represent(self, x, inputs, statistics=None):
        return self._forward(self.views(x), inputs, statistics)[1]

    def _forward(self, parameters, inputs, statistics=None):
        """Logits and representations; what batch normalisation keeps is moved in place where the network trains."""
        named = {layer.name: value for layer, value in zip(self.layers, parameters, strict=True)}
        if statistics is not None:
            named |= self.running(statistics)
        return functional_call(self.net, named, (inputs, True))

    def _backward(self, x, rows, weights, statistics=None, slope=None):
        """The weighted loss of some rows and its gradient: (), (D,). slope: as of `apart`, of one client.

        By layer, not by the flat vector: of every view of that, autograd would make a zero vector as long as the whole.
        """
        parameters = [view.detach().requires_grad_() for view in self.views(x)]
        logits, z = self._forward(parameters, self.inputs(rows), statistics)
        losses = cross_entropy(logits, self.targets(rows), reduction="none")
        if losses.dim() > 1:  # of a sequence, the mean over what there is to predict
            losses = losses.sum(dim=1) / (self.targets(rows) >= 0).sum(dim=1)
        loss = (losses * weights).sum()
        pulled = loss if slope is None else loss + (z * slope(z.detach()[None])[0]).sum()
        gradients = torch.autograd.grad(pulled, parameters)
        return loss.detach(), torch.cat([gradient.reshape(-1) for gradient in gradients])
