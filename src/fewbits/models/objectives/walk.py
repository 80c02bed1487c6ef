"""Clients' gradient steps on models of their own, in place, with or without momentum.

The dense tail of a network, its last linear layers (of an MLP, all of it, with batch normalisation too), is differentiated by
hand, for several clients in one batched product: a layer's gradient is the product of two thin matrices, which is added to what it
moves and never written down. So is what comes before, where it is plain convolutions; else it goes by automatic differentiation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby

import numpy as np
import torch
from torch import nn

from fewbits.aligned import aligned, bmm, copy, empty
from fewbits.models.objectives.automatic import Automatic
from fewbits.models.objectives.convolved import FEWEST, Convolved, stages
from fewbits.models.objectives.dense import activated, before, softmax, tail
from fewbits.models.objectives.layer import Layer
from fewbits.models.objectives.moving import Moving, Rule
from fewbits.models.objectives.normalised import Normalised

AHEAD = 80  # rows of steps to come that are multiplied by the first layer together


class Walk:
    """Of clients of a `NetworkObjective` whose rows have one class each."""

    def __init__(self, objective) -> None:
        self.objective = objective
        features = objective.net.features
        count, self.after, self.normed = tail(features, normalised=True)
        self.front = features[: len(features) - count]
        self.biased = objective.net.head.bias is not None
        # Layers of the flat vector that are not the tail's.
        self.before = len(list(self.front.parameters()))
        self.stages = stages(self.front, objective.source.shape)
        self.together = not self.before and isinstance(self.front[0], nn.Flatten)

    def ends(
        self, y, who, plans, step: float, momentum: float = 0.0, pull=None, statistics=None
    ) -> torch.Tensor:
        """Where v_i <- momentum v_i + step grad f_i(y_i; batch), y_i <- y_i - v_i for every batch of its plan ends: (m, D), from
        y (m, D).

        who (m,): clients, those with most steps first, one at a time where not the whole network is dense. plans: of
        each, positions and weights (steps, B) as of `sampling.schedule`, B the same for all. pull: terms of their objectives
        (federation/local/terms/pull.py). statistics (m, S): moved in place.
        """
        f = self.objective
        rule = Rule(momentum, step * f.model.weight_decay)
        views = f.views(y)
        places, weights = _stacked(plans)
        front = self._front(views, statistics, rule, places.shape[2])
        rows = np.stack([f.parts[i][own] for i, own in zip(who, places, strict=True)])
        scale = torch.from_numpy(step * weights).to(f.dtype).unsqueeze(-1)
        alone = front or momentum or rule.pulled or pull or any(self.normed)
        many = 1 if alone else max(1, AHEAD // rows.shape[2])
        layers = self._layers(views, statistics, rule, rows.shape[2], many)
        for going, steps in _blocks([len(positions) for positions, _ in plans], many):
            own, part, slope = rows[going, steps], scale[going, steps], None
            if pull is not None:
                slope = _slope(pull, places[going, steps], weights[going, steps], step)
            there = torch.from_numpy(weights[going, steps] > 0).flatten(1).unsqueeze(-1)
            if front is not None:  # what only fills up would count in batch normalisation
                used = weights[0, steps.start] > 0
                own, part, there = own[:, :, used], part[:, :, : used.sum()], there[:, used]
            first, *rest = layers
            now = [first.of(going, own[0].size), *(each.of(going, own.shape[2]) for each in rest)]
            if front is None:
                f.flat(own.reshape(len(own), -1), out=now[0].inputs)
                self._steps(now, own, part, rule, slope, there)
            else:
                now[0].inputs.copy_(front.forward(own[0, 0]))
                front.back(self._steps(now, own, part, rule, slope, there, through=True)[0])
        moved = [each.value.detach() for each in front.moved] if front else []
        moved += [value for layer in layers for value in layer.values(self.biased)]
        ends = torch.empty_like(y, memory_format=torch.contiguous_format)
        for view, value in zip(f.views(ends), moved, strict=True):
            view.copy_(value.reshape(view.shape))
        return ends

    def _front(self, views, statistics, rule: Rule, width: int) -> Automatic | Convolved | None:
        """What comes before the tail, of one client with so many rows a step; None where that has no parameters."""
        if not self.before:
            return None
        f, views = self.objective, views[: self.before]
        if self.stages is not None and width >= FEWEST:
            return Convolved(self.stages, f, views, rule)
        named = {} if statistics is None else f.running(statistics[0])
        named = {name.removeprefix("features."): value for name, value in named.items()}
        return Automatic(self.front, f, views, named, rule)

    def _layers(self, views, statistics, rule: Rule, width: int, steps: int) -> list[Layer]:
        """Of the tail; with room for what goes into them in a step of so many rows, into the first in so many steps."""
        own = iter(views[self.before :])
        kept = [] if statistics is None else list(self.objective.running(statistics).values())
        kept = iter([each.unsqueeze(1) for each in kept[len(kept) - 2 * sum(self.normed) :]])

        def vector() -> Moving:
            return rule.begin(copy(next(own)).unsqueeze(1))

        layers = []
        for normed in [*self.normed, False]:
            w, b = next(own), next(own) if self.biased else None
            norm = Normalised(vector(), vector(), next(kept), next(kept)) if normed else None
            layers.append(Layer.begin(w, b, width if layers else width * steps, rule, norm))
        return layers

    def _steps(self, layers, rows, scale, rule, slope, used, through=False) -> torch.Tensor | None:
        """Some steps of the tail, each by the sum of scale times the rows' gradients; if there are several, without momentum.

        What goes into the first layer is there, for rows (m, steps, B); scale (m, steps, B, 1); used (m, B, 1): rows that do not
        only fill up. Returns, where `through`, the derivative of the losses, times scale, by it. That the first layer's inputs a are
        known saves passes over it: after steps j < t it is W - sum_j delta_j'a_j, so that it makes of a_t what W does, less
        (a_t a_j') delta_j.
        """
        first, *rest = layers
        norms = [layer.norm for layer in layers[:-1]]
        count, width = scale.shape[1:3]
        # As `softmax` lies in memory.
        wanted = self.objective.hot[self.objective.targets(rows)].transpose(2, 3).contiguous()
        wanted, scale = wanted.transpose(2, 3).unbind(1), scale.unbind(1)
        ahead = first.forward()
        products = bmm(first.a, first.a.transpose(1, 2)) if count > 1 else None
        deltas = empty(ahead.shape, ahead.dtype)
        for t, z in enumerate(ahead.split(width, dim=1)):
            past, now = slice(t * width), slice(t * width, (t + 1) * width)
            if t:
                z.sub_(bmm(products[:, now, past], deltas[:, past]))
            deltas[:, now] = self._above(rest, norms, z, wanted[t], scale[t], used, rule, slope)
        back = first.back(deltas) if through else None
        if through and slope and not rest:
            back += slope(first.inputs)
        rule.by_product(first.w, deltas, first.a)
        return back

    def _above(self, layers, norms, z, wanted, scale, used, rule, slope) -> torch.Tensor:
        """A step of the layers above the first, which gave z (m, B, out); the derivative of the losses, times scale, by z.
        norms: what normalises z, and what every layer but the last gives."""
        seen = []
        for layer, norm, after in zip(layers, norms, self.after, strict=True):
            if norm is not None:
                z, saved = norm.forward(z, used)
                seen.append(saved)
            activated(z, after, out=layer.inputs)
            z = layer.forward()
        delta = softmax(z).sub_(wanted).mul_(scale)
        for layer, after, norm in zip(layers[::-1], self.after[::-1], norms[::-1], strict=True):
            back = layer.back(delta)
            if slope and layer is layers[-1]:
                back += slope(layer.inputs)
            rule.by_product(layer.w, delta, layer.a)
            delta = before(back, layer.inputs, after)
            if norm is not None:
                delta = aligned(norm.back(delta, seen.pop(), rule))
        return delta


def _stacked(plans) -> tuple[np.ndarray, np.ndarray]:
    """Positions and weights of clients with their own numbers of steps, (m, most steps, B)."""
    shape = len(plans), *plans[0][0].shape
    places, weights = np.zeros(shape, np.int64), np.zeros(shape)
    for i, (positions, own) in enumerate(plans):
        places[i, : len(positions)] = positions
        weights[i, : len(positions)] = own
    return places, weights


def _slope(pull, places, weights, step: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """What one step of clients (m, 1, B) adds to the derivative by the representations, times the step."""
    slope = pull.on(places[:, 0], weights[:, 0])
    return lambda z: step * slope(slice(0, len(z)), z)


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
