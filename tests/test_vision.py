"""torchvision can be had with whatever build of torch is installed."""

from __future__ import annotations

import subprocess
import sys


def test_torchvision_imports_and_works_twice():
    code = (
        "from fewbits.vision import torchvision; tv = torchvision(); assert torchvision() is tv;"
        "import torch; out = tv.models.resnet18(weights=None).eval()(torch.zeros(1, 3, 32, 32));"
        "assert out.shape == (1, 1000)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
