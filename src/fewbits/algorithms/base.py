"""What an algorithm is. One file a published method beside this one, each reads like the box in its paper.

Shapes: x (lanes, *shape); what the cohort's clients hold (lanes, cohort, *shape); what all clients hold
(lanes, clients, *shape). A lane is one run of a batch (federation/objective.py); a box says nothing of lanes
because every line works on all of them, and nothing of who takes part: `own` and `keep` go between all
clients and the cohort, and do nothing where everyone takes part.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from fewbits import rng
from fewbits.algorithms.theory import NoStep, Theory
from fewbits.compressors.base import Compressed, Compressor
from fewbits.federation.aggregation.base import Aggregation
from fewbits.federation.attacks.base import Attack
from fewbits.federation.evaluation import Evaluation
from fewbits.federation.local.base import Coupling, Jump, Local
from fewbits.federation.local.gradient import Gradient
from fewbits.federation.network import Network
from fewbits.federation.objective import Objective
from fewbits.federation.sampling import everyone
from fewbits.federation.selection.base import Selection
from fewbits.federation.server.base import Server
from fewbits.federation.statistics import Statistics
from fewbits.lazy import torch

CALL = rng.stream("call of local work")
ATTACK = rng.stream("attack")

State = "dict[str, torch.Tensor]"  # each with the lane as its first dimension; "x" is the server's model, if it has one


@dataclass(frozen=True)
class Round:
    """What a method works with in one round.

    step: the step size of each lane, (lanes, *[1] * len(shape)). cohort: the clients that take part,
    (lanes, m) increasing, None for everyone. keys: the lanes' random streams in this round, (lanes,) uint64.
    number: of the round, from 1. memory: what the server's optimiser keeps, brought up to date by `descend`, and what the
    selection keeps. selection: judges the first updates of a round (None: nobody is judged).
    held: what clients keep for their local work, (lanes, clients, *shape) each; `updates` puts what they keep for the next
    round into `left`.
    seen: where a snapshot is taken (federation/snapshots.py), what was asked for, what was compressed, and the
    models (with statistics) that clients ended with.
    statistics: what batch normalisation keeps; `updates` moves it.
    lanes: the lanes' streams, the same in every round, (lanes,) uint64. aggregation: in place of `mean` and `weighted_mean`.
    attack: what malicious clients send in place of what they should.
    """

    objective: Objective
    network: Network
    step: torch.Tensor
    cohort: torch.Tensor | None = None
    local: Local = field(default_factory=Gradient)
    keys: np.ndarray | None = None
    number: int = 1
    server: Server = field(default_factory=Server)
    memory: dict[str, torch.Tensor] = field(default_factory=dict)
    seen: dict[str, torch.Tensor] | None = None
    statistics: Statistics | None = None
    held: dict[str, torch.Tensor] = field(default_factory=dict)
    left: dict[str, torch.Tensor] = field(default_factory=dict)
    selection: Selection | None = None
    lanes: np.ndarray | None = None
    aggregation: Aggregation | None = None
    attack: Attack | None = None

    def updates(self, x: torch.Tensor, correction: torch.Tensor | None = None) -> torch.Tensor:
        """What each client of the cohort wants to send, from the model x: (lanes, cohort, *shape).

        The local solver decides: the gradient (all rows, or this round's sample of them), or minus the change
        of the model by local work. Called twice in a round, it takes the same sample. correction (lanes, cohort,
        *shape): what a client adds to every gradient that it takes.
        """
        clients = self.objective.clients if self.cohort is None else self.cohort.shape[1]
        statistics = None if self.statistics is None else self.statistics.of(clients)
        own = {name: self.own(value) for name, value in self.held.items()}
        made = self.local.updates(
            self.objective, x, self.cohort, self.keys, self.number, correction, statistics, own
        )
        if self.seen is not None:
            self.seen["model"] = x[:, None] - made
            self.seen.update({} if statistics is None else {"statistics": statistics})
        self.left.update({name: self.keep(self.held[name], value) for name, value in own.items()})
        if self.selection is not None and not self.network.judged:
            self.network.senders = self.selection.judge(self, x, made)
            self.network.judged = True
        return self._see("update", made)

    def work(
        self, start: torch.Tensor, coupling: Coupling | None = None, call: int = 0, jump: Jump | None = None
    ) -> torch.Tensor:  # fmt: skip
        """What local work of each client of the cohort ends in, from a model of its own: (lanes, cohort, *shape) -> the same.

        coupling(y, at): added to every gradient, where held[at] is, of anything (lanes, cohort, ...), the part of the clients
        whose models y (g, *shape) are. call: from 0, of several in a round; each takes samples of its own. jump: what is added on
        the way.
        """
        who = everyone(start, self.objective) if self.cohort is None else self.cohort
        keys = rng.fold(rng.fold(self.keys, CALL), call) if call else self.keys
        return self.local.solve(self.objective, start, who, keys, self.number, coupling, jump=jump)

    def descend(self, x: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
        """The server's step, once a round: x - change, or what its optimiser makes of it. `change` is the step size times
        the direction: (lanes, *shape)."""
        return self.server.descend(x, change, self.step, self.memory)

    def travel(self, x: torch.Tensor) -> torch.Tensor:
        """The sum of each client's local step sizes, to divide what the cohort holds, x, by: (lanes, cohort, 1, ...)."""
        sums = self.local.travel(self.sizes(x), self.number)
        return torch.as_tensor(sums, dtype=x.dtype).reshape(*sums.shape, *[1] * (x.dim() - 2))

    def sizes(self, x: torch.Tensor) -> np.ndarray:
        """Rows of each client of the cohort: (lanes, cohort)."""
        who = everyone(x, self.objective) if self.cohort is None else self.cohort
        return self.objective.sizes[who.numpy()]

    def gradients(self, x: torch.Tensor) -> torch.Tensor:
        """The full gradient of every client of the cohort at x."""
        return self.objective.gradients(x, self.cohort)

    def compress(self, x: torch.Tensor) -> Compressed:
        """C of what each client of the cohort holds. Sends nothing yet."""
        return self.network.compress(self._as_sent(self._see("residual", x)))

    def as_it_is(self, x: torch.Tensor, wire: str | None = "float32") -> Compressed:
        """What each client of the cohort holds, of any shape, in that float format (None: the model's): (lanes, cohort, ...).
        Sends nothing yet."""
        return self.network.uncompressed(self._as_sent(x), wire, tuple(x.shape[2:]))

    def up(self, message: Compressed) -> torch.Tensor:
        """Every client of the cohort sends its message; returns what the server decodes."""
        return self.network.up(message)

    def compress_down(self, x: torch.Tensor) -> Compressed:
        """The downlink's compressor, of one tensor at the server: x (lanes, *shape)."""
        return self.network.compress_down(x)

    def down(self, x: torch.Tensor | Compressed) -> torch.Tensor:
        """The server sends one tensor (whole) or message to every client of the cohort."""
        return self.network.down(x)

    def _as_sent(self, x: torch.Tensor) -> torch.Tensor:
        """x (lanes, cohort, ...), with what malicious clients send in its place."""
        if self.attack is None:
            return x
        who = everyone(x, self.objective) if self.cohort is None else self.cohort
        keys = rng.fold(rng.fold(self.keys, ATTACK)[:, None], who.numpy())
        return self.attack.spoil(
            x, self.own(self.attack.malicious(self.lanes, self.objective.clients)), keys
        )

    def _see(self, name: str, x: torch.Tensor) -> torch.Tensor:
        if self.seen is not None:
            self.seen[name] = x
        return x

    def own(self, held: torch.Tensor) -> torch.Tensor:
        """The cohort's part of what all clients hold."""
        if self.cohort is None:
            return held
        return held[torch.arange(len(held))[:, None], self.cohort]

    def keep(self, held: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        """`held` with the cohort's part replaced by `new`; the others, and those that may not send, keep theirs."""
        if self.cohort is None and self.network.senders is None:
            return new
        who = everyone(held, self.objective) if self.cohort is None else self.cohort
        kept = held.clone()
        kept[torch.arange(len(held))[:, None], self.network.heard(who)] = self.network.heard(new)
        return kept

    def mean(self, x: torch.Tensor) -> torch.Tensor:
        """The server's mean over the cohort, or those of it that may send, or the study's aggregation: (lanes, cohort, *shape) ->
        (lanes, *shape)."""
        x = self.network.heard(x)
        return x.mean(dim=1) if self.aggregation is None else self.aggregation.combine(x)

    def mean_of_all(self, x: torch.Tensor) -> torch.Tensor:
        """(1/n) sum over the cohort, n all clients: the mean where the others send zero."""
        return self.network.heard(x).sum(dim=1) / self.objective.clients

    def weighted_mean(self, x: torch.Tensor) -> torch.Tensor:
        """The mean over the cohort with weights proportional to the clients' numbers of rows, or the study's aggregation."""
        if self.aggregation is not None:
            return self.aggregation.combine(self.network.heard(x))
        rows = torch.as_tensor(self.objective.sizes, dtype=x.dtype)
        weights = rows.expand(len(x), -1) if self.cohort is None else rows[self.cohort]
        x, weights = self.network.heard(x), self.network.heard(weights)
        weights = weights / weights.sum(dim=1, keepdim=True)
        return (x * weights.reshape(*weights.shape, *[1] * (x.dim() - 2))).sum(dim=1)

    def mean_where(self, x: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        """The mean of each number over those that may send and for whom `where` holds, zero where it does for nobody: x and
        where (bool) (lanes, cohort, *shape) -> (lanes, *shape)."""
        x, where = self.network.heard(x), self.network.heard(where)
        weights = where.to(x.dtype) / where.sum(dim=1, keepdim=True).clamp(min=1)
        return (x * weights).sum(dim=1)

    def uniform(self, purpose: str) -> torch.Tensor:
        """One number uniform on [0, 1) for each lane and round, (lanes,) float64: the server's coin."""
        keys = rng.fold(self.keys, rng.stream(purpose))
        return torch.from_numpy(rng.uniforms(keys, 1)[:, 0])


class Algorithm:
    """`initial_state` makes the state from the starting point; `round` is one round, x^t to x^(t+1).

    Everyone takes part in `initial_state`; from then on the cohort of the round. `sends` says what its
    uplink needs: "compressed" (a study must name a compressor), "dense", "own" or "nothing" (it must not), or
    "either".

    A method that some slots do not fit says so in `check` (studies/combinations.py).
    """

    name: ClassVar[str]
    sends: ClassVar[str] = "compressed"
    feedback: ClassVar[bool] = False  # error feedback: rests on a contractive compressor
    unbiased: ClassVar[bool] = False  # rests on messages whose mean is what was wanted
    cite: ClassVar[str]
    label: ClassVar[str]  # how figures and tables call it
    shows: ClassVar[tuple[str, ...]] = ()  # numbers of its state, (lanes,), that are recorded
    delay: ClassVar[int] = 0  # local steps that clients go on without a round's result
    averages: ClassVar[bool] = (
        False  # all that it knows of the cohort is a mean: another aggregation fits
    )
    personal: ClassVar[bool] = False  # clients use models of their own
    both_ways: ClassVar[bool] = False  # what the server sends is compressed too: `downlink`

    @classmethod
    def examples(cls) -> list[dict]:
        """Parts of a run's spec with which the conformance tests try this algorithm: `algorithm` (parameters),
        `compressor`, `downlink`, ..."""
        return [{}]

    def initial_state(self, x: torch.Tensor, run: Round) -> State:
        return {"x": x}

    def round(self, s: State, run: Round) -> State:
        raise NotImplementedError

    def model(self, s: State, evaluation: Evaluation) -> torch.Tensor:
        """The model that is recorded, (lanes, *shape): the server's, or, where it holds none, one that nobody has."""
        return s["x"]

    def used(self, s: State, evaluation: Evaluation) -> torch.Tensor:
        """The model that clients use, (lanes, *shape), or each its own, (lanes, clients, *shape)."""
        return evaluation.told(self.model(s, evaluation))

    def models(self, s: State) -> dict[str, torch.Tensor]:
        """Models of the clients' own, (lanes, clients, *shape), by name: what their mean is like is recorded, and how far apart
        they are."""
        return {}

    def doubt(self, compressor: Compressor, alpha: float | None) -> str | None:
        """What to warn of before this runs with a compressor whose contraction constant is `alpha`, or None."""
        if not self.feedback or alpha is not None or compressor.instead is None:
            return None
        why = "which has no contraction constant, so that it need not converge"
        return f"'{compressor.name}' under {self.label}, {why}; better: {compressor.instead}"

    def step_size(self, rule: str, theory: Theory) -> float:
        """The step at factor 1. `rule`: "theory" (general non-convex) or "pl". Raises NoStep (theory.py)."""
        raise NoStep("there is no theory of this algorithm's step")


def mean(x: torch.Tensor) -> torch.Tensor:
    """The mean over all clients: (lanes, clients, *shape) -> (lanes, *shape)."""
    return x.mean(dim=1)


def by_lane(flags: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """(lanes,) reshaped to broadcast against `like` (lanes, ...)."""
    return flags.reshape(-1, *[1] * (like.dim() - 1))


def omega(run: Round) -> float:
    """The variance constant of the clients' C. Raises ValueError."""
    found = run.network.compressor.variance(run.network.shape)
    if found is None:
        raise ValueError(f"{run.network.compressor.name}: found no variance constant omega")
    return found


def needs_everyone(selection) -> str | None:
    """For methods whose clients follow every round: why not this selection, or None."""
    if selection is not None:
        return "its clients must all take part in every round, so leave selection out"
    return None


def needs_local_work(local) -> str | None:
    """For methods whose clients have models of their own: why not this local solver, or None."""
    if local is None or local.exact:
        return "its clients work on models of their own, so local must be local work: {name: sgd, step: ..., steps: ...}"
    return None


def needs_plain_server(server) -> str | None:
    """For methods whose server holds no model: why not this server optimiser, or None."""
    if server is not None:
        return "its server holds no model that an optimiser could move, so leave server out"
    return None


def needs_gradients(local) -> str | None:
    """For methods that use gradients of all rows beside updates: why not this local solver, or None."""
    if local is not None and not local.exact:
        return "its updates must be gradients, so local work does not fit"
    return None


def needs_variance(compressor, parameter: str) -> str | None:
    """For methods with a parameter whose default is 1/(1 + omega): why not this compressor, or None."""
    if compressor is not None and compressor.variance((64,)) is None:
        return f"{parameter} must be given where the compressor is not unbiased; else it is 1/(1 + omega)"
    return None
