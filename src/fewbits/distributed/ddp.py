"""Compressed gradients for anybody's DDP training: communication hooks of torch.nn.parallel.DistributedDataParallel.

    model = DistributedDataParallel(net)
    model.register_comm_hook(CompressedGradients(net, {"name": "topk", "budget": 0.01}), compressed)
    model.register_comm_hook(LowRankGradients(net, rank=2), low_rank)          # or this

DDP hands gradients over in buckets, which it makes anew after the first step. So nothing here is kept by bucket: memories
are those of parameters, by name. `state_dict` and `load_state_dict` are for checkpoints, one a process.
"""

from __future__ import annotations

from itertools import accumulate, pairwise
from math import prod

import torch
import torch.distributed as dist
from torch.futures import Future

from fewbits import rng
from fewbits.compressors.base import Compressor, all_finite
from fewbits.compressors.sizes import resolve


class _Memory:
    """What both hooks keep: a vector for every parameter, and how many bytes went out."""

    def __init__(self, model: torch.nn.Module, group: dist.ProcessGroup | None) -> None:
        self.group = group
        self.size, self.rank = dist.get_world_size(group), dist.get_rank(group)
        trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        self.names = {id(p): name for name, p in trained}
        self.shapes = {name: tuple(p.shape) for name, p in trained}
        self.errors = {
            name: p.new_zeros(p.numel(), dtype=torch.promote_types(p.dtype, torch.float32))
            for name, p in trained
        }
        self.step = self.sent = 0

    def state_dict(self) -> dict:
        """Memories, step and bytes sent so far, of this process."""
        return {"errors": dict(self.errors), "step": self.step, "sent": self.sent}

    def load_state_dict(self, state: dict) -> None:
        """Go on from what `state_dict` gave. Raises KeyError for a parameter that it lacks."""
        for name, error in self.errors.items():
            error.copy_(state["errors"][name])
        self.step, self.sent = state["step"], state["sent"]

    def of(self, bucket) -> list[tuple[str, torch.Tensor]]:
        """The bucket's parameters by name, with their gradients, which are views of its buffer."""
        pairs = zip(bucket.parameters(), bucket.gradients(), strict=True)
        return [(self.names[id(p)], gradient) for p, gradient in pairs]

    def wanted(self, name: str, gradient: torch.Tensor) -> torch.Tensor:
        """The gradient and what is left of those before it, flat."""
        return gradient.reshape(-1) + self.errors[name]


class CompressedGradients(_Memory):
    """Every worker sends C(e + g) of each parameter and keeps e <- e + g - C(e + g); the gradient becomes the workers' mean.

    That is error feedback without a step in the memory (algorithm dgc without momentum and mask). Real payloads are gathered
    by all, so every worker receives and decodes those of all, in the same order: replicas stay equal bit for bit. A gradient that
    is not finite is not sent: it arrives as NaN everywhere, and the memory stays as it was, so that a gradient scaler
    can skip the step.

    Args:
        model: the module inside DDP.
        compressor: a block as in a study, {"name": "topk", "k": 10}; a rule for the size is resolved for each parameter.
        feedback: whether memories are kept; off for unbiased compressors.
        seed: of the random streams; each worker, step and parameter has its own.
        group: None: the default one.

    `sent` counts this worker's payloads in bytes.
    """

    def __init__(self, model, compressor: dict, feedback=True, seed=0, group=None) -> None:
        super().__init__(model, group)
        self.feedback = feedback
        self.key = rng.stream("messages", seed)
        self.numbers = {name: i for i, name in enumerate(self.shapes)}
        self.compressors: dict[str, Compressor] = {
            name: resolve(compressor, shape) for name, shape in self.shapes.items()
        }

    def payload(self, name: str, gradient: torch.Tensor) -> bytes:
        """This worker's message of a parameter; brings its memory up to date."""
        compressor, shape = self.compressors[name], self.shapes[name]
        wanted = self.wanted(name, gradient)
        if not all_finite(wanted):
            return b""
        key = rng.fold(
            rng.fold(rng.fold(rng.fold(self.key, self.step), 0), self.rank), self.numbers[name]
        )
        message = compressor.encode(wanted.reshape(shape), where=name, key=int(key))
        if self.feedback:
            decoded = compressor.decode(message, shape, wanted.dtype).reshape(-1)
            self.errors[name] = wanted - decoded.to(wanted.device)
        data = message.to_bytes()
        self.sent += len(data)
        return data

    def decoded(self, name: str, data: bytes) -> torch.Tensor:
        """What anybody makes of a payload, in the parameter's shape."""
        compressor, shape, error = self.compressors[name], self.shapes[name], self.errors[name]
        if not data:
            return error.new_full(shape, torch.nan)
        message = compressor.from_bytes(data, shape)
        return compressor.decode(message, shape, error.dtype).to(error.device)


def compressed(state, bucket):
    """The hook of CompressedGradients. Without annotations: DDP takes them literally."""
    if bucket.index() == 0:
        state.step += 1
    pairs = state.of(bucket)
    own = [state.payload(name, gradient) for name, gradient in pairs]
    everyone = _gathered(own, bucket.buffer().device, state)
    for i, (name, gradient) in enumerate(pairs):
        values = [state.decoded(name, payloads[i]) for payloads in everyone]
        gradient.copy_(torch.stack(values).mean(dim=0))
    return _done(bucket.buffer())


