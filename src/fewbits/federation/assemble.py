"""From a run's spec to the things that fill the engine's slots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fewbits import registry, rng
from fewbits.algorithms.base import Algorithm
from fewbits.algorithms.theory import Theory, step_size, theta_beta
from fewbits.compressors.base import Compressor, size
from fewbits.compressors.identity import Identity
from fewbits.compressors.layered import for_model, shape_of
from fewbits.datasets.base import Arrays
from fewbits.devices import PROCESSOR
from fewbits.federation.aggregation.base import Aggregation
from fewbits.federation.attacks.base import Attack
from fewbits.federation.clock.base import Clock
from fewbits.federation.crossing import There, WorkThere
from fewbits.federation.engine import Schedule, Setting
from fewbits.federation.local.base import Local
from fewbits.federation.network import Network
from fewbits.federation.objective import Layer, Objective
from fewbits.federation.selection.base import Selection
from fewbits.federation.sending.base import Sending
from fewbits.federation.server.base import Server
from fewbits.federation.snapshots import Snapshots
from fewbits.federation.space.base import Frames
from fewbits.federation.space.message import Seeded
from fewbits.federation.space.work import Within
from fewbits.files import digest


@dataclass(frozen=True)
class Problem:
    """What the lanes of one batch share. `alpha` is the compressor's contraction constant, None if it has none.

    achieved: where a rule sets the size of messages, their length over what the rule asks for.
    """

    algorithm: Algorithm
    compressor: Compressor
    downlink: Compressor
    objective: Objective
    selection: Selection | None
    local: Local
    sending: Sending
    server: Server
    clock: Clock | None
    aggregation: Aggregation | None
    attack: Attack | None
    alpha: float | None
    achieved: float | None = None

    def network(self) -> Network:
        """Compressed uplink, a downlink for methods that compress it; a model that goes down whole goes in the
        precision it is computed in."""
        whole = Identity(wire=self.objective.precision)
        ends = self.compressor, self.downlink, whole
        return Network(self.objective.shape, *ends, self.sending)

    def setting(self) -> Setting:
        """What fills the engine's slots."""
        slots = self.selection, self.local, self.server, self.clock, self.aggregation, self.attack
        return Setting(self.algorithm, self.objective, self.network(), *slots)

    def step_size(self, step: dict) -> float:
        """The step that `{"value": ...}` or `{"rule": ..., "factor": ...}` means here."""
        if "value" in step:
            return step["value"]
        return step["factor"] * step_size(self.algorithm, step["rule"], self.theory())

    def theory(self) -> Theory:
        """What a step may rest on."""
        f = self.objective
        return Theory(
            smoothness=f.smoothness,
            clients=f.clients,
            alpha=self.alpha,
            omega=self.omega,
            alpha_down=self.downlink.contraction(f.shape),
            share=1.0 if self.selection is None else self.selection.share(f.clients),
            exact=self.local.exact,
            plain=type(self.server) is Server and self.aggregation is None,
            whole=self.sending.whole,
            instead=self.compressor.instead,
        )

    @property
    def omega(self) -> float | None:
        """The compressor's variance constant, None if it has none."""
        return self.compressor.variance(self._part) if self.sending.whole else None

    def doubt(self) -> str | None:
        """What to warn of before this runs."""
        return self.algorithm.doubt(self.compressor, self.compressor.contraction(self._part))

    @property
    def _part(self) -> tuple[int, ...]:
        """Shape of what the compressor is given."""
        return shape_of(self.sending.layers(self.objective.layers))

    def constants(self, step: float) -> dict[str, float]:
        """What the theory of this run is made of."""
        d = size(self.objective.shape)
        numbers = {"dim": d, "clients": self.objective.clients, "step": step}
        if self.alpha is not None:
            theta, beta = theta_beta(self.alpha)
            numbers |= {"alpha": self.alpha, "theta": theta, "beta": beta}
        if self.omega is not None:
            numbers["omega"] = self.omega
        if self.achieved is not None:
            numbers["payload_achieved"] = self.achieved
        smoothness = self.objective.smoothness
        return numbers | (smoothness.summary() if smoothness else {})


