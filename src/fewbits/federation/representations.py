"""How many dimensions representations span: dimensional collapse, as Shi et al. (ICLR 2023, arXiv 2210.00226) look at it.

The representations of the test rows, (rows, C), by the model after a round (`global`) and by each of the cohort's clients at
the end of its local work (`local`; not there where a method's clients work on models of their own). Kept in the round's
snapshot (federation/snapshots.py), C features, m clients:

    singular/global (C,), singular/local (m, C)         singular values of the covariance, falling, float64
    variance/global, variance/local                     of every feature; 0: it is dead
    correlation/global (), correlation/local (m,)       mean squared correlation of two features that are not dead

A dead feature is correlated with none, so correlations fall where features die: look at all three.
"""

from __future__ import annotations

import numpy as np

from fewbits.lazy import torch

DEAD = 1e-8  # variance below which a feature counts as dead


def spectrum(z: np.ndarray) -> dict[str, np.ndarray]:
    """`singular`, `variance` and `correlation` of representations (rows, C)."""
    z = z.astype(np.float64)
    z = z - z.mean(axis=0)
    variance = (z * z).mean(axis=0)
    singular = np.zeros(z.shape[1])
    found = np.linalg.svd(z, compute_uv=False) ** 2 / len(z)
    singular[: len(found)] = found[: len(singular)]
    return {"singular": singular, "variance": variance, "correlation": _correlation(z, variance)}


def _correlation(z: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """NaN where fewer than two features are alive."""
    live = variance > DEAD
    count = int(live.sum())
    if count < 2:
        return np.array(np.nan)
    standard = z[:, live] / np.sqrt(variance[live])
    r = standard.T @ standard / len(z)
    return np.array(((r * r).sum() - np.trace(r * r)) / (count * (count - 1)))


def of_lanes(objective, x, statistics, seen: dict) -> list[dict[str, np.ndarray]]:
    """The arrays above for every lane: x (lanes, D) and statistics (lanes, S) or None after the round; seen: what the
    round saw (the clients' `model` and `statistics`)."""
    held, own = _or_nothing(statistics, len(x)), _or_nothing(seen.get("statistics"), len(x))
    lanes = []
    for lane, point in enumerate(x):
        ends = seen["model"][lane] if "model" in seen else []
        whole = spectrum(_of(objective, point, held[lane]))
        local = [
            spectrum(_of(objective, end, kept))
            for end, kept in zip(ends, _or_nothing(own[lane], len(ends)), strict=True)
        ]
        arrays = {f"{name}/global": value for name, value in whole.items()}
        stacked = {
            f"{name}/local": np.stack([one[name] for one in local]) for name in whole if local
        }
        lanes.append(arrays | stacked)
    return lanes


def _of(objective, point: torch.Tensor, statistics: torch.Tensor | None) -> np.ndarray:
    return objective.test_representations(point.clone(), statistics).numpy()


def _or_nothing(values, count: int):
    return [None] * count if values is None else values
