"""DRIVE, EDEN and the rotated quantiser on 10 million float32 numbers, in copies of that memory. One thread.

"encode" is everything from the numbers to the payload's bytes, "bytes" the packing in it; the target is 10 copies.
"Plain" is the transform as it is usually written: in place, by slices, on the next power of two (1.68 times
as many numbers). Processor seconds of this process, the least of some runs.
"""

from __future__ import annotations

import torch

from benchmarks.topk import least
from fewbits import registry
from fewbits.compressors import hadamard, walsh

COUNT = 10_000_000
COMPRESSORS = [
    {"name": "drive"},
    {"name": "drive", "scale": "mse"},
    {"name": "drive", "block": 1024},
    *({"name": "eden", "bits": bits} for bits in (1, 2, 3, 4, 8)),
    {"name": "rotated", "bits": 1},
    {"name": "rotated", "bits": 4},
]


def main() -> None:
    torch.set_num_threads(1)
    x = torch.from_numpy(hadamard.rng.generator("benchmark").standard_normal(COUNT)).float()
    target = torch.empty_like(x)

    def copy():
        target.copy_(x)

    print("in copies, each timed in turns with what is beside it")
    print("\n".join(transforms(x, copy)))
    columns = ("bits/number", "encode", "bytes", "decode", "error", "copy")
    print(f"\n{'compressor':22} {'{:>11} {:>7} {:>6} {:>7} {:>8} {:>8}'.format(*columns)}")
    for spec in COMPRESSORS:
        print(measure(registry.make("compressor", spec), spec, x, copy), flush=True)


def transforms(x: torch.Tensor, copy) -> list[str]:
    """Lines on the transform alone."""
    padded = torch.nn.functional.pad(x, (0, (1 << 24) - len(x)))
    tiles = x[: len(x) // hadamard.TILE * hadamard.TILE].clone().view(-1, 4096, 32)
    spare = torch.empty_like(tiles[0])
    ways = {
        "transform, blocks of 4096, products": lambda: [
            walsh.transform(t, spare, True) for t in tiles
        ],
        "transform, blocks of 4096, butterflies": lambda: [
            walsh.transform(t, spare) for t in tiles
        ],
        "plain transform of 2^24": lambda: plain(padded),
    }
    once, *times = least([copy, *ways.values()], 3)
    return [f"{name:44} {t / once:7.1f}" for name, t in zip(ways, times, strict=True)]


def plain(x: torch.Tensor) -> torch.Tensor:
    half = 1
    while half < len(x):
        pairs = x.view(-1, 2, half)
        pairs[:, 0] += pairs[:, 1]
        pairs[:, 1] *= -2
        pairs[:, 1] += pairs[:, 0]
        half *= 2
    return x


def measure(compressor, spec: dict, x: torch.Tensor, copy) -> str:
    """A line of the table."""
    message = compressor.encode(x)
    decoded = compressor.decode(message, tuple(x.shape), x.dtype)
    error = float(((decoded - x) ** 2).sum() / (x**2).sum())
    ways = [
        copy,
        lambda: compressor.encode(x),
        message.to_bytes,
        lambda: compressor.decode(message, tuple(x.shape), x.dtype),
    ]
    once, *others = least(ways, 7)
    encode, pack, decode = (t / once for t in others)
    name = " ".join(f"{k}={v}" if k != "name" else v for k, v in spec.items())
    bits = message.bits.total / len(x)
    parts = f"{encode + pack:7.1f} {pack:6.1f} {decode:7.1f} {error:8.5f} {1e3 * once:5.1f} ms"
    return f"{name:22} {bits:11.3f} {parts}"


if __name__ == "__main__":
    main()