def problem(spec: dict, data: Arrays, parts: list[np.ndarray], on: str = PROCESSOR) -> Problem:
    """The shared part of runs like `spec`, on these rows and this partition; `on`: the device of f and of local work."""
    source = registry.find("dataset", spec["dataset"]["name"])
    attack = _plugin("attack", spec.get("attack"))
    if attack is not None:
        data = _poisoned(data, parts, attack, lane_keys([spec]))
    objective = registry.make("model", spec["model"]).objective(data, parts, source)
    local = _plugin("local", spec.get("local") or {"name": "gradient"})
    if on != PROCESSOR:
        objective = There(objective.to(on), on)
    sending = _plugin("sending", spec.get("sending")) or Sending()
    layers, space = sending.layers(objective.layers), _plugin("space", spec.get("space"))
    if space is not None:
        frames = Frames(space, layers)
        layers, local = frames.inner, Within(local, frames)
    elif on != PROCESSOR:
        local = WorkThere(local, objective)
    compressor, achieved = _compressor(spec, "compressor", layers)
    if space is not None:
        compressor = Seeded(compressor, frames)
    return Problem(
        algorithm=_plugin("algorithm", spec["algorithm"]),
        compressor=compressor,
        downlink=_compressor(spec, "downlink", objective.layers)[0],
        objective=objective,
        selection=_plugin("selection", spec.get("selection")),
        local=local,
        sending=sending,
        server=_plugin("server", spec.get("server")) or Server(),
        clock=_plugin("clock", spec.get("clock")),
        aggregation=_plugin("aggregation", spec.get("aggregation")),
        attack=attack,
        alpha=compressor.contraction(shape_of(layers)) if sending.whole else None,
        achieved=achieved,
    )


def _poisoned(data: Arrays, parts: list[np.ndarray], attack: Attack, keys: np.ndarray) -> Arrays:
    """The rows that clients learn from, under an attack in the run with these streams (1,)."""
    who = attack.malicious(keys, len(parts))[0].numpy()
    return replace(data, y=attack.labels(data.y, parts, who, keys[0]))


def _compressor(spec: dict, key: str, layers: Sequence[Layer]) -> tuple[Compressor, float | None]:
    """The compressor of these layers, and what a size rule achieves on them."""
    block = spec.get(key) or {"name": "identity"}
    return for_model(block, layers, **spec.get("layers", {}))


def _plugin(kind: str, block: dict | None):
    return registry.make(kind, block) if block else None


def schedule(spec: dict) -> Schedule:
    """When to record and to stop."""
    stop = spec.get("stop") or {}
    given = {
        "converged": stop.get("grad_sq_below"),
        "reached": stop.get("test_accuracy_above"),
        "diverged": stop.get("diverge_above"),
    }
    known = {key: value for key, value in given.items() if value is not None}
    if "snapshots" in spec:
        asked = spec["snapshots"]
        keep = tuple(asked.get("keep", ("updates",)))
        known["snapshots"] = Snapshots(tuple(asked["rounds"]), asked["clients"], keep)
    return Schedule(rounds=spec["rounds"], record_every=spec["record_every"], **known)


def lane_keys(specs: list[dict]) -> np.ndarray:
    """The lanes' random streams (messages, cohorts, samples of rows), from their seeds: (lanes,) uint64."""
    return np.array([rng.stream("messages", spec["seed"]) for spec in specs])


def starting_points(specs: list[dict], objective: Objective) -> np.ndarray:
    """x^0 of every lane, from its seed: (lanes, *shape)."""
    return np.stack([_starting_point(spec, objective) for spec in specs])


def _starting_point(spec: dict, objective: Objective) -> np.ndarray:
    if "start" not in spec:
        return objective.start(spec["dataset"]["name"], spec["seed"])
    path = spec["start"]["file"]
    point, found = read_start(path)
    if found != spec["start"]["digest"]:
        raise ValueError(f"{path}: is not the starting point that the spec was made with")
    if point.shape != objective.shape:
        raise ValueError(f"{path}: found shape {point.shape}; expected {objective.shape}")
    return point


def read_start(path: str) -> tuple[np.ndarray, str]:
    """The finite numbers in a .npy file as float64, and their digest. Raises ValueError."""
    try:
        point = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path}: cannot be read as a .npy file of numbers ({error})") from None
    if point.dtype.kind not in "fiu" or not np.isfinite(point).all():
        raise ValueError(f"{path}: found {point.dtype} entries; expected finite numbers")
    point = point.astype(np.float64)
    return point, digest(repr(point.tolist()))
