"""The round engine: runs a method on a batch of lanes until each lane is done.

It owns the loop, what is recorded, when a lane stops and what a checkpoint holds, and knows no method:
those fill its slots (algorithm, objective, network, selection, local solver). A lane that converged or diverged is taken out and
the others go on; since lanes do not influence each other, their numbers stay the same bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from fewbits.algorithms.base import Algorithm, Round, State
from fewbits.federation.aggregation.base import Aggregation
from fewbits.federation.attacks.base import Attack
from fewbits.federation.clock.base import Clock, Happened
from fewbits.federation.evaluation import Evaluation
from fewbits.federation.fairness import of_clients
from fewbits.federation.local.base import Local, Work
from fewbits.federation.local.gradient import Gradient
from fewbits.federation.network import COUNTERS, Network
from fewbits.federation.objective import Objective, square, square_of_clients
from fewbits.federation.sampling import everyone, round_keys
from fewbits.federation.selection.base import Selection
from fewbits.federation.server.base import Server
from fewbits.federation.snapshots import Snapshots
from fewbits.federation.statistics import KEY, initial, of_round
from fewbits.lazy import torch

# A lane diverged where one of them is not finite, or the first that is recorded is too large.
JUDGED = ("grad_sq", "loss", "test_loss")
KEPT = "server."  # what the server's optimiser and the selection keep, in a batch's state
HELD = "local."  # what clients keep for their local work
SENDERS = "senders."  # what those who compress keep from message to message
CLOCK = "clock."  # what the clock keeps


@dataclass(frozen=True)
class Setting:
    """What fills the slots. `selection` None: everyone takes part in every round; `clock` None: time is not simulated;
    `aggregation` None: the method's own mean; `attack` None: all clients are honest."""

    algorithm: Algorithm
    objective: Objective
    network: Network
    selection: Selection | None = None
    local: Local = field(default_factory=Gradient)
    server: Server = field(default_factory=Server)
    clock: Clock | None = None
    aggregation: Aggregation | None = None
    attack: Attack | None = None

    def open(self, batch: Batch, cohort: torch.Tensor | None, watch: bool = False) -> Round:
        """A round of the batch with this cohort; `watch`: note the errors of its messages."""
        clients = self.objective.clients
        past = _part(batch.state, SENDERS)
        self.network.open_round(
            batch.counters, batch.keys, batch.round, cohort, clients, watch, past
        )
        memory, held = _part(batch.state, KEPT), _part(batch.state, HELD)
        return Round(
            self.objective, self.network, batch.step, cohort, self.local, _round_keys(batch),
            batch.round, self.server, memory, statistics=of_round(batch.state, self.network), held=held,
            selection=self.selection if batch.round else None,
            lanes=batch.keys, aggregation=self.aggregation, attack=self.attack,
        )  # fmt: skip

    def benign(self, batch: Batch) -> torch.Tensor:
        """Which clients are not malicious: (lanes, clients) bool."""
        clients = self.objective.clients
        if self.attack is None:
            return torch.ones(len(batch.names), clients, dtype=torch.bool)
        return ~self.attack.malicious(batch.keys, clients)

    def time(self, batch: Batch, run: Round) -> dict[str, torch.Tensor]:
        """The clock's memory after the round; the start, at which nobody works on the model yet, is round 0."""
        delay = self.algorithm.delay
        late = divmod(delay, self.local.steps) if delay else (0, 0)
        memory = _part(batch.state, CLOCK) or self.clock.initial(
            len(batch.names), self.objective.clients, late
        )
        sizes = run.sizes(batch.step)
        work = (
            self.local.work(sizes, batch.round)
            if batch.round
            else Work(*np.zeros((2, *sizes.shape)))
        )
        who = everyone(batch.step, self.objective) if run.cohort is None else run.cohort
        sent = self.network.sent_up, self.network.sent_down
        return self.clock.advance(memory, Happened(batch.keys, batch.round, who, work, *sent, late))

    def evaluation(self) -> Evaluation:
        """What records are made with."""
        return Evaluation(self.objective)

    def model(self, state: State) -> torch.Tensor:
        """The model that is recorded."""
        return self.algorithm.model(state, self.evaluation())

    def cohort(self, batch: Batch) -> torch.Tensor | None:
        """Who takes part in the batch's present round."""
        if self.selection is None:
            return None
        return self.selection.cohort(_round_keys(batch), self.objective.clients)


