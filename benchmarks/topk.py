"""Exact Top-k of 1 % of many numbers: `largest_of_many` against torch.topk and NumPy's partition. One thread.

Processor seconds of this process, the least of some runs taken in turn, so that other work on the machine disturbs
all alike. Target: a quarter of torch.topk's time for 10 million numbers.
"""

from __future__ import annotations

import time

import numpy as np
import torch

from fewbits.compressors.select import largest_of_many

SIZES = (100_000, 1_000_000, 10_000_000)
INPUTS = {
    "normal": lambda g, d: g.standard_normal(d),
    "heavy tailed": lambda g, d: g.standard_cauchy(d),
    "2 % not zero": lambda g, d: g.standard_normal(d) * (g.uniform(size=d) < 0.02),
    "few values": lambda g, d: g.integers(-9, 10, d),
}


def main() -> None:
    torch.set_num_threads(1)
    print(
        f"{'numbers':>10} {'input':14} {'ours':>10} {'torch.topk':>12} {'np.partition':>13}   ratios"
    )
    for d in SIZES:
        for name, draw in INPUTS.items():
            x = torch.from_numpy(draw(np.random.default_rng(0), d).astype(np.float32))
            print(measure(name, x, d // 100))
    print("milliseconds; ratios: torch.topk / ours, np.partition / ours")


def measure(name: str, x: torch.Tensor, k: int) -> str:
    """A line of the table."""
    values = x.numpy()
    ways = [
        lambda: largest_of_many(x, k),
        lambda: x.abs().topk(k, sorted=False).indices,
        lambda: np.argpartition(np.abs(values), len(values) - k)[len(values) - k :],
    ]
    found = [np.abs(values[np.asarray(way())]).astype(np.float64).sum() for way in ways]
    np.testing.assert_allclose(found, found[0])
    ours, topk, partition = least(ways, 5)
    times = f"{1e3 * ours:7.1f} ms {1e3 * topk:9.1f} ms {1e3 * partition:10.1f} ms"
    return f"{len(x):10} {name:14} {times}   {topk / ours:5.1f} {partition / ours:5.1f}"


def least(ways, repeats: int) -> list[float]:
    """Least processor seconds of each, run in turn."""
    best = [np.inf] * len(ways)
    for _ in range(repeats):
        for i, way in enumerate(ways):
            began = time.process_time()
            way()
            best[i] = min(best[i], time.process_time() - began)
    return best


if __name__ == "__main__":
    main()
