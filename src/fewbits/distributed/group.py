"""A group of processes that exchange bytes, and how many bytes were handed over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise

import numpy as np

from fewbits.lazy import torch

SERVER = 0  # the rank that is the server; it may hold clients too


class Gone(RuntimeError):
    """Another process of the group has ended or does not answer."""


@dataclass
class Traffic:
    """Bytes handed to the process group: messages up and down; `framing`, their lengths and bits as counted, which a receiver
    could know or does not need; `observed`, what only records are made of (evaluations, checkpoints' consent)."""

    up: int = 0
    down: int = 0
    framing: int = 0
    observed: int = 0


@dataclass
class Group:
    """Opened by `open_group`. Its calls are made by all processes alike and raise Gone."""

    rank: int
    size: int
    device: str
    traffic: Traffic = field(default_factory=Traffic)

    @property
    def is_server(self) -> bool:
        return self.rank == SERVER

    def owner(self, clients: int) -> np.ndarray:
        """Which process holds each client, (clients,): equal shares of consecutive clients."""
        return np.arange(clients) * self.size // clients

    def gather(self, payloads: Sequence[bytes], bits: np.ndarray) -> list[tuple] | None:
        """Everyone's messages come to the server: a list of (payloads, bits) by rank there, None elsewhere. bits (n, 3): of
        each message by kind, as its sender counts them."""
        lengths = np.array([len(p) for p in payloads], np.int64)
        head = np.column_stack([lengths, bits.reshape(len(payloads), 3).astype(np.int64)])
        if not self.is_server:
            self._send(np.array([len(payloads)], np.int64), SERVER)
            self._send(head, SERVER)
            self._send(np.frombuffer(b"".join(payloads), np.uint8), SERVER)
            self.traffic.framing += 8 + head.nbytes
            self.traffic.up += int(lengths.sum())
            return None
        self.traffic.up += int(lengths.sum())  # the server's own clients: from hand to hand
        return [(list(payloads), head[:, 1:])] + [self._collect(r) for r in range(1, self.size)]

    def _collect(self, rank: int) -> tuple[list[bytes], np.ndarray]:
        count = int(self._receive(1, np.int64, rank)[0])
        head = self._receive(4 * count, np.int64, rank).reshape(count, 4)
        data = self._receive(int(head[:, 0].sum()), np.uint8, rank).tobytes()
        ends = np.concatenate([[0], head[:, 0].cumsum()])
        self.traffic.framing += 8 + head.nbytes
        self.traffic.up += len(data)
        return [data[a:b] for a, b in pairwise(ends)], head[:, 1:]

    def broadcast(self, payloads: Sequence[bytes], count: int) -> list[bytes]:
        """The server's messages, so many, come to everyone. `payloads` is read at the server only."""
        lengths = self._spread(np.array([len(p) for p in payloads], np.int64), count, np.int64)
        data = np.frombuffer(b"".join(payloads), np.uint8)
        data = self._spread(data, int(lengths.sum()), np.uint8).tobytes()
        self.traffic.framing += lengths.nbytes
        self.traffic.down += len(data)
        ends = np.concatenate([[0], lengths.cumsum()])
        return [data[a:b] for a, b in pairwise(ends)]

    def tell(self, data: bytes | None) -> bytes:
        """What the server says, at everyone: not part of the method, and counted apart."""
        own = np.frombuffer(data or b"", np.uint8)
        size = self._spread(np.array([len(own)], np.int64), 1, np.int64)
        self.traffic.observed += 8 + int(size[0])
        return self._spread(own, int(size[0]), np.uint8).tobytes()

    def pool(self, array: np.ndarray, held: np.ndarray) -> np.ndarray:
        """Arrays of one shape put together, at everyone: each place is that of the one process whose `held`, a mask that
        broadcasts, is set there. Bit for bit, and counted apart."""
        bits = np.ascontiguousarray(np.where(held, array, 0)).view(f"i{array.itemsize}")
        self.traffic.observed += bits.nbytes
        return self.sum(torch.from_numpy(bits)).numpy().view(array.dtype)

    def sum(self, x: torch.Tensor) -> torch.Tensor:
        """The sum of everyone's x (an all-reduce); not counted here."""
        x = x.to(self.device, copy=True)
        _or_gone(torch.distributed.all_reduce, x)
        return x.cpu()

    def lowest(self, number: int) -> int:
        """The smallest of everyone's numbers."""
        x = torch.tensor([number], device=self.device)
        _or_gone(torch.distributed.all_reduce, x, torch.distributed.ReduceOp.MIN)
        return int(x)

    def close(self) -> None:
        torch.distributed.destroy_process_group()

    def _send(self, array: np.ndarray, to: int) -> None:
        if array.size:
            flat = torch.from_numpy(array.reshape(-1).copy()).to(self.device)
            _or_gone(torch.distributed.send, flat, to, who=to)

    def _receive(self, count: int, kind, source: int) -> np.ndarray:
        x = torch.from_numpy(np.empty(count, kind)).to(self.device)
        if count:
            _or_gone(torch.distributed.recv, x, source, who=source)
        return x.cpu().numpy()

    def _spread(self, array: np.ndarray, count: int, kind) -> np.ndarray:
        own = array if self.is_server else np.empty(count, kind)
        x = torch.from_numpy(own.copy()).to(self.device)
        if count:
            _or_gone(torch.distributed.broadcast, x, SERVER, who=None if self.is_server else SERVER)
        return x.cpu().numpy()


def open_group(backend: str, init: str, seconds: float, rank: int, size: int) -> Group:
    """Meet the other processes. init: where (env://, file://PATH); seconds: how long to wait for any of them, at any time.

    Raises Gone if they do not come.
    """
    import torch.distributed  # not loaded with torch itself

    wait = timedelta(seconds=seconds)
    _or_gone(
        torch.distributed.init_process_group,
        backend, init_method=init, timeout=wait, rank=rank, world_size=size,
    )  # fmt: skip
    device = f"cuda:{rank % torch.cuda.device_count()}" if backend == "nccl" else "cpu"
    return Group(rank, size, device)


def _or_gone(call, *arguments, who: int | None = None, **named):
    """What `call` returns; its failure as Gone, in one line. `who` it waited for, if that was one process."""
    try:
        return call(*arguments, **named)
    except (RuntimeError, ValueError) as error:
        name = "another process" if who is None else f"process {who}"
        reason = str(error).strip().splitlines()[0].split(". ")[0]
        raise Gone(f"{name} has ended or does not answer ({reason})") from None
