"""Cost of tracking: CPU seconds to record a pipeline's journals, live with parallel writers, and
when idle.

    python benchmarks/tracking.py [--runs 330] [--writers 8] [--keep FOLDER]

Prints one JSON object; every figure is user+system CPU unless its name says wall. With --keep the
results folder stays, ready for `fewbits ui`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ALGORITHMS = ("dcgd", "ef14", "ef21", "ef21_plus", "gd")


def spec(number: int, rounds: int, every: int) -> dict:
    """The spec of the number-th run of a made-up sweep of the size of the default study."""
    algorithm = ALGORITHMS[number % len(ALGORITHMS)]
    return {
        "study": "ef21",
        "dataset": {"name": "breast_cancer"},
        "model": {"name": "logistic", "regulariser": "nonconvex", "strength": 0.1},
        "partition": {"name": "contiguous", "clients": 20},
        "algorithm": {"name": algorithm, "start": "gradient"},
        "compressor": {"name": "topk", "k": 1 + number % 3, "wire": "float32"},
        "step": {"rule": "theory", "factor": float(4 ** (number // 15 % 5))},
        "seed": number // 75,
        "rounds": rounds,
        "record_every": every,
        "stop": {"grad_sq_below": 1e-14},
    }


def events(number: int, rows: int, every: int = 20):
    """The events of a whole journal, without times: a start, `rows` rounds, an end."""
    made, draw = spec(number, (rows - 1) * every, every), random.Random(number)
    name = f"{made['algorithm']['name']}-topk-k{made['compressor']['k']}-breast_cancer"
    run = f"{name}-x{made['step']['factor']:g}-s{made['seed']}-{number:08x}"
    tags = dict.fromkeys(("python", "torch", "numpy", "snakemake", "mlflow", "scipy"), "1.2.3")
    tags |= {"git_commit": "0" * 40, "code": "c0ffee", "spec_hash": f"{number:08x}"}
    tags |= {"machine": "Linux x86_64", "pid": str(os.getpid())}
    yield {"event": "start", "run": run, "study": "ef21", "spec": made, "tags": tags}
    rate = (1 + number % 7) * 0.02 * (1 + made["step"]["factor"] / 64)
    for row in range(rows):
        wobble = math.exp(draw.gauss(0, 0.1))
        values = {
            "round": row * every,
            "bits_up": 37.0 * made["compressor"]["k"] * row * every + 960,
        }
        values |= {"bits_up_values": 32.0 * row * every, "bits_up_indices": 5.0 * row * every}
        values |= {"bits_up_metadata": 0.0, "bits_down": 960.0 * row * every}
        grad_sq = 0.1 * math.exp(-rate * row) * wobble
        values |= {"loss": 0.3 + 0.4 * math.exp(-rate * row), "grad_sq": grad_sq}
        yield {"event": "round", **values, "distortion": grad_sq / 3, "step_sq": grad_sq / 100}
    yield {"event": "end", "status": "finished", "seconds": 0.25}


def write_run(results: Path, number: int, rows: int, pause: float = 0.0) -> Path:
    """Write one run's folder the way training does: a journal that grows, then its files."""
    stream, began, lines = events(number, rows), time.time() - 3600 + number, 0
    start = next(stream)
    folder = results / "runs" / start["study"] / start["run"]
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "journal.jsonl", "w") as journal:
        for event in (start, *stream):
            at = time.time() if pause else began + 0.05 * lines
            journal.write(json.dumps({"time": at, **event}) + "\n")
            lines += 1
            if pause:
                journal.flush()
                time.sleep(pause)
    (folder / "spec.json").write_text(json.dumps(start["spec"], indent=2))
    (folder / "metrics.csv").write_text(
        "0.123456789,123456789,0.123456789,0.123456789,1.5e-12\n" * rows
    )
    (folder / "summary.json").write_text('{"status": "finished"}')
    return folder


