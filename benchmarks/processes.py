"""A training step over real processes, wall time, and what the link model says of the same messages elsewhere.

Two processes of one machine train a network of 300,000 numbers on digits, a batch of 64 each. Measured: milliseconds a step
between recorded rounds, so without start and end. Modelled: the same step where the links are slower, as federation/clock
has it: two trips' latency and the messages' bits, on top of a step of the simulator, which computes and sends nothing.
Wall time depends on what else the machine does; the least of several pieces counts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

from fewbits.federation.clock.links import Offices, Phones, Racks
from fewbits.files import read_json, write_json

PIECE, PIECES = 10, 4
SPEC = {
    "study": "processes",
    "dataset": {"name": "digits"},
    "model": {"name": "network", "net": "mlp", "parameters": {"hidden": [512, 512]}, "train_metrics": False},
    "partition": {"name": "iid", "clients": 2},
    "algorithm": {"name": "gd"},
    "local": {"name": "gradient", "batch": 64},
    "step": {"value": 0.1},
    "rounds": PIECE * PIECES,
    "record_every": PIECE,
}  # fmt: skip
TOPK = {"compressor": {"name": "topk", "budget": 0.01}}
CASES = {
    "dense, messages": ("messages", {}),
    "dense, all-reduce": ("all_reduce", {}),
    "PowerSGD rank 1, all-reduce": ("all_reduce", {"algorithm": {"name": "powersgd"}}),
    "Top-k 1 % with memory, messages": ("messages", {"algorithm": {"name": "ef14"}, **TOPK}),
}


def main() -> None:
    links = [Racks(), Offices(), Phones()]
    heads = [f"{link.name} ms" for link in links]
    print(f"{'':32}{'kB up':>9}{'here ms':>9}" + "".join(f"{head:>12}" for head in heads))
    for name, (form, changes) in CASES.items():
        spec = {**SPEC, **changes}
        with tempfile.TemporaryDirectory() as folder:
            write_json(Path(folder) / "spec.json", spec)
            here, sent = over_processes(Path(folder), form)
            alone, down = simulated(Path(folder))
        modelled = [
            alone + 2 * link.latency + 8 * sent / link.uplink + down / link.downlink
            for link in links
        ]
        cells = "".join(f"{1000 * seconds:12.2f}" for seconds in modelled)
        print(f"{name:32}{sent / 1000:9.1f}{1000 * here:9.2f}{cells}", flush=True)


def over_processes(folder: Path, form: str) -> tuple[float, float]:
    """Seconds of a step, and bytes that a client sends in it."""
    out = folder / "span"
    command = [sys.executable, "-m", "fewbits.distributed", "--spec", str(folder / "spec.json")]
    command += ["--out", str(out), "--form", form, "--init", f"file://{folder}/meeting"]
    group = [
        subprocess.Popen(
            command,
            env=os.environ | {"RANK": str(rank), "WORLD_SIZE": "2"},
            stdout=subprocess.DEVNULL,
        )
        for rank in range(2)
    ]
    try:
        codes = [process.wait(600) for process in group]
        if any(codes):
            sys.exit("benchmarks: a process failed")
    finally:
        for process in group:
            process.kill()
    senders = 2 if form == "messages" else 1  # an all-reduce counts what one process hands over
    return step_of(out), read_json(out / "traffic.json")["up"] / senders / SPEC["rounds"]


def simulated(folder: Path) -> tuple[float, float]:
    """Seconds of a client's part of a step of the simulator, and bits that a client gets in it."""
    from fewbits.studies import read_run
    from fewbits.train import train_one

    train_one(read_run(folder / "spec.json"), folder / "alone", say=lambda line: None)
    down = read_json(folder / "alone" / "summary.json")["final"]["bits_down"]
    return step_of(folder / "alone") / 2, down / SPEC["rounds"]


def step_of(folder: Path) -> float:
    events = [json.loads(line) for line in (folder / "journal.jsonl").open()]
    times = [event["time"] for event in events if event["event"] == "round"]
    return min(b - a for a, b in pairwise(times)) / PIECE


if __name__ == "__main__":
    main()
