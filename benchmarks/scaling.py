"""What grows with clients, parameters and runs: seconds a round, seconds to plan, and memory, each in a process of its own.

Rows are repeated from the digits, so that there are as many clients as wanted, one row each; what is learnt does not matter here.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time

CLIENTS = (100, 1_000, 10_000, 100_000, 1_000_000)
WIDTHS = (100, 1_000, 10_000, 100_000)  # hidden units: 75 parameters each
RUNS = (100, 1_000, 10_000, 100_000)
COHORT, ROUNDS = 50, 20


def main() -> None:
    table("clients", CLIENTS, f"FedAvg, {COHORT} clients a round, one local epoch")
    table("state", CLIENTS[:4], "EF21-PP with Top-k: a vector of 650 numbers for every client")
    table("parameters", WIDTHS, "EF21 with Top-k of 1 %, 10 clients, 75 parameters to a unit")
    table("runs", RUNS, "reading, planning and writing the jobs of a study")


def table(what: str, sizes: tuple[int, ...], title: str) -> None:
    print(title)
    print(f"  {what:>12} {'set-up':>10} {'each round':>12} {'memory':>10}")
    for size in sizes:
        call = [sys.executable, "-m", "benchmarks.scaling", what, str(size)]
        found = json.loads(subprocess.run(call, check=True, capture_output=True).stdout)
        each = f"{1e3 * found['each']:9.1f} ms" if found["each"] is not None else ""
        print(f"  {size:12,} {found['start']:8.2f} s {each:>12} {found['mib']:6.0f} MiB")


def measure(what: str, size: int) -> dict:
    """Processor seconds to set up and of each round; what the process's memory grew by at its peak, in MiB."""
    kinds = {"clients": clients, "state": state, "parameters": parameters, "runs": runs}
    if what != "runs":
        import torch

        torch.set_num_threads(1)
        clients(10)  # what every process loads
    before, began = peak(), time.process_time()
    finish = kinds[what](size)
    ready = time.process_time()
    rounds = finish() if finish else None
    each = (time.process_time() - ready) / rounds if rounds else None
    return {"start": ready - began, "each": each, "mib": peak() - before}


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def clients(count: int):
    spec = {
        "algorithm": {"name": "fedavg"},
        "selection": {"name": "uniform", "fraction": min(1.0, COHORT / count)},
        "local": {"name": "sgd", "epochs": 1, "batch": 10, "step": 0.1},
    }
    return federation(spec, count, count, hidden=[])


def state(count: int):
    spec = {
        "algorithm": {"name": "ef21"},
        "selection": {"name": "uniform", "fraction": min(1.0, COHORT / count)},
        "compressor": {"name": "topk", "k": 10},
    }
    return federation(spec, count, count, hidden=[])


def parameters(width: int):
    spec = {
        "algorithm": {"name": "ef21"},
        "compressor": {"name": "topk", "budget": {"share": 0.02, "over": "all"}},
    }
    return federation(spec, 10, 100, hidden=[width])


def federation(spec: dict, count: int, rows: int, hidden: list[int]):
    """A federation that is ready to start, as a function that runs it and says how many rounds it took."""
    import numpy as np

    from fewbits import registry
    from fewbits.datasets.base import Arrays
    from fewbits.federation import assemble, engine

    real = registry.make("dataset", {"name": "digits"}).load()
    which = np.arange(rows) % len(real.x)
    data = Arrays(real.x[which], real.y[which], real.test_x, real.test_y)
    parts = np.array_split(np.arange(rows), count)
    net = {"name": "network", "net": "mlp", "parameters": {"hidden": hidden}}
    common = {"dataset": {"name": "digits"}, "model": net | {"train_metrics": False}}
    problem = assemble.problem(common | spec, data, parts)
    setting = problem.setting()
    x = problem.objective.start("digits", 0)[None]
    batch = engine.start(["one"], np.ones(1, np.uint64), x, np.ones(1), setting)
    schedule = engine.Schedule(rounds=ROUNDS, record_every=ROUNDS)

    def run() -> int:
        engine.run(batch, setting, schedule, engine.Observer())
        return ROUNDS

    return run


def runs(count: int) -> None:
    """EF21 with so many seeds."""
    import tempfile
    from pathlib import Path

    import yaml

    from fewbits import studies

    base = {
        "dataset": "breast_cancer",
        "model": "logistic",
        "partition": {"name": "contiguous", "clients": 20},
        "algorithm": "ef21",
        "compressor": {"name": "topk", "k": 1},
        "step": {"value": 0.1},
        "rounds": 1000,
        "record_every": 10,
        "seed": list(range(count)),
    }
    study = {"study": "many", "title": "Many", "summary": "Many runs.", "paper": None, "base": base}
    study["scales"] = {"default": {"grids": {"seeds": {}}}}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "studies/many.yaml"
        place.parent.mkdir()
        place.write_text(yaml.safe_dump(study))
        (Path(folder) / "config.yaml").write_text("studies: [many]\n")
        config = studies.load_config(Path(folder) / "config.yaml")
        plan = studies.plan(config, [studies.load_study(place)])
        studies.write_plan(plan, Path(folder) / "plan")


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
