"""The pipeline through a real SLURM: `tests/slurm/one_node.sh start FOLDER` makes one on a machine that has none."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from test_pipeline import complete, project, results, snakemake

SLURM = ("--profile", "profiles/slurm")


def answers() -> bool:
    """Whether a SLURM is here that takes jobs."""
    if shutil.which("sinfo") is None:
        return False
    said = subprocess.run(["sinfo", "--noheader", "--format=%t"], capture_output=True, text=True)
    return said.returncode == 0 and any(s in said.stdout for s in ("idle", "mix", "alloc"))


pytestmark = [
    pytest.mark.pipeline,
    pytest.mark.skipif(not answers(), reason="no SLURM here: tests/slurm/one_node.sh makes one"),
]


def test_slurm_gives_the_same_bytes(tmp_path):
    """The unchanged pipeline with its training jobs in SLURM's queue, and on this machine."""
    there, here = tmp_path / "there", tmp_path / "here"
    for folder in (there, here):
        folder.mkdir()
        project(folder)
    said = through_slurm(there)
    assert "SLURM jobid" in said
    complete(here)
    assert results(there) == results(here)
    assert "Nothing to be done" in through_slurm(there)


def through_slurm(folder) -> str:
    done = snakemake(folder, *SLURM, "all")
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout + done.stderr
