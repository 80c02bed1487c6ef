"""Clients' plain gradient steps on models of their own, in place.

The dense tail of a network, its last linear layers (of an MLP, all of it), is differentiated by hand, for several clients in
one batched product: a layer's gradient is the product of two thin matrices, so its step is one update of low rank and the
gradient is never written down. What comes before the tail goes by automatic differentiation.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

import numpy as np
import torch
from torch import nn
from torch.func import functional_call

from fewbits.aligned import aligned, bmm, copy, empty

AHEAD = 80  # rows of steps to come that are multiplied by the first layer together


class Walk:
    """Of clients of a `NetworkObjective` whose rows have one class each."""

    def __init__(self, objective) -> None:
        self.objective = objective
        features = objective.net.features
        count = _tail(features)
        self.front = features[: len(features) - 2 * count]
        self.tanh = [isinstance(m, nn.Tanh) for m in features[len(self.front) + 1 :: 2]]
        self.biased = objective.net.head.bias is not None
        self.before = len(
            list(self.front.parameters())
        )  # layers of the flat vector that are not the tail's
        self.hot = torch.eye(objective.source.classes, dtype=objective.dtype)

    def ends(self, y, who, plans, step: float, statistics=None) -> torch.Tensor:
        """Where y_i <- y_i - step grad f_i(y_i; batch) for every batch of its plan ends: y (m, D), changed in place.

        who (m,): clients, those with most steps first, one at a time where not the whole network is dense. plans: of
        each, positions and weights (steps, B) as of `sampling.schedule`, B the same for all. statistics (m, S): moved in
        place.
        """
        f = self.objective
        views = f.views(y)
        named, moved = self._front(views, statistics)
        tail = self._layers(views)
        keep = 1 - step * f.model.weight_decay
        rows, weights = self._rows(who, plans)
        scale = torch.from_numpy(step * weights).to(f.dtype).unsqueeze(-1)
        many = 1 if moved or keep != 1 else max(1, AHEAD // rows.shape[2])
        for going, steps in _blocks([len(positions) for positions, _ in plans], many):
            own, layers = rows[going, steps], [_of(going, layer) for layer in tail]
            if not moved:
                a = aligned(f.flat(own).flatten(1, 2))
                self._steps(layers, a, own, scale[going, steps], keep)
                continue
            used = (
                weights[0, steps.start] > 0
            )  # what only fills up would count in batch normalisation
            own, part = own[:, :, used], scale[:, steps, : used.sum()]
            made = functional_call(self.front, named, (f.inputs(own[0, 0]),))
            back = self._steps(layers, aligned(made.detach()[None]), own, part, keep, through=True)
            changes = torch.autograd.grad(made, moved, back[0])
            for value, change in zip(moved, changes, strict=True):
                value.detach().mul_(keep).sub_(change)
        self._write(views, moved, tail)
        return y

    def _rows(self, who, plans) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the data and their weights, (m, steps, B)."""
        shape = len(who), *plans[0][0].shape
        rows, weights = np.zeros(shape, np.int64), np.zeros(shape)
        for i, (positions, own) in enumerate(plans):
            rows[i, : len(positions)] = self.objective.parts[who[i]][positions]
            weights[i, : len(positions)] = own
        return rows, weights

    def _front(self, views, statistics):
        """What comes before the tail, of one client: all by name, and of it what has gradients. Copies."""
        moved = [view[0].clone().requires_grad_() for view in views[: self.before]]
        names = [layer.name.removeprefix("features.") for layer in self.objective.layers]
        named = dict(zip(names, moved, strict=False))
        if statistics is not None:
            running = self.objective.running(statistics[0])
            named |= {name.removeprefix("features."): value for name, value in running.items()}
        return named, moved

    def _layers(self, views):
        """(W, b) of the tail's layers, (m, out, in) and (m, 1, out), b None without biases. Copies, since products of
        pieces of y are slower."""
        own = [copy(view) for view in views[self.before :]]
        if not self.biased:
            return [(w, None) for w in own]
        return [(w, b.unsqueeze(1)) for w, b in zip(own[::2], own[1::2], strict=True)]

    def _write(self, views, moved, tail) -> None:
        """The copies into the flat vectors."""
        flat = [tensor for layer in tail for tensor in layer if tensor is not None]
        for view, value in zip(views, [p.detach() for p in moved] + flat, strict=True):
            view.copy_(value.reshape(view.shape))

    def _steps(self, tail, a, rows, scale, keep, through=False) -> torch.Tensor | None:
        """Some steps of the tail, y <- keep y - the sum of scale times the rows' gradients.

        a (m, steps B, in): what goes into it for rows (m, steps, B); scale (m, steps, B, 1). Returns, where `through`, the
        derivative of the losses, times scale, by a. That the first layer's inputs are known saves passes over it: after
        steps j < t it is W - sum_j delta_j'a_j, so that it makes of a_t what W does, less (a_t a_j') delta_j.
        """
        first, *rest = tail
        count, width = scale.shape[1:3]
        wanted = self.hot[self.objective.targets(rows)]
        ahead = bmm(a, first[0].transpose(1, 2))
        products = bmm(a, a.transpose(1, 2)) if count > 1 else None
        deltas = empty(ahead.shape, ahead.dtype)
        for t in range(count):
            past, now = slice(t * width), slice(t * width, (t + 1) * width)
            z = ahead[:, now]
            if t:
                z = z.baddbmm_(products[:, now, past], deltas[:, past], alpha=-1)
            z = z if first[1] is None else z.add_(first[1])
            deltas[:, now] = self._above(rest, z, wanted[:, t], scale[:, t], keep)
            _move_bias(first, deltas[:, now], keep)
        back = bmm(deltas, first[0]) if through else None
        _move(first, deltas, a, keep)
        return back

    def _above(self, layers, z, wanted, scale, keep) -> torch.Tensor:
        """A step of the layers above the first, which gave z (m, B, out); the derivative of the losses, times scale, by z."""
        values = []
        for (w, b), tanh in zip(layers, self.tanh, strict=True):
            values.append(z.tanh_() if tanh else z.relu_())
            z = bmm(values[-1], w.transpose(1, 2))
            z = z if b is None else z.add_(b)
        delta = copy(torch.softmax(z, dim=-1)).sub_(wanted).mul_(scale)
        for layer, a, tanh in zip(layers[::-1], values[::-1], self.tanh[::-1], strict=True):
            back = bmm(delta, layer[0])
            _move(layer, delta, a, keep)
            _move_bias(layer, delta, keep)
            delta = before(back, a, tanh)
        return delta


