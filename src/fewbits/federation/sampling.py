"""Which of its rows a client works on: by position among them, from named streams."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fewbits import rng
from fewbits.lazy import torch

BATCH = rng.stream("batch")
ROUND = rng.stream("round")
WORK = rng.stream("local work")
SEED = rng.stream("seed of a client's round")
STEP = 32  # rows


@dataclass(frozen=True)
class Rows:
    """Rows of each client of a cohort: `positions` (lanes, m, B) int64 among the client's rows, and their
    `weights` (lanes, m, B) float64, which sum to 1; places that are not used have weight 0 and position 0."""

    positions: np.ndarray
    weights: np.ndarray


def round_keys(keys: np.ndarray, number: int) -> np.ndarray:
    """The lanes' streams in a round, from their own: (lanes,) uint64."""
    return rng.fold(_of_rounds(keys.tobytes()).reshape(keys.shape), number)


@functools.lru_cache(maxsize=16)
def _of_rounds(keys: bytes) -> np.ndarray:
    """Remembered, since every round asks for it: in small problems that is 3 % of a round."""
    return rng.fold(np.frombuffer(keys, np.uint64), ROUND)


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
    width = min(batch, int(sizes.max(initial=1)))  # whoever takes part
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
    left. batch None: all rows. B is `filled`, places that are not used have weight 0 and position 0.
    """
    width = min(batch or size, size)
    each = -(-size // width)
    total = epochs * each if steps is None else steps
    passes = permutation(rng.fold(key, np.arange(-(-total // each))), size)
    weights = _weights(size, width, filled(width, batch), each)
    positions = np.zeros((len(passes), *weights.shape), np.int64)
    in_order = np.zeros((len(passes), each * width), np.int64)
    in_order[:, :size] = passes
    positions[..., :width] = in_order.reshape(len(passes), each, width)
    return (
        positions.reshape(-1, positions.shape[-1])[:total],
        np.tile(weights, (len(passes), 1))[:total],
    )


@functools.lru_cache(maxsize=1024)
def _weights(size: int, width: int, room: int, each: int) -> np.ndarray:
    """Of the rows of a pass, (each, room)."""
    weights = np.zeros((each, room))
    weights[:, :width] = 1 / width
    left = size - (each - 1) * width  # of the last batch
    weights[-1] = 0
    weights[-1, :left] = 1 / left
    weights.flags.writeable = False
    return weights


def filled(rows: int, batch: int | None = None) -> int:
    """How many rows a batch of so many is filled up to, `batch` at most: few numbers, so that clients can be computed together,
    which do not depend on who is there."""
    wanted = 1 << (rows - 1).bit_length() if rows <= STEP else -(-rows // STEP) * STEP
    return min(batch or wanted, wanted)


def groups(plans: list[tuple], most: int) -> Iterator[np.ndarray]:
    """Clients that are computed together, at most so many: those whose plans (of `schedule`) are as wide, and of these the ones with
    most steps first. Each is in one group."""
    shapes = np.array([positions.shape for positions, _ in plans])
    order = np.lexsort((-shapes[:, 0], -shapes[:, 1]))
    for alike in np.split(order, np.flatnonzero(np.diff(shapes[order, 1])) + 1):
        yield from np.split(alike, range(most, len(alike), most))


def batch_of(plans: list[tuple], number: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions and weights of this step of clients of one group: (m, B)."""
    return tuple(np.stack([plan[i][number] for plan in plans]) for i in (0, 1))


def permutation(key, size: int) -> np.ndarray:
    """0 .. size - 1 in the random order that `key` names; of keys (n,), (n, size)."""
    return np.argsort(rng.integers(key, size), kind="stable")
