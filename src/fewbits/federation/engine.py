"""The round engine: runs a method on a batch of lanes until each lane is done.

It owns the loop, what is recorded, when a lane stops and what a checkpoint holds, and knows no method:
those fill its slots (algorithm, objective, network). A lane that converged or diverged is taken out and
the others go on; since lanes do not influence each other, their numbers stay the same bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from fewbits.algorithms.base import Algorithm, Round, State
from fewbits.federation.network import COUNTERS, Network
from fewbits.federation.objective import Objective
from fewbits.lazy import torch


@dataclass(frozen=True)
class Schedule:
    """How long to run and what to record: `rounds` in all, a row every `record_every` rounds (and the
    last), stop once grad_sq <= `converged`, give up once it is not finite or above `diverged`."""

    rounds: int
    record_every: int
    converged: float = 0.0
    diverged: float = 1e20


@dataclass
class Batch:
    """Lanes in progress. `names` are the runs; `keys` (lanes,) uint64 name their random streams;
    `rows` has one (lanes, columns) array a recorded round."""

    names: list[str]
    keys: np.ndarray
    step: torch.Tensor
    state: State
    counters: torch.Tensor
    round: int = 0
    columns: tuple[str, ...] = ()
    rows: list[np.ndarray] = field(default_factory=list)

    def keep(self, lanes: np.ndarray) -> None:
        """Drop all lanes but these (indices)."""
        index = torch.from_numpy(lanes)
        self.names = [self.names[i] for i in lanes]
        self.keys = self.keys[lanes]
        self.step, self.counters = self.step[index], self.counters[index]
        self.state = {key: value[index].contiguous() for key, value in self.state.items()}
        self.rows = [row[lanes] for row in self.rows]

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything, for a checkpoint."""
        held = {f"state.{key}": value.numpy() for key, value in self.state.items()}
        fixed = {"names": np.array(self.names), "columns": np.array(self.columns)}
        own = {"keys": self.keys, "step": self.step.numpy(), "counters": self.counters.numpy()}
        return held | fixed | own | {"round": np.array(self.round), "rows": np.array(self.rows)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Batch:
        """What `arrays` gave."""
        state = {k[6:]: torch.from_numpy(v) for k, v in arrays.items() if k.startswith("state.")}
        return cls(
            names=arrays["names"].tolist(),
            keys=arrays["keys"],
            step=torch.from_numpy(arrays["step"]),
            state=state,
            counters=torch.from_numpy(arrays["counters"]),
            round=int(arrays["round"]),
            columns=tuple(arrays["columns"].tolist()),
            rows=list(arrays["rows"]),
        )


class Observer:
    """What a caller may want to hear of: override what is needed."""

    def recorded(self, batch: Batch) -> None:
        """A row was added to every lane of the batch."""

    def ended(self, name: str, status: str, columns: tuple[str, ...], table: np.ndarray) -> None:
        """A lane is done: `status` is finished, converged or diverged; `table` is (rows, columns)."""


def start(
    names: list[str],
    keys: np.ndarray,
    x: np.ndarray,
    step: np.ndarray,
    algorithm: Algorithm,
    objective: Objective,
    network: Network,
) -> Batch:
    """A batch at round 0: x (lanes, *shape) starting points, step (lanes,) sizes, keys (lanes,) streams."""
    steps = torch.from_numpy(step).reshape(len(names), *[1] * len(objective.shape))
    counters = torch.zeros(len(names), len(COUNTERS), dtype=torch.float64)
    network.open_round(counters, keys, 0)
    state = algorithm.initial_state(torch.from_numpy(x), Round(objective, network, steps))
    return Batch(names, keys, steps, state, counters)


def run(
    batch: Batch,
    algorithm: Algorithm,
    objective: Objective,
    network: Network,
    schedule: Schedule,
    observer: Observer,
) -> None:
    """Run every lane to its end."""
    if not batch.rows:
        _record(batch, objective, batch.state["x"])
        observer.recorded(batch)
        _retire(batch, schedule, observer)
    while batch.names:
        before = batch.state["x"]
        batch.round += 1
        network.open_round(batch.counters, batch.keys, batch.round)
        batch.state = algorithm.round(batch.state, Round(objective, network, batch.step))
        if batch.round % schedule.record_every == 0 or batch.round == schedule.rounds:
            _record(batch, objective, before)
            observer.recorded(batch)
            _retire(batch, schedule, observer)


def _record(batch: Batch, objective: Objective, before: torch.Tensor) -> None:
    """Add a row to every lane: bits so far, then f and what else is known at the present model."""
    x = batch.state["x"]
    gradients = objective.gradients(x)
    values, indices, metadata, down = batch.counters.unbind(dim=1)
    metrics = {
        "round": torch.full_like(values, batch.round),
        "bits_up": values + indices + metadata,
        **dict(zip(COUNTERS, (values, indices, metadata, down), strict=True)),
        "loss": objective.loss(x),
        "grad_sq": _square(gradients.mean(dim=1)),
        "step_sq": _square(x - before),
        **objective.metrics(x),
    }
    if "g_i" in batch.state:  # EF21's G: mean_i |g_i - grad f_i|^2
        errors = (batch.state["g_i"] - gradients).flatten(2)
        metrics["distortion"] = (errors * errors).sum(dim=-1).mean(dim=-1)
    batch.columns = tuple(metrics)
    batch.rows.append(torch.stack(list(metrics.values()), dim=1).numpy())


def _retire(batch: Batch, schedule: Schedule, observer: Observer) -> None:
    """Tell the observer of lanes that are done and take them out."""
    grad_sq = batch.rows[-1][:, batch.columns.index("grad_sq")]
    diverged = ~np.isfinite(grad_sq) | (grad_sq > schedule.diverged)
    converged = grad_sq <= schedule.converged
    finished = np.full(len(grad_sq), batch.round >= schedule.rounds)
    done = diverged | converged | finished
    if not done.any():
        return
    for lane in np.flatnonzero(done):
        status = "diverged" if diverged[lane] else "converged" if converged[lane] else "finished"
        table = np.array([row[lane] for row in batch.rows])
        observer.ended(batch.names[lane], status, batch.columns, table)
    batch.keep(np.flatnonzero(~done))


def _square(x: torch.Tensor) -> torch.Tensor:
    """|x|^2 of every lane."""
    return (x * x).flatten(1).sum(dim=1)
