"""Communication hooks under torch's own DDP, against the simulator: the same data, the same start, the same method."""

from __future__ import annotations

from pathlib import Path

import processes
import pytest
import torch
from helpers import small_problem, trajectory

from fewbits.files import write_json

WORKER = str(Path(__file__).with_name("ddp_worker.py"))
STEPS, LR = 6, 0.2
PLAIN = {"name": "dgc", "momentum": 0.0, "masking": False}  # error feedback with the step outside
SPEC = {
    "study": "digits",
    "dataset": {"name": "digits"},
    "model": {"name": "network", "net": "mlp", "parameters": {"hidden": [32, 16]}, "precision": "float64"},
    "partition": {"name": "iid", "clients": 2},
    "algorithm": PLAIN,
    "compressor": {"name": "topk", "k": 9},
    "step": {"value": LR},
}  # fmt: skip


def job(compressor: dict | None, hook="compressed", options=None, lr=LR, **more) -> dict:
    algorithm = {"algorithm": more.pop("algorithm", PLAIN)}
    options = options or {"compressor": compressor}
    spec = {**SPEC, "compressor": compressor, **algorithm}
    base = {"hook": hook, "spec": spec, "options": options, "lr": lr, "steps": STEPS}
    return base | {"bucket_mb": 0.005} | more


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """All jobs by two processes in one go: what each of them ended with."""
    folder = tmp_path_factory.mktemp("ddp")
    low = {"name": "powersgd", "rank": 2, "momentum": 0.0, "wire": "float64"}
    # The algorithm's step is 2 gamma where momentum is off.
    low_rank = {"hook": "low_rank", "algorithm": low, "options": {"rank": 2}, "lr": 2 * LR}
    jobs = {
        "topk": job({"name": "topk", "k": 9}),
        "one bucket": job({"name": "topk", "k": 9}, bucket_mb=25),
        "low rank of a layer": job({"name": "st_hosvd", "rank": 2}),
        "random": job({"name": "qsgd", "levels": 3}),
        "by rule": job({"name": "topk", "budget": 0.05}),
        "resumed": job({"name": "topk", "k": 9}, stop=2),
        "powersgd": job(None, **low_rank),
        "powersgd, one bucket": job(None, **low_rank, bucket_mb=25),
        "powersgd, resumed": job(None, **low_rank, stop=2),
    }
    # The first step is spoilt: all goes on as if it had not been.
    jobs["spoilt"] = job({"name": "topk", "k": 9}, spoilt=0, steps=STEPS + 1)
    write_json(folder / "jobs.json", jobs)
    words = [str(folder / "jobs.json"), str(folder), "{init}", "{rank}", "{size}"]
    processes.run([WORKER, *words], 2, folder)
    found = {
        name: [torch.load(folder / f"{name}.{rank}.pt", weights_only=True) for rank in range(2)]
        for name in jobs
    }
    return jobs, found


NAMES = ("topk", "one bucket", "low rank of a layer", "random", "by rule", "resumed", "powersgd",
         "powersgd, one bucket", "powersgd, resumed", "spoilt")  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_training_by_ddp_is_the_simulator_s(done, name):
    jobs, found = done
    first, second = found[name]
    assert torch.equal(first["x"], second["x"])  # replicas stay equal bit for bit
    path = trajectory(small_problem(jobs[name]["spec"]), LR, STEPS)
    torch.testing.assert_close(first["x"], path[-1]["x"][0], rtol=1e-9, atol=1e-10)
    assert not torch.allclose(path[-1]["x"], path[0]["x"], atol=1e-3)


def test_buckets_were_several_and_were_made_anew(done):
    """Else the tests above would not show that memories survive it."""
    assert done[1]["topk"][0]["bucket_sizes"] > 2
    assert done[1]["one bucket"][0]["bucket_sizes"] == 1


def test_bytes_are_those_of_the_real_messages(done):
    topk = done[1]["topk"][0]["sent"] / STEPS
    shapes = [(32, 64), (32,), (16, 32), (16,), (10, 16), (10,)]
    from fewbits.compressors.sizes import resolve

    assert 8 * topk == sum(resolve({"name": "topk", "k": 9}, s).payload(s).total for s in shapes)
    factors = 2 * (32 + 64 + 16 + 32 + 10 + 16) + 32 + 16 + 10
    assert done[1]["powersgd"][0]["sent"] == STEPS * factors * 8
