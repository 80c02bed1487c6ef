"""A process that trains a network by torch's DDP with one of our communication hooks; tests/test_ddp.py starts two."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from helpers import small_problem
from torch.nn.parallel import DistributedDataParallel

from fewbits.distributed import ddp


def train(job: dict, rank: int) -> dict[str, torch.Tensor]:
    """The parameters, flat, and what the hook counted; in steps `stop`, if given, the hook goes through its state dict."""
    f = small_problem(job["spec"]).objective
    net = f.net.train()
    start = torch.from_numpy(f.start("breast_cancer", 0))
    with torch.no_grad():
        for p, view in zip(net.parameters(), f.views(start), strict=True):
            p.copy_(view)
    model = DistributedDataParallel(net, bucket_cap_mb=job["bucket_mb"])
    kind, hook = {"compressed": (ddp.CompressedGradients, ddp.compressed),
                  "low_rank": (ddp.LowRankGradients, ddp.low_rank)}[job["hook"]]  # fmt: skip
    seen: set[int] = set()
    state = kind(net, **job["options"])

    def counted(state, bucket):
        seen.add(bucket.buffer().numel())
        return hook(state, bucket)

    model.register_comm_hook(state, counted)
    optimiser = torch.optim.SGD(net.parameters(), lr=job["lr"])
    rows = f.parts[rank]
    for step in range(job["steps"]):
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(f.inputs(rows)), f.targets(rows))
        (loss * (torch.inf if step == job.get("spoilt") else 1)).backward()
        if step == job.get("spoilt"):
            assert all(p.grad.isnan().any() for p in net.parameters()), (
                "a spoilt step went unnoticed"
            )
            continue
        optimiser.step()
        if step == job.get("stop"):
            held = state.state_dict()
            state.__init__(net, **job["options"])
            state.load_state_dict(held)
    flat = torch.cat([p.detach().flatten() for p in net.parameters()])
    return {"x": flat, "sent": torch.tensor(state.sent), "bucket_sizes": torch.tensor(len(seen))}


def main(jobs: str, out: str, init: str, rank: int, size: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=init, rank=rank, world_size=size)
    for name, job in json.loads(Path(jobs).read_text()).items():
        torch.save(train(job, rank), Path(out) / f"{name}.{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    *words, rank, size = sys.argv[1:]
    main(*words, int(rank), int(size))