def _measured(code: str) -> tuple[float, float]:
    """CPU and wall seconds of a fresh Python that runs `code`, its start and imports included."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return round(cpu, 2), round(time.monotonic() - began, 2)


def _call(text: str) -> str:
    return f"from pathlib import Path; from fewbits.tracking import *; {text}"


def measure(results: Path, runs: int, rows: int, writers: int) -> dict:
    """All figures, on a new results folder."""
    here, found = repr(str(results)), {"runs": runs, "rows per run": rows}
    found["prepare, new store"] = _measured(_call(f"prepare(None, Path({here}))"))[0]
    found["prepare, store there"] = _measured(_call(f"prepare(None, Path({here}))"))[0]
    for number in range(runs):
        write_run(results, number, rows)
    record = _call(f"r = sync(Path({here})); assert r.complete, r.problem")
    found["sync, nothing recorded"], found["its wall"] = _measured(record)
    found["ms per run"] = round(1000 * found["sync, nothing recorded"] / runs, 2)
    found["sync, all recorded"], found["its wall "] = _measured(record)
    found["watch, restarted on all recorded"] = _measured(_call(f"watch(Path({here}), 999999999)"))[
        0
    ]
    found["database MB"] = round((results / "tracking" / "mlflow.db").stat().st_size / 1e6, 1)
    found["ms per run through MLflow's client"] = _client(results.with_name("client"), rows)
    found |= _live(results, writers, rows)
    found["watch, 20 idle passes"] = _idle(results)
    return found


def _live(results: Path, writers: int, rows: int) -> dict:
    """Parallel writers, three runs each, beside one recorder; then what a sync finds missing
    (nothing).
    """
    program = "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; import tracking as t\n"
    program += "for i in range(3): t.write_run(Path(sys.argv[2]), int(sys.argv[3]) + i, int(sys.argv[4]), 0.02)"
    place = str(Path(__file__).resolve().parent)
    code = _call(f"watch(Path({str(results)!r}), {os.getpid()}, poll=0.5)")
    recorder = subprocess.Popen([sys.executable, "-c", code])
    numbers = [str(100_000 + 10 * writer) for writer in range(writers)]
    command = [sys.executable, "-c", program, place, str(results)]
    processes = [subprocess.Popen([*command, number, str(rows)]) for number in numbers]
    for process in processes:
        process.wait()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    recorder.terminate()
    recorder.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    from fewbits.tracking import sync

    recorded = sync(results)
    return {
        "live: runs": 3 * writers,
        "live: recorder": round(cpu, 2),
        "live: missing": len(recorded.missing),
    }


def _client(results: Path, rows: int, runs: int = 30) -> float:
    """The way that tracking takes to a server or PostgreSQL, here on a SQLite store; mlflow's
    import not counted.
    """
    shutil.rmtree(results, ignore_errors=True)
    code = _call(f"p = Path({str(results)!r}); prepare(None, p)")
    code += "; import fewbits.tracking.store as s; s.is_known_schema = lambda db: False; sync(p)"
    _measured(code)  # makes the store
    before = _measured(code)[0]
    for number in range(runs):
        write_run(results, number, rows)
    after = _measured(code)[0]
    shutil.rmtree(results)
    return round(1000 * (after - before) / runs, 1)


def _idle(results: Path) -> float:
    from fewbits.tracking.recorder import Recorder

    recorder = Recorder(results)
    recorder.record()
    began = time.process_time()
    for _ in range(20):
        recorder.record()
    return round(time.process_time() - began, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=330)
    parser.add_argument("--rows", type=int, default=201)
    parser.add_argument("--writers", type=int, default=8)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    results = options.keep or Path(tempfile.mkdtemp())
    try:
        found = measure(results.resolve(), options.runs, options.rows, options.writers)
        print(json.dumps(found, indent=1))
    finally:
        if options.keep is None:
            shutil.rmtree(results)


if __name__ == "__main__":
    main()
