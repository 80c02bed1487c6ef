"""What FedDecorr adds to a local step, and its loss by the smaller Gram matrix against the published code's C x C matrix.

Processor time of one gradient of ten clients (one, of MobileNetV2) on batches of 64, on one thread, the least of some turns; rows are random.
"""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.engine import timed
from fewbits import registry
from fewbits.datasets.base import Arrays
from fewbits.federation.local.terms.base import Seen
from fewbits.federation.local.terms.pull import Pull, made

TERMS = {"feddecorr": {"coefficient": 0.1, "loss_scale": "code"}}
ROWS = 64
CASES = [  # data set, network, parameters, clients, gradients a turn
    ("digits", "mlp", {"hidden": [128, 64], "activation": "tanh"}, 10, 50),
    ("digits", "digits_cnn", {}, 10, 3),
    ("cifar10", "resnet8", {"norm": "batch"}, 1, 2),
    ("cifar10", "mobilenet_v2", {"norm": "batch", "variant": "feddecorr"}, 1, 1),
]


def main() -> None:
    torch.set_num_threads(1)
    print(f"{'network':14} {'features':>8} {'without':>10} {'with':>10}   ratio")
    for case in CASES:
        print(measure(*case))
    print(f"\n{'the term alone, 64 rows of':>26} {'C x C':>10} {'here':>10}   ratio")
    for features in (64, 512, 1280):
        print(alone(features))
    print("milliseconds")


def measure(dataset: str, net: str, parameters: dict, clients: int, count: int) -> str:
    """A line of the first table."""
    source, random = registry.find("dataset", dataset), np.random.default_rng(0)
    x = random.integers(0, 256, (clients * ROWS, source.features), np.uint8)
    data = Arrays(x, random.integers(0, source.classes, len(x)))
    block = {"name": "network", "net": net, "parameters": parameters, "train_metrics": False}
    parts = np.split(np.arange(len(x)), clients)
    f = registry.make("model", block).objective(data, parts, source)
    y = torch.from_numpy(f.start(dataset, 0)).repeat(clients, 1)
    kept = None if f.statistics is None else torch.from_numpy(f.statistics).repeat(clients, 1)
    who, places = np.arange(clients), np.tile(np.arange(ROWS), (clients, 1))
    weights = np.full(places.shape, 1 / ROWS)
    slope = Pull(made(TERMS), f, who, {}).on(places, weights)

    def steps(pull):
        for _ in range(count):
            f.client_gradients(y, who, places, weights, kept, pull)

    plain, _ = timed(lambda: steps(None), 5)
    term, _ = timed(lambda: steps(slope), 5)
    width = f.representations(who[:1], y[:1], kept).shape[-1]
    times = "".join(f"{1e3 * t / count:8.2f} ms" for t in (plain, term))
    return f"{net:14} {width:8} {times}   {term / plain:5.2f}"


def alone(features: int) -> str:
    """A line of the second table: value and derivative of the loss."""
    z = torch.randn(1, ROWS, features, generator=torch.Generator().manual_seed(0))
    seen, (term,) = Seen(z, torch.full((1, ROWS), 1 / ROWS)), made(TERMS)
    direct, slope = timed(lambda: published(z[0]), 5)
    ours, (_, found) = timed(lambda: term.value_and_slope(seen), 5)
    torch.testing.assert_close(found[0], 0.1 * slope, rtol=1e-3, atol=1e-7)
    return f"{features:15} features {1e3 * direct:8.2f} {1e3 * ours:10.2f}   {direct / ours:5.1f}"


def published(z: torch.Tensor) -> torch.Tensor:
    """The derivative of the loss as the published code has it, by automatic differentiation: (N, C)."""
    z = z.detach().requires_grad_()
    centred = z - z.mean(dim=0)
    standard = centred / torch.sqrt(1e-8 + centred.var(dim=0))
    m = standard.T @ standard
    c = len(m)
    off = m.flatten()[:-1].view(c - 1, c + 1)[:, 1:]
    return torch.autograd.grad((off**2).mean() / len(z), z)[0]


if __name__ == "__main__":
    main()
