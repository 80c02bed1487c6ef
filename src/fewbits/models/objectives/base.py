"""f_i of a network on client i's rows, its parameters being one flat vector.

Lanes are worked on one after the other, each from memory of its own, so that a lane's numbers do not depend on the others. Nor do a
client's on who is computed beside it: products over several clients are batched (never one product over all their rows), and
what they are made of is `aligned`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch

from fewbits.aligned import aligned
from fewbits.datasets.base import Arrays
from fewbits.federation.objective import Layer
from fewbits.federation.sampling import Rows, everyone
from fewbits.models import nets
from fewbits.models.objectives.evaluated import CHUNK, Evaluated
from fewbits.models.objectives.own_tests import OwnTests
from fewbits.models.objectives.walk import Walk

TOGETHER = 64  # clients of dense networks whose local work is done in one computation
# Numbers: gradients of all clients are kept from `measure` for the next round up to so many.
HELD = 2**26


class Batch(NamedTuple):
    """Rows of some clients, one client after the other: client i's are bounds[i]:bounds[i + 1].

    `rows` numbers them in the data; `weights` (rows,) sum to 1 for each client.
    """

    rows: np.ndarray
    weights: np.ndarray
    bounds: np.ndarray


class NetworkObjective(Evaluated):
    """Holds the data and the layout of the flat vector. A subclass computes:

    together(x, batch, statistics)       every client's loss and gradient at one model: (m,), (m, D)
    apart(y, rows, weights, statistics)  each client's gradient at its own model: y (m, D) `aligned`, rows and weights (m, B)
    logits(x, rows, statistics)          of the network at x (D,)
    represent(x, rows, statistics)       what goes into its last linear layer at x (D,): (rows, C)

    Batch normalisation takes mean and variance from the rows of a gradient and moves the client's running statistics
    (m, S) in place, as torch's does (in pieces of CHUNK rows, where there are more); `measure` normalises by the running ones.
    `apart` takes a function `slope(part, z)`, which gives what is added to the loss's derivative by the
    representations z (k, B, C) of the clients `part`, a slice of the m (federation/local/terms/).
    """

    smoothness = None
    device = "cpu"
    at_once = 1  # clients whose local work is done in one computation
    # Rows evaluated together: what convolutions make of more falls out of the cache.
    evaluated = 128

    def __init__(self, model, data: Arrays, parts: list[np.ndarray], source) -> None:
        self.model, self.data, self.source = model, data, source
        self.precision = model.precision
        self.dtype = getattr(torch, model.precision)
        self.parts = parts
        self.clients, self.sizes = len(parts), np.array([len(part) for part in parts])
        self.net = self._build(("layout",))
        named = dict(self.net.named_parameters())
        self.layers = tuple(Layer(name, tuple(p.shape)) for name, p in named.items())
        self.bounds = np.cumsum([0] + [p.numel() for p in named.values()])
        self.shape = (int(self.bounds[-1]),)
        self._kept = {n: b for n, b in self.net.named_buffers() if b.is_floating_point()}
        self.statistics = torch.cat([*self._kept.values()]).numpy() if self._kept else None
        self._x = torch.from_numpy(data.x)
        self._y = torch.from_numpy(data.y)
        if data.test_x is not None:
            self._test_x, self._test_y = (
                torch.from_numpy(data.test_x),
                torch.from_numpy(data.test_y),
            )
        self._white = torch.tensor(255, dtype=self.dtype)
        self.hot = torch.eye(source.classes, dtype=self.dtype)
        self._everyone = self._batch(parts, [np.full(n, 1 / n) for n in self.sizes])
        self._tested = self._test_rows(model.test_rows)
        self._seen = self._found = None
        self.own_tests = OwnTests(self, data, parts) if model.client_tests else None
        self.walk = None if source.sequence else Walk(self)

    def to(self, device: str) -> NetworkObjective:
        """Itself, for tensors of another device from now on. The walk is made for processors, so it has none there."""
        self.device, self.walk, self.evaluated = device, None, CHUNK
        for name in ("_x", "_y", "_test_x", "_test_y", "_white", "hot"):
            if hasattr(self, name):
                setattr(self, name, getattr(self, name).to(device))
        self.net.to(device)
        if self.own_tests is not None:
            self.own_tests.to(device)
        return self

    def numbers(self, values: np.ndarray) -> torch.Tensor:
        """In the precision and on the device that it computes with."""
        return torch.from_numpy(values).to(self.device, self.dtype)

    def start(self, dataset: str, seed: int) -> np.ndarray:
        net = self._build(("start", dataset, seed))
        flat = torch.cat([p.detach().reshape(-1) for p in net.parameters()])
        return flat.to(self.dtype).numpy()

    def gradients(self, x, cohort=None, rows: Rows | None = None, statistics=None):
        if cohort is None and rows is None and self.statistics is None:
            return self._at(x)[1]
        cohorts = (everyone(x, self) if cohort is None else cohort).numpy()
        out = x.new_empty(*cohorts.shape, *self.shape)
        for lane, who in enumerate(cohorts):
            held = None if statistics is None else statistics[lane]
            found = self.together(x[lane].clone(), self._of(who, rows, lane), held)[1]
            out[lane] = self._regular(found, x[lane])
        return out

    def client_gradients(
        self, y: torch.Tensor, who: np.ndarray, positions, weights, statistics=None, slope=None
    ) -> torch.Tensor:
        """Each client's gradient at its own model, on some of its rows: y (m, D) -> (m, D).

        who (m,) client numbers; positions, weights (m, B) as of `sampling.Rows`; statistics (m, S); slope: as of `apart`.
        """
        rows = np.stack([self.parts[i][place] for i, place in zip(who, positions, strict=True)])
        found = self.apart(aligned(y), rows, self.numbers(weights), statistics, slope)
        return found.add_(y, alpha=self.model.weight_decay) if self.model.weight_decay else found

    def logits_apart(self, models: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        """Each model's logits on inputs of its own: (m, D), (m, B, *shape) -> (m, B, classes)."""
        pairs = zip(models, inputs, strict=True)
        return torch.stack([self.logits(model.clone(), own.clone()) for model, own in pairs])

    def inputs(
        self, rows: np.ndarray | torch.Tensor, source: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Rows of the training data (or of `source`) as the network takes them: (len(rows), *shape)."""
        picked = (self._x if source is None else source)[rows]
        if self.source.sequence:
            return picked
        images = self._float(picked).reshape(*picked.shape[:-1], *self.source.shape)
        return channels_last(images) if images.dim() == 4 else images

    def flat(self, rows: np.ndarray, out: torch.Tensor | None = None) -> torch.Tensor:
        """Rows of the training data as numbers: (*rows.shape, features)."""
        # By whole rows, which is 8 times as fast as indexing.
        picked = self._x.index_select(0, torch.from_numpy(rows.reshape(-1)).to(self.device))
        return self._float(picked.view(*rows.shape, -1), out)

    def _float(self, picked: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        if picked.dtype == torch.uint8:
            return torch.div(picked, self._white, out=out)  # one pass over them
        return picked.to(self.dtype) if out is None else out.copy_(picked)

    def targets(self, rows) -> torch.Tensor:
        return self._y[rows]

    def _build(self, stream: tuple):
        return nets.build(
            self.model.net, self.source.shape, self.source.classes, stream, **self.model.parameters
        ).to(self.dtype)

    def _at(self, x, statistics=None):
        """Losses (lanes, clients) and gradients (lanes, clients, D) on all rows; remembered for the same x."""
        if x is not self._seen or statistics is not None:
            losses = x.new_empty(len(x), self.clients)
            gradients = x.new_empty(len(x), self.clients, *self.shape)
            for lane, point in enumerate(x):
                held = None if statistics is None else statistics[lane].expand(self.clients, -1)
                found, gradient = self.together(point.clone(), self._everyone, held)
                gradients[lane] = self._regular(gradient, point)
                losses[lane] = found + self.model.weight_decay / 2 * (point @ point)
            self._seen, self._found = x, (losses, gradients)
        return self._found

    def _mean(self, x, statistics=None):
        """f (lanes,) and its gradient (lanes, D), never holding the gradients of more clients than HELD says."""
        many = max(1, HELD // self.shape[0])
        if self.clients <= many:
            losses, gradients = self._at(x, statistics)
            return losses.mean(dim=1), gradients.mean(dim=1)
        losses, total = x.new_zeros(len(x)), torch.zeros_like(x)
        for lane, point in enumerate(x):
            for who in np.split(np.arange(self.clients), range(many, self.clients, many)):
                held = None if statistics is None else statistics[lane].expand(len(who), -1)
                found, gradients = self.together(point.clone(), self._of(who, None, lane), held)
                losses[lane] += found.sum() / self.clients
                total[lane] += gradients.sum(dim=0) / self.clients
            losses[lane] += self.model.weight_decay / 2 * (point @ point)
        return losses, self._regular(total, x)

    def _regular(self, gradients, x):
        return gradients + self.model.weight_decay * x if self.model.weight_decay else gradients

    def _of(self, who: np.ndarray, rows: Rows | None, lane: int) -> Batch:
        """The rows that these clients work on: all, or those of a sample."""
        if rows is None:
            return self._batch(
                [self.parts[i] for i in who], [np.full(n, 1 / n) for n in self.sizes[who]]
            )
        used = rows.weights[lane] > 0
        places = [self.parts[i][rows.positions[lane, j, used[j]]] for j, i in enumerate(who)]
        return self._batch(places, [rows.weights[lane, j, used[j]] for j in range(len(who))])

    def _batch(self, rows: list[np.ndarray], weights: list[np.ndarray]) -> Batch:
        bounds = np.cumsum([0] + [len(part) for part in rows])
        return Batch(np.concatenate(rows), np.concatenate(weights), bounds)

    def running(self, statistics: torch.Tensor) -> dict[str, torch.Tensor]:
        """The vectors inside running statistics (..., S), by name; a fixed momentum needs no counters."""
        sizes = [len(vector) for vector in self._kept.values()]
        return dict(zip(self._kept, statistics.split(sizes, dim=-1), strict=True))

    def views(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The parameters inside flat vectors: (*batch, D) -> one (*batch, *its shape) a layer."""
        return [
            x[..., low:high].reshape(*x.shape[:-1], *layer.shape)
            for (low, high), layer in zip(pairwise(self.bounds), self.layers, strict=True)
        ]


def channels_last(images: torch.Tensor) -> torch.Tensor:
    """The same (rows, channels, height, width) with its channels side by side in memory, which convolutions pass on and
    pooling is 10 times faster on. Unlike torch's own conversion, also of one channel."""
    channels, height, width = images.shape[1:]
    order = (channels * height * width, 1, width * channels, channels)
    placed = torch.empty_strided(images.shape, order, dtype=images.dtype, device=images.device)
    return placed.copy_(images)
