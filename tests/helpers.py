"""Short ways to run things in tests, through the public interfaces."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fewbits import registry
from fewbits.federation import assemble, engine
from fewbits.files import read_json
from fewbits.train import Desk, Places, train


def vary(spec: dict, **changes) -> dict:
    """A copy of a spec with other values; dicts are merged unless they name another plug-in."""
    out = dict(spec)
    for key, value in changes.items():
        old = out.get(key)
        merge = isinstance(value, dict) and isinstance(old, dict)
        merge = merge and value.get("name", old.get("name")) == old.get("name")
        out[key] = {**old, **value} if merge else value
    return out


def digits_run(**changes) -> dict:
    """One gradient a round of an MLP on skewed digits, with these changes (as of `vary`)."""
    plain = {
        "study": "digits",
        "dataset": {"name": "digits"},
        "model": {"name": "network", "net": "mlp", "parameters": {"hidden": [12]}, "precision": "float64"},
        "partition": {"name": "dirichlet", "clients": 8, "alpha": 0.3, "minimum": 5},
        "algorithm": {"name": "fedavg"},
        "compressor": None,
        "step": {"value": 1.0},
        "seed": 0,
        "rounds": 4,
        "record_every": 1,
        "stop": {},
    }  # fmt: skip
    return vary(plain, **changes)


def run(folder: Path, **specs: dict) -> dict[str, pd.DataFrame]:
    """Train specs in `folder`; the metrics table of each."""
    train(specs, Places(folder), say=lambda line: None)
    return {name: metrics(folder, name, spec) for name, spec in specs.items()}


@contextmanager
def interrupted(round: int) -> Iterator[None]:
    """Training in here is broken off as by Ctrl-C, once that round has been recorded; that it was is asserted."""
    recorded = Desk.recorded

    def interrupt(desk, batch):
        recorded(desk, batch)
        if batch.round == round:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Desk, "recorded", interrupt)
        with pytest.raises(KeyboardInterrupt):
            yield


def metrics(folder: Path, name: str, spec: dict) -> pd.DataFrame:
    return pd.read_csv(folder / spec["study"] / name / "metrics.csv")


def summary(folder: Path, name: str, spec: dict) -> dict:
    return read_json(folder / spec["study"] / name / "summary.json")


def result_bytes(folder: Path) -> dict[str, bytes]:
    """Every file of every run that must be the same each time."""
    names = ("spec.json", "metrics.csv", "summary.json")
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.name in names
    }


def inputs(rng: np.random.Generator, d: int) -> dict[str, np.ndarray]:
    """Vectors that break careless compressors."""
    ties = rng.choice([-1.0, 1.0], size=d)
    rank_one = np.outer(rng.standard_normal(-(-d // 4)), rng.standard_normal(4)).ravel()[:d]
    sparse = np.where(rng.uniform(size=d) < 0.1, rng.standard_normal(d), 0.0)
    return {
        "normal": rng.standard_normal(d),
        "heavy tailed": rng.standard_cauchy(d),
        "sparse": sparse,
        "ties": ties,
        "constant": np.full(d, 3.25),
        "zero": np.zeros(d),
        "rank one": rank_one,
        "denormal": rng.standard_normal(d) * 1e-42,
        "tiny and large": rng.standard_normal(d) * 10.0 ** rng.integers(-30, 30, size=d),
        "one entry": np.eye(1, d, d // 2).ravel(),
    }


def methods() -> dict[str, dict]:
    """Every algorithm by name (with a number where it has several examples), as changes to a spec for `vary`."""
    found = {}
    for name, cls in registry.plugins("algorithm").items():
        for i, example in enumerate(cls.examples()):
            changes = {**example, "algorithm": {"name": name, **example.get("algorithm", {})}}
            if cls.sends != "compressed":
                changes["compressor"] = None
            found[f"{name}-{i}" if i else name] = changes
    return found


def small_problem(spec: dict) -> assemble.Problem:
    """The slots of a spec, on its data and partition."""
    data = registry.make("dataset", spec["dataset"]).load()
    parts = registry.make("partition", spec["partition"]).split(data.y, 0)
    return assemble.problem(spec, data, parts)


def trajectory(problem: assemble.Problem, step: float, rounds: int, seeds=(0,)) -> list[dict]:
    """The states of rounds 0 .. `rounds`, a lane a seed; `bits` (lanes, 4) are what was sent until then."""
    setting = problem.setting()
    x = np.stack([problem.objective.start("breast_cancer", seed) for seed in seeds])
    keys = assemble.lane_keys([{"seed": seed} for seed in seeds])
    batch = engine.start([str(s) for s in seeds], keys, x, np.full(len(seeds), step), setting)

    def now() -> dict:
        return batch.state | {"x": setting.model(batch.state), "bits": batch.counters.clone()}

    path = [now()]
    for _ in range(rounds):
        batch.round += 1
        opened = setting.open(batch, setting.cohort(batch))
        engine._update(batch, setting, opened, problem.algorithm.round(batch.state, opened))
        path.append(now())
    return path