@dataclass(frozen=True)
class Schedule:
    """How long to run and what to record: `rounds` in all, a row every `record_every` rounds (and the
    last), stop once grad_sq <= `converged` or test_accuracy >= `reached`, give up once grad_sq or a loss is not finite, or
    grad_sq (else the loss) above `diverged`; `snapshots`: what the observer is shown of some rounds."""

    rounds: int
    record_every: int
    converged: float = 0.0
    reached: float = np.inf
    diverged: float = 1e20
    snapshots: Snapshots = field(default_factory=Snapshots)


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

    def saw(self, batch: Batch, opened: Round, x: torch.Tensor) -> None:
        """A round that `Schedule.snapshots` names was made and ended in the model x; `opened.seen` holds what went through it."""

    def ended(self, name: str, status: str, columns: tuple[str, ...], table: np.ndarray) -> None:
        """A lane is done: `status` is finished, converged or diverged; `table` is (rows, columns)."""


def start(
    names: list[str], keys: np.ndarray, x: np.ndarray, step: np.ndarray, setting: Setting
) -> Batch:
    """A batch at round 0: x (lanes, *shape) starting points, step (lanes,) sizes, keys (lanes,) streams."""
    points = torch.from_numpy(x)
    steps = torch.from_numpy(step).reshape(len(names), *[1] * (x.ndim - 1)).to(points.dtype)
    counters = torch.zeros(len(names), len(COUNTERS), dtype=torch.float64)
    past = setting.network.nothing_kept(points, setting.objective.clients)
    state = initial(setting.objective, len(names)) | {SENDERS + k: v for k, v in past.items()}
    batch = Batch(names, keys, steps, state, counters)
    opened = setting.open(batch, None)
    opened.memory.update(setting.server.initial(points))
    clients, statistics = setting.objective.clients, batch.state.get(KEY)
    opened.held.update(setting.local.initial(points, clients, statistics))
    if setting.selection is not None:
        opened.memory.update(setting.selection.initial(points, clients))
    _update(batch, setting, opened, setting.algorithm.initial_state(points, opened))
    return batch


def run(batch: Batch, setting: Setting, schedule: Schedule, observer: Observer) -> None:
    """Run every lane to its end."""
    if not batch.rows:
        _record(batch, setting, None)
        observer.recorded(batch)
    _retire(batch, schedule, observer)  # also after a kill between a row and the ends it brought
    while batch.names:
        batch.round += 1
        due = batch.round % schedule.record_every == 0 or batch.round == schedule.rounds
        before = setting.model(batch.state) if due else None
        opened = setting.open(batch, setting.cohort(batch), watch=due)
        if batch.round in schedule.snapshots.rounds:
            opened = replace(opened, seen={})
        _update(batch, setting, opened, setting.algorithm.round(batch.state, opened))
        if opened.seen:
            observer.saw(batch, opened, setting.model(batch.state))
        if due:
            _record(batch, setting, before)
            observer.recorded(batch)
            _retire(batch, schedule, observer)


def _update(batch: Batch, setting: Setting, opened: Round, state: State) -> None:
    """What the round left: the method's state, the server's and the clients' memory, running statistics, the time."""
    state = state | {KEPT + key: value for key, value in opened.memory.items()}
    state |= {SENDERS + key: value for key, value in setting.network.kept.items()}
    state |= {HELD + key: value for key, value in (opened.held | opened.left).items()}
    if opened.statistics is not None:
        state[KEY] = opened.statistics.averaged(opened.weighted_mean)
    if setting.clock is not None:
        state |= {CLOCK + key: value for key, value in setting.time(batch, opened).items()}
    batch.state = state


