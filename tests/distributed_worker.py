"""A process of a group that trains all the runs in a file; tests/processes.py starts one for each rank."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from fewbits.distributed.group import Traffic, open_group
from fewbits.distributed.train import train_one


def main(jobs: str, out: str, init: str, rank: int, size: int) -> None:
    group = open_group("gloo", init, 240, rank, size)
    for name, (form, spec) in json.loads(Path(jobs).read_text()).items():
        group.traffic = Traffic()
        train_one(spec, Path(out) / name, group, None, form, say=lambda line: None)
    group.close()


if __name__ == "__main__":
    *words, rank, size = sys.argv[1:]
    main(*words, int(rank), int(size))
