"""Groups of processes for tests: they meet in a file, and none is left behind."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path


@contextlib.contextmanager
def started(command: list[str], size: int, folder: Path, **environment: str):
    """The processes of a group, `command` with RANK and WORLD_SIZE set; killed at the end if they still run.

    {init}, {rank} and {size} in the command are filled in. Output goes to files `rankN.txt` in the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    meeting = folder / "meeting"
    meeting.unlink(missing_ok=True)
    processes = []
    try:
        for rank in range(size):
            words = [w.format(init=f"file://{meeting}", rank=rank, size=size) for w in command]
            own = {"RANK": str(rank), "WORLD_SIZE": str(size), "OMP_NUM_THREADS": "1"}
            with (folder / f"rank{rank}.txt").open("w") as output:
                processes.append(
                    subprocess.Popen(
                        [sys.executable, *words],
                        env={**os.environ, **own, **environment},
                        stdout=output,
                        stderr=output,
                    )
                )
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def run(command: list[str], size: int, folder: Path, **environment: str) -> None:
    """Run a group to its end; its output if a process fails."""
    with started(command, size, folder, **environment) as processes:
        codes = [process.wait(timeout=600) for process in processes]
    texts = [(folder / f"rank{rank}.txt").read_text() for rank in range(size)]
    assert not any(codes), "\n".join(texts)
