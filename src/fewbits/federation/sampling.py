"""Which of its rows a client works on: by position among them, from named streams."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fewbits import rng
from fewbits.lazy import torch

BATCH = rng.stream("batch")
ROUND = rng.stream("round")
SEED = rng.stream("seed of a client's round")


@dataclass(frozen=True)
class Rows:
    """Rows of each client of a cohort: `positions` (lanes, m, B) int64 among the client's rows, and their
    `weights` (lanes, m, B) float64, which sum to 1; places that are not used have weight 0 and position 0."""

    positions: np.ndarray
    weights: np.ndarray


def round_keys(keys: np.ndarray, number: int) -> np.ndarray:
    """The lanes' streams in a round, from their own: (lanes,) uint64."""
    return rng.fold(rng.fold(keys, ROUND), number)


def round_seeds(keys: np.ndarray, who: np.ndarray) -> np.ndarray:
    """A 32-bit seed for each client, that its local work and its messages share in a round: (lanes, m) uint64.

    keys (lanes,): of `round_keys`; who (lanes, m)
    """
    return rng.fold(rng.fold(keys, SEED)[:, None], who) >> np.uint64(32)


def seeded(seeds: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Keys of messages that begin with these seeds."""
    return seeds << np.uint64(32) | keys & np.uint64(2**32 - 1)


def everyone(x: torch.Tensor, objective) -> torch.Tensor:
    """All clients as a cohort of every lane of x: (lanes, clients)."""
    return torch.arange(objective.clients).expand(len(x), -1)


def batches(keys: np.ndarray, cohort: torch.Tensor, sizes: np.ndarray, batch: int) -> Rows:
    """`batch` different rows of every client, all where it has fewer. keys (lanes,), sizes (clients,).

    A client's draw depends on its lane's key and its number, not on who else takes part.
    """
    who = cohort.numpy()
    streams = rng.fold(rng.fold(keys, BATCH)[:, None], who)
    width = min(batch, int(sizes[who].max(initial=1)))
    positions = np.zeros((*who.shape, width), np.int64)
    weights = np.zeros((*who.shape, width))
    for lane, i in np.ndindex(who.shape):
        size = int(sizes[who[lane, i]])
        taken = min(batch, size)
        positions[lane, i, :taken] = np.sort(permutation(streams[lane, i], size)[:taken])
        weights[lane, i, :taken] = 1 / taken
    return Rows(positions, weights)


def schedule(key, size: int, batch: int | None, epochs: int | None, steps: int | None):
    """The rows of a client's local steps: positions, weights (steps, B); an epoch is a permutation cut into batches.

    `epochs` passes over all rows, or `steps` steps, which begin new passes as needed. The last batch of a pass holds what is
    left. batch None: all rows.
    """
    width = min(batch or size, size)
    each = -(-size // width)
    total = epochs * each if steps is None else steps
    passes = [permutation(rng.fold(key, i), size) for i in range(-(-total // each))]
    positions = np.zeros((len(passes), each * width), np.int64)
    weights = np.zeros((len(passes), each, width))
    positions[:, :size] = passes
    weights.reshape(len(passes), -1)[:, :size] = 1
    weights /= weights.sum(axis=-1, keepdims=True)
    return positions.reshape(-1, width)[:total], weights.reshape(-1, width)[:total]


def permutation(key, size: int) -> np.ndarray:
    """0 .. size - 1 in the random order that `key` names."""
    return np.argsort(rng.integers(key, size), kind="stable")
