"""torchvision, also beside a CPU build of torch.

torchvision 0.28 from the package index is built for CUDA; next to a CPU torch its import stops with "operator
torchvision::nms does not exist". Declaring its two operators first is enough, and is done only then.
"""

from __future__ import annotations

import importlib
import sys

SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def torchvision():
    """The module torchvision. Raises ImportError if it is not installed."""
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    import torch

    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]  # what the failed import left behind
    for operator in ("nms", "qnms"):
        torch.library.define(f"torchvision::{operator}", SCHEMA)
    return importlib.import_module("torchvision")
