"""The pipeline through profiles/kubernetes, with a stand-in for `kubectl` that starts each Job's pod as a process here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_pipeline import (
    SNAKEMAKE,
    complete,
    edit,
    journals,
    project,
    results,
    size,
    snakemake,
)

KUBECTL = Path(__file__).with_name("kubernetes")
PROFILE = ("--profile", "profiles/kubernetes", "--seconds-between-status-checks", "1", "all")

pytestmark = pytest.mark.pipeline


@pytest.fixture
def cluster(tmp_path) -> dict[str, str]:
    """The environment of a machine with a cluster; Jobs are under FAKE_CLUSTER."""
    (tmp_path / "cluster").mkdir()
    return {
        "PATH": f"{KUBECTL}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "FAKE_CLUSTER": str(tmp_path / "cluster"),
        "FEWBITS_IMAGE": "python:3.11", "FEWBITS_CLAIM": "work", "FEWBITS_MOUNT": str(tmp_path),
    }  # fmt: skip


def jobs_of(cluster: dict[str, str]) -> list[dict]:
    return [json.loads(path.read_text()) for path in Path(cluster["FAKE_CLUSTER"]).glob("*.json")]


def test_pods_give_the_same_bytes(tmp_path, cluster):
    """The unchanged pipeline with its training jobs in pods, and on this machine; each pod asks for what its rule says."""
    there, here = tmp_path / "there", tmp_path / "here"
    for folder in (there, here):
        folder.mkdir()
        project(folder)
    done = snakemake(there, *PROFILE, **cluster)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    made = jobs_of(cluster)
    assert made
    for job in made:
        spec = job["spec"]["template"]["spec"]
        (container,), (volume,) = spec["containers"], spec["volumes"]
        assert container["resources"]["requests"] == {"cpu": "1", "memory": "2000Mi"}
        assert container["workingDir"].startswith(container["volumeMounts"][0]["mountPath"])
        assert volume["persistentVolumeClaim"]["claimName"] == "work"
        assert job["spec"]["activeDeadlineSeconds"] >= 600
        assert job["status"]["conditions"][0]["type"] == "Complete"
    complete(here)
    assert results(there) == results(here)


def endless(study: dict) -> None:
    """Training that is not over when the pipeline is interrupted."""
    for grid in study["scales"]["default"]["grids"].values():
        grid |= {"rounds": 10**7, "stop": {}}


def test_an_interrupted_pipeline_leaves_no_pods(tmp_path, cluster):
    folder = tmp_path / "work"
    folder.mkdir()
    project(folder)
    edit(folder, endless)
    process = subprocess.Popen(
        [*SNAKEMAKE, *PROFILE], cwd=folder, env=os.environ | {"PYTHONPATH": str(folder / "src")} | cluster,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    while not any(size(path) > 2000 for path in journals(folder)):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=60)
    assert all("status" in job for job in jobs_of(cluster))  # the others were deleted
    assert list(Path(cluster["FAKE_CLUSTER"]).glob("*.deleted"))


def test_what_is_missing_is_named(tmp_path, cluster):
    script = tmp_path / "script.sh"
    script.write_text("true\n")
    submit = KUBECTL.parents[1] / "profiles/kubernetes/submit"
    for changes, words in (
        ({"FEWBITS_IMAGE": ""}, "set FEWBITS_IMAGE"),
        ({"FEWBITS_MOUNT": "/elsewhere"}, "FEWBITS_MOUNT: found /elsewhere"),
    ):
        asked = subprocess.run(
            [submit, script], cwd=tmp_path, env=os.environ | cluster | changes,
            capture_output=True, text=True,
        )  # fmt: skip
        assert asked.returncode and words in asked.stderr and "Traceback" not in asked.stderr
