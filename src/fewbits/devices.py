"""Which device networks are computed on: the processor, or a GPU (federation/crossing.py)."""

from __future__ import annotations

import os
from typing import Literal, get_args

from fewbits import registry
from fewbits.lazy import torch

Asked = Literal["cpu", "auto", "cuda"]
PROCESSOR = "cpu"


def find(asked: str) -> str:
    """The device that `device: cpu`, `auto` or `cuda` means on this machine, as torch calls it; `auto` is a GPU where torch sees one.

    A GPU is told to repeat itself: no reduced precision (TF32), no algorithm that is chosen by a race or adds in any order, as
    far as torch has another. Raises ValueError for `cuda` where there is none, and for other words.
    """
    if asked not in get_args(Asked):
        allowed = ", ".join(get_args(Asked))
        raise ValueError(f"device: found {asked!r}; allowed: {allowed}")
    if asked == PROCESSOR:
        return PROCESSOR
    if not torch.cuda.is_available():
        if asked == "auto":
            return PROCESSOR
        built = torch.version.cuda or torch.version.hip
        reason = "torch sees no GPU" if built else "this torch is built for processors only"
        raise ValueError(f"device: found 'cuda', but {reason}; auto takes one where there is one")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":16:8")  # else sums vary, also of RNNs
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    return "cuda"


def of_run(spec: dict, asked: str) -> str:
    """Where such a run is computed, `find(asked)`; what is no network, NumPy computes."""
    return PROCESSOR if registry.find("model", spec["model"]["name"]).linear else find(asked)


def code(fingerprint: str, device: str) -> str:
    """The fingerprint of a run's code, with the GPU's name where there is one: its digits are its own."""
    return fingerprint if device == PROCESSOR else f"{fingerprint}+{title(device)}"


def title(device: str) -> str:
    """What it is called."""
    return torch.cuda.get_device_name(device) if device == "cuda" else device