def _gathered(own: list[bytes], device, state: _Memory) -> list[list[bytes]]:
    """Everyone's payloads, by rank."""
    lengths = torch.tensor([len(data) for data in own], device=device)
    heads = [torch.empty_like(lengths) for _ in range(state.size)]
    dist.all_gather(heads, lengths, group=state.group)
    width = max(int(head.sum()) for head in heads)
    data = torch.zeros(width, dtype=torch.uint8)
    joined = b"".join(own)
    data[: len(joined)] = torch.frombuffer(bytearray(joined or b"\0"), dtype=torch.uint8)[
        : len(joined)
    ]
    parts = [torch.empty(width, dtype=torch.uint8, device=device) for _ in range(state.size)]
    dist.all_gather(parts, data.to(device), group=state.group)
    out = []
    for head, part in zip(heads, parts, strict=True):
        sizes = head.tolist()
        content = part[: sum(sizes)].cpu().numpy().tobytes()
        ends = accumulate(sizes, initial=0)
        out.append([content[a:b] for a, b in pairwise(ends)])
    return out


class LowRankGradients(_Memory):
    """PowerSGD (Vogels, Karimireddy, Jaggi 2019, arXiv 1905.13727, Algorithms 1 and 2) in two all-reduces a step, of all
    parameters' P one behind the other with what goes whole, and of all Q.

    Both are made when the last bucket comes, so their order is the same on every worker however buckets fill. Layers, ranks
    and what goes whole are those of algorithm powersgd, which without momentum this is, its step being 2 lr here.

    Args:
        model, group: as above. rank: of every matrix. seed: of Q before the first step, which all workers share.
    """

    def __init__(self, model, rank: int = 1, seed=0, group=None) -> None:
        from fewbits.algorithms.powersgd import STREAM, blocks
        from fewbits.federation.objective import Layer
        from fewbits.federation.sampling import round_keys

        super().__init__(model, group)
        layers = tuple(Layer(name, shape) for name, shape in self.shapes.items())
        self.blocks = dict(zip(self.shapes, blocks(layers, rank), strict=True))
        factors = [(b.n, b.rank) for b in self.blocks.values() if b.rank]
        shared = round_keys(rng.stream("messages", seed), 0)  # of a run's first Q
        drawn = rng.normals(rng.fold(shared, STREAM), sum(map(prod, factors)))
        first = next(iter(self.errors.values()))
        self.q = torch.from_numpy(drawn).to(first)
        self.waiting: list[tuple] = []

    def state_dict(self) -> dict:
        return {**super().state_dict(), "q": self.q}

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        self.q.copy_(state["q"])

    def reduce(self, gradients: dict[str, torch.Tensor]) -> None:
        """Put the mean's approximation in place of every parameter's gradient."""
        low = [name for name in self.shapes if self.blocks[name].rank]
        whole = [name for name in self.shapes if not self.blocks[name].rank]
        matrices = [self._matrix(name, self.wanted(name, gradients[name])) for name in low]
        sides = [(self.blocks[name].n, self.blocks[name].rank) for name in low]
        Q = _split(self.q, sides)
        P = [m @ q for m, q in zip(matrices, Q, strict=True)]
        shapes = [tuple(p.shape) for p in P] + [tuple(gradients[name].shape) for name in whole]
        means = _split(self._mean([*P, *(gradients[name] for name in whole)]), shapes)
        P = [_orthonormal(p) for p in means[: len(low)]]
        self.q = self._mean([m.T @ p for m, p in zip(matrices, P, strict=True)])
        for name, m, p, q in zip(low, matrices, P, _split(self.q, sides), strict=True):
            value = p @ q.T
            count = gradients[name].numel()
            self.errors[name] = (m - value).flatten()[:count]
            gradients[name].copy_(value.flatten()[:count].reshape(self.shapes[name]))
        for name, value in zip(whole, means[len(low) :], strict=True):
            gradients[name].copy_(value)

    def _matrix(self, name: str, flat: torch.Tensor) -> torch.Tensor:
        """With zeros behind the last entry."""
        b = self.blocks[name]
        return torch.nn.functional.pad(flat, (0, b.m * b.n - len(flat))).reshape(b.m, b.n)

    def _mean(self, parts: list[torch.Tensor]) -> torch.Tensor:
        joined = torch.cat([part.flatten() for part in parts])
        self.sent += joined.numel() * joined.element_size()
        dist.all_reduce(joined, group=self.group)
        return joined / self.size


def low_rank(state, bucket):
    """The hook of LowRankGradients: buckets wait for the last one."""
    future = Future()
    state.waiting.append((bucket.buffer(), state.of(bucket), future))
    if bucket.is_last():
        waiting, state.waiting = state.waiting, []
        state.step += 1
        state.reduce({name: gradient for _, pairs, _ in waiting for name, gradient in pairs})
        for buffer, _, ready in waiting:
            ready.set_result(buffer)
    return future


def _orthonormal(p: torch.Tensor) -> torch.Tensor:
    """A basis of the columns of p (m, r); finite for zeros too."""
    return torch.linalg.qr(p.double())[0].to(p)


def _split(flat: torch.Tensor, shapes: list[tuple[int, ...]]) -> list[torch.Tensor]:
    parts = flat.split([prod(shape) for shape in shapes])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def _done(value):
    future = Future()
    future.set_result(value)
    return future
