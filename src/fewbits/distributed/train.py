"""Train one run over a group of processes: the folder that `fewbits train` makes, and `traffic.json` beside it."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from fewbits import checkpoint, fingerprint
from fewbits.distributed.group import Gone, Group, Traffic
from fewbits.distributed.slots import Spanning, spanning
from fewbits.federation import assemble, engine
from fewbits.federation.engine import Batch, Observer
from fewbits.files import canonical, digest, read_json, write_json
from fewbits.lazy import torch
from fewbits.train import (
    CHECKPOINT_SECONDS,
    Desk,
    OneRun,
    Say,
    data_of,
    has_snapshots,
    is_done,
    only_one,
)

GENERATIONS = 2  # a process may be killed before it has written the newest one


def train_one(
    spec: dict, out: Path, group: Group, data_root: Path | None, form: str, say: Say
) -> str:
    """Train one run into the folder `out`, each process its clients; returns its status at the server, "" elsewhere.

    form: "messages" (the simulator's very results) or "all_reduce" (equal to rounding). Killed, the same call with as many processes goes on
    and ends in the same bytes. Raises Gone, ValueError.
    """
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    code = fingerprint.of_run(spec) + ("" if form == "messages" else f"+{form}")
    places = OneRun(out, data_root)
    lock = only_one(out / "distributed.lock", say) if group.is_server else nullcontext()
    with lock:
        done = is_done(out, spec, code) if group.is_server else None
        if group.tell(str(done).encode()) != b"True":
            problem = assemble.problem(spec, *data_of(spec, places, None))
            if reason := _alone(problem, form):
                raise ValueError(reason)
            _Run(spec, out, group, form, code, problem, places, say).train()
        return read_json(out / "summary.json")["status"] if group.is_server else ""


def _alone(problem: assemble.Problem, form: str) -> str | None:
    """Why this cannot be run over processes, or None."""
    allowed = "allowed: --form messages"
    if form == "messages":
        return None
    if problem.algorithm.personal:
        return f"algorithm.name: found {problem.algorithm.name}, whose clients have models of their own; {allowed}"
    if problem.aggregation is not None:
        return f"aggregation.name: found {problem.aggregation.name}, which is no sum; {allowed}"
    return None


class _Run(Observer):
    """One run in progress, at every process; the server's desk writes the folder."""

    def __init__(self, spec, out, group, form, code, problem, places, say) -> None:
        self.spec, self.out, self.group, self.problem = spec, out, group, problem
        self.setting: Spanning = spanning(problem.setting(), group, form)
        own = fingerprint.of_modules("fewbits.distributed.train")
        self.code = f"{code} {own} {digest(canonical(spec))}"
        self.schedule = assemble.schedule(spec)
        self.batch = self._resumed() or self._started()
        self.saved, self.desk = time.monotonic(), None
        if group.is_server:
            lanes = {out.name: spec}
            self.desk = Desk(lanes, problem, places, code, self.batch, None, say)

    def train(self) -> None:
        try:
            engine.run(self.batch, self.setting, self.schedule, self)
        except Gone as gone:
            raise Gone(
                f"{gone}; stopped in round {self.batch.round}; the same command goes on"
            ) from None
        if self.group.is_server:
            write_json(self.out / "traffic.json", self._traffic())
        for path in self._checkpoints():
            path.unlink(missing_ok=True)

    def recorded(self, batch: Batch) -> None:
        if self.desk:
            self.desk.recorded(batch)
        late = time.monotonic() - self.saved > CHECKPOINT_SECONDS
        if self.group.tell(str(late).encode()) == b"True":
            self._save(batch)

    def saw(self, batch: Batch, opened, x) -> None:
        network = self.setting.network
        seen = {
            name: torch.from_numpy(self.group.pool(u.numpy(), _over(network.mine(*u.shape[:2]), u)))
            for name, u in opened.seen.items()
        }
        if self.desk:
            self.desk.saw(batch, replace(opened, seen=seen), x)

    def ended(self, name, status, columns, table) -> None:
        if self.desk:
            self.desk.ended(name, status, columns, table)

    def _traffic(self) -> dict:
        """What was sent in all, in bytes."""
        return {"processes": self.group.size, **asdict(self.group.traffic)}

    def _started(self) -> Batch:
        points = assemble.starting_points([self.spec], self.problem.objective)
        step = np.array([self.problem.step_size(self.spec["step"])])
        keys = assemble.lane_keys([self.spec])
        return engine.start([self.out.name], keys, points, step, self.setting)

    def _checkpoints(self) -> list[Path]:
        name = f"checkpoint.{self.group.rank}of{self.group.size}"
        return [self.out / f"{name}.{n}.npz" for n in range(GENERATIONS)]

    def _save(self, batch: Batch) -> None:
        """Every process its own part. The older generation goes only when all have the newer one."""
        self.group.lowest(batch.round)
        traffic = np.array(list(asdict(self.group.traffic).values()))
        older = min(self._checkpoints(), key=lambda path: self._rounds().get(path, -1))
        checkpoint.save(older, batch.arrays() | {"traffic": traffic}, self.code)
        self.saved = time.monotonic()

    def _rounds(self) -> dict[Path, int]:
        """The rounds of the checkpoints that can be used."""
        found = {path: checkpoint.load(path, self.code) for path in self._checkpoints()}
        return {path: int(held["round"]) for path, held in found.items() if held is not None}

    def _resumed(self) -> Batch | None:
        """The newest state that all processes have; None: from the start."""
        rounds = self._rounds()
        if self.group.is_server:
            wanted = self.schedule.snapshots.rounds
            rounds = {p: n for p, n in rounds.items() if has_snapshots(self.out, wanted, n)}
        newest = self.group.lowest(max(rounds.values(), default=-1))
        mine = next((path for path, number in rounds.items() if number == newest), None)
        if self.group.lowest(int(mine is not None)) == 0:
            return None
        held = checkpoint.load(mine, self.code)
        self.group.traffic = Traffic(*held.pop("traffic").tolist())
        return Batch.from_arrays(held)


def _over(mine: np.ndarray, x: torch.Tensor) -> np.ndarray:
    """(lanes, cohort) made to broadcast against x (lanes, cohort, ...)."""
    return mine.reshape(*mine.shape, *[1] * (x.dim() - 2))