def _part(state: State, prefix: str) -> dict[str, torch.Tensor]:
    """What is in a batch's state under this prefix."""
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def _round_keys(batch: Batch) -> np.ndarray:
    """The lanes' random streams in the present round."""
    return round_keys(batch.keys, batch.round)


def _record(batch: Batch, setting: Setting, before: torch.Tensor | None) -> None:
    """Add a row to every lane: bits so far, then f and what else is known at the present model.

    `before` is the model that the last round began with.
    """
    evaluation, method, x = setting.evaluation(), setting.algorithm, setting.model(batch.state)

    def measure(model: torch.Tensor) -> dict[str, torch.Tensor]:
        return setting.objective.measure(model, batch.state.get(KEY))

    pooled = {name: evaluation.pooled(own) for name, own in method.models(batch.state).items()}
    own = _of_models(pooled, measure)
    at_x = measure(x)  # last: its gradients are kept for the next round
    values, indices, metadata, down = batch.counters.unbind(dim=1)
    metrics = {
        "round": torch.full_like(values, batch.round),
        "bits_up": values + indices + metadata,
        **dict(zip(COUNTERS, (values, indices, metadata, down), strict=True)),
        **at_x,
        **own,
        "step_sq": square(x - (x if before is None else before)),
    }
    if "g_i" in batch.state and "grad_sq" in metrics:  # EF21's G: mean_i |g_i - grad f_i|^2
        errors = square_of_clients(setting.objective.gradients(x) - batch.state["g_i"])
        metrics["distortion"] = errors.mean(dim=-1)
    if setting.objective.own_tests is not None:
        found = setting.objective.own_tests(method.used(batch.state, evaluation))
        metrics |= of_clients(found, setting.benign(batch))
    metrics |= setting.network.errors(len(x))
    metrics |= {name: batch.state[name] for name in method.shows}
    if setting.selection is not None:
        metrics |= setting.selection.measure(_part(batch.state, KEPT))
    if setting.clock is not None:
        metrics |= {name: batch.state[CLOCK + name] for name in setting.clock.shows}
    batch.columns = tuple(metrics)
    batch.rows.append(torch.stack([m.double() for m in metrics.values()], dim=1).numpy())


def _of_models(models: dict[str, torch.Tensor], measure) -> dict[str, torch.Tensor]:
    """NAME_loss and so on of the mean of the clients' models; NAME_apart: their root mean square distance from it."""
    found = {}
    for name, given in models.items():
        held = given.contiguous()  # of any other layout, sums would depend on the number of lanes
        mean, away = held.mean(dim=1), (held - held[:, :1]).double()  # equal models are 0 apart
        found |= {f"{name}_{column}": value for column, value in measure(mean).items()}
        spread = square_of_clients(away - away.mean(dim=1, keepdim=True))
        found[f"{name}_apart"] = spread.mean(dim=1).sqrt()
    return found


def _retire(batch: Batch, schedule: Schedule, observer: Observer) -> None:
    """Tell the observer of lanes that are done and take them out."""
    row = dict(zip(batch.columns, batch.rows[-1].T, strict=True))
    seen = [row[name] for name in JUDGED if name in row]
    judged = seen[0]
    diverged = ~np.isfinite(seen).all(axis=0) | (judged > schedule.diverged)
    converged = row.get("grad_sq", np.full(len(judged), np.inf)) <= schedule.converged
    converged |= row.get("test_accuracy", np.zeros(len(judged))) >= schedule.reached
    finished = np.full(len(judged), batch.round >= schedule.rounds)
    done = diverged | converged | finished
    if not done.any():
        return
    for lane in np.flatnonzero(done):
        status = "diverged" if diverged[lane] else "converged" if converged[lane] else "finished"
        table = np.array([row[lane] for row in batch.rows])
        observer.ended(batch.names[lane], status, batch.columns, table)
    batch.keep(np.flatnonzero(~done))
