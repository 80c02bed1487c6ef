"""The network between clients and server: what is sent through it arrives decoded and is counted."""

from __future__ import annotations

import numpy as np

from fewbits import rng
from fewbits.compressors.base import Compressed, Compressor
from fewbits.compressors.message import Bits
from fewbits.lazy import torch

COUNTERS = ("bits_up_values", "bits_up_indices", "bits_up_metadata", "bits_down")


class Network:
    """Uplink with a compressor, dense downlink, and the bits of both.

    Counters are (lanes, 4) float64, cumulative, mean over clients. What comes out of `up` and `down` is what the receiver decodes; nothing else crosses.
    """

    def __init__(
        self, shape: tuple[int, ...], compressor: Compressor, downlink: Compressor
    ) -> None:
        self.shape, self.compressor, self.downlink = shape, compressor, downlink
        self.counters: torch.Tensor | None = None
        self._keys = None

    def open_round(self, counters: torch.Tensor, keys: np.ndarray, round: int) -> None:
        """Begin a round: counters to add to (lanes, 4), and the lanes' keys (lanes,) uint64."""
        self.counters = counters
        self._keys, self._round, self._calls = keys, round, 0

    def compress(self, x: torch.Tensor) -> Compressed:
        """C of every client's tensor: x (lanes, clients, *shape). Sends nothing yet.

        Each message has a random stream of its own, named by lane, round, call within it, and client.
        """
        keys = self._message_keys(x.shape[1]) if self.compressor.random else None
        return self.compressor.compress(x, self.shape, keys)

    def _message_keys(self, clients: int) -> np.ndarray:
        call = rng.fold(rng.fold(self._keys, self._round), self._calls)
        self._calls += 1
        return rng.fold(call[:, None], np.arange(clients))

    def up(self, message: Compressed) -> torch.Tensor:
        """Every client sends its message; returns what the server decodes."""
        self.counters[:, :3] += _by_lane(message.bits)
        return message.value

    def down(self, x: torch.Tensor) -> torch.Tensor:
        """The server sends one tensor to every client: x (lanes, *shape)."""
        message = self.downlink.compress(x, self.shape)
        self.counters[:, 3] += message.bits.total
        return message.value


def choose(first_where: torch.Tensor, first: Compressed, second: Compressed) -> Compressed:
    """`first` for the clients where the mask (lanes, clients) says so, `second` for the others."""
    extra = first.value.dim() - first_where.dim()
    mask = first_where.reshape(*first_where.shape, *[1] * extra)
    bits = [
        a if _same(a, b) else torch.where(first_where, torch.as_tensor(a), torch.as_tensor(b))
        for a, b in zip(_parts(first.bits), _parts(second.bits), strict=True)
    ]
    return Compressed(torch.where(mask, first.value, second.value), Bits(*bits))


def _parts(bits: Bits):
    return bits.values, bits.indices, bits.metadata


def _same(a, b) -> bool:
    return not torch.is_tensor(a) and not torch.is_tensor(b) and a == b


def _by_lane(bits: Bits):
    """Bits of every message, numbers or (lanes, clients), as mean over clients: (3,) or (lanes, 3)."""
    parts = [torch.as_tensor(part, dtype=torch.float64) for part in _parts(bits)]
    return torch.stack([p.mean(dim=-1) if p.dim() else p for p in parts], dim=-1)