def _move(layer, delta, a, keep: float) -> None:
    """The step of a layer's W, where delta (m, B, out) is the derivative by what it made of a (m, B, in)."""
    layer[0].baddbmm_(delta.transpose(1, 2), a, beta=keep, alpha=-1)


def _move_bias(layer, delta, keep: float) -> None:
    if layer[1] is not None:
        if keep != 1:
            layer[1].mul_(keep)
        layer[1].sub_(delta.sum(dim=1, keepdim=True))


def before(delta: torch.Tensor, a: torch.Tensor, tanh: bool) -> torch.Tensor:
    """The loss's derivative by what went into the activation (else ReLU) that gave `a`, from that by `a`; may change delta."""
    if tanh:
        return delta.mul_(1 - a * a)
    return torch.ops.aten.threshold_backward(
        delta, a, 0, grad_input=delta
    )  # several times faster than a product


def _tail(features: nn.Sequential) -> int:
    """How many linear layers, each with its activation, end it."""
    modules, count = list(features), 0
    while (
        len(modules) > 1
        and isinstance(modules[-2], nn.Linear)
        and isinstance(modules[-1], nn.ReLU | nn.Tanh)
    ):
        modules, count = modules[:-2], count + 1
    return count


def _blocks(counts: list[int], many: int) -> Iterator[tuple[slice, slice]]:
    """Which clients make which steps together: at most `many` at a time, and only such as have equally many before them.

    counts: steps of each client, most first. Which steps are made together depends on a client's own count alone.
    """
    for first in range(0, counts[0], many):
        left = [min(many, count - first) for count in counts if count > first]
        begin = 0
        for span, alike in groupby(left):
            end = begin + len(list(alike))
            yield slice(begin, end), slice(first, first + span)
            begin = end


def _of(who: slice, layer):
    """The layer (W, b) of some clients."""
    w, b = layer
    return w[who], None if b is None else b[who]
