"""The matrices P of lp-proj's runs, made again from their seeds: how near P P^T and P^T P are to the identity.

Nothing of this is recorded while training, since a run's seed says all of its P.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from fewbits.analysis.errors import AnalysisError
from fewbits.analysis.per_run import PerRun

DIRECTIONS = 200  # random unit vectors that the energy is averaged over


def singular_values(projector: str, ratio: float, d: int, seed: int) -> np.ndarray:
    """Of the P of a run with this seed, falling: (k,)."""
    return np.linalg.svd(matrix(projector, ratio, d, seed), compute_uv=False)


def matrix(projector: str, ratio: float, d: int, seed: int) -> np.ndarray:
    """The P of a run with this seed: (k, d) float64."""
    from fewbits import rng
    from fewbits.algorithms.projected import PROJECTOR
    from fewbits.federation.assemble import lane_keys
    from fewbits.lazy import torch
    from fewbits.projectors import PROJECTORS
    from fewbits.projectors.base import count

    key = int(rng.fold(lane_keys([{"seed": seed}]), PROJECTOR)[0])
    return PROJECTORS[projector](key, count(ratio, d), d, torch.float64).matrix()


def numbers(projector: str, ratio: float, d: int, seed: int) -> dict[str, float]:
    """What is known of a run's P, by the names of QUANTITIES."""
    p = matrix(projector, ratio, d, seed)
    values = np.linalg.svd(p, compute_uv=False)
    k, edge = len(p), (len(p) / d) ** 0.5
    gram = p @ p.T
    apart = (
        d - k + ((values**2 - 1) ** 2).sum()
    ) ** 0.5  # |P^T P - I|, whose spectrum is values^2 and d - k zeros
    seen = np.random.default_rng(0).standard_normal((d, DIRECTIONS))
    energy = ((p @ seen) ** 2).sum() / (seen**2).sum()
    return {
        "k": k,
        "smallest": float(values[-1]),
        "largest": float(values[0]),
        "beyond the edges": float(max(values[0] - (1 + edge), (1 - edge) - values[-1], 0.0)),
        "off the diagonal": float(np.abs(gram - np.diag(np.diag(gram))).max()),
        "P P' from I": float(np.linalg.norm(gram - np.eye(k))),
        "P' P from I": float(apart),
        "sqrt(d - k)": (d - k) ** 0.5,
        "P' P from I / sqrt(d - k)": float(apart / (d - k) ** 0.5) if d > k else 0.0,
        "energy d / k": float(energy * d / k),
    }


QUANTITIES = (
    "smallest", "largest", "beyond the edges", "off the diagonal", "P P' from I", "P' P from I",
    "P' P from I / sqrt(d - k)", "energy d / k",
)  # fmt: skip


class Projection(PerRun):
    """A number of the run's P."""

    quantity: Literal[*QUANTITIES]
    metric: ClassVar[str] = "bits_up"

    def value(self, curve, run) -> float:
        return _of_run(run)[self.quantity]


def _of_run(run) -> dict[str, float]:
    if "algorithm.projector" not in run or run["algorithm.projector"] != run["algorithm.projector"]:
        raise AnalysisError(f"run {run['run']} has no projector; add algorithm to select")
    asked = run["algorithm.projector"], float(run["algorithm.ratio"])
    return numbers(*asked, int(run["constants.dim"]), int(run["seed"]))


def projections(runs, metrics, dims: list = ()):
    """One row per projector and share k/d of the runs: singular values of P, how far P P' and P' P are from the identity
    (Frobenius norm), and E|P x|^2 / |x|^2 over k/d; of the first seed. dims: also for vectors of so many numbers."""
    import pandas as pd

    with_p = runs[runs.get("algorithm.projector", pd.Series(dtype=object)).notna()]
    if with_p.empty:
        raise AnalysisError("no run has a projector; add algorithm to select")
    seed = int(with_p["seed"].min())
    own = int(with_p["constants.dim"].iloc[0])
    pairs = with_p[["algorithm.projector", "algorithm.ratio"]].drop_duplicates()
    pairs = pairs.sort_values(["algorithm.projector", "algorithm.ratio"]).to_numpy().tolist()
    rows = []
    for d in (own, *dims):
        for projector, ratio in pairs:
            found = numbers(projector, float(ratio), d, seed)
            found.pop("beyond the edges"), found.pop("P' P from I / sqrt(d - k)")
            rows.append({"projector": projector, "dim": d, "k/d": float(ratio), **found})
    return pd.DataFrame(rows)
