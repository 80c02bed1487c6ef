"""Low-rank operators against TensorLy's routines, torch's SVD and plain matrix products, one thread.

Ours is timed as `encode`: finite check, scaling, factorisation, rounding, message. The others are timed for their factors
alone. Errors are relative squared errors of the decoded tensors. The kernels are leading directions with geometrically
falling weights plus noise, as gradients have, and white noise, the worst case; all float32.
"""

from __future__ import annotations

import time

import numpy as np
import tensorly as tl
import torch
from tensorly.decomposition import parafac, partial_tucker, tensor_train, tucker

from fewbits import registry, rng
from fewbits.compressors import lowrank

KERNELS = [(128, 64, 3, 3), (512, 512, 3, 3)]
RANK = 8
CLIENTS = 100


def main() -> None:
    torch.set_num_threads(1)
    tl.set_backend("pytorch")
    print(
        f"{'kernel':28} {'operator':22} {'ms':>8} {'error':>9}   {'against':20} {'ms':>8} {'error':>9}  ratio"
    )
    for shape in KERNELS:
        for kind in ("decaying", "white"):
            x = kernel(shape, kind)
            name = "x".join(map(str, shape)) + " " + kind
            for line in against_tensorly(x):
                print(f"{name:28} {line}", flush=True)
    print(
        f"\n{'matrix':16} {'rank':>4} {'pass, ms':>9} {'pass + decode':>14} {'two products':>13}   ratios"
    )
    for shape in KERNELS:
        for rank in (1, 4, 8):
            print(powersgd(kernel(shape, "decaying").reshape(shape[0], -1), rank), flush=True)
    for rank in (1, 4, 8):
        print(powersgd_batched(KERNELS[0], rank), flush=True)
    print(f"\n{'1200 vectors of 112':22} {'one by one, ms':>15} {'batched':>9}  ratio")
    for name in ("svd", "powersgd", "hosvd", "st_hosvd", "hooi", "tt", "tensor_ring", "cp"):
        print(batched(name), flush=True)


def kernel(shape: tuple[int, ...], kind: str) -> torch.Tensor:
    """A kernel's gradient: 40 outer products with weights 0.7^j and noise of 1 % of the energy; or noise alone."""
    g = np.random.default_rng(7)
    noise = g.standard_normal(shape)
    noise /= np.linalg.norm(noise)
    if kind == "white":
        return torch.from_numpy(noise.astype(np.float32))
    x = np.zeros(shape)
    for j in range(40):
        parts = [v / np.linalg.norm(v) for v in (g.standard_normal(s) for s in shape)]
        x += 0.7**j * np.einsum("a,b,c,d->abcd", *parts)
    x = x / np.linalg.norm(x) + 0.1 * noise
    return torch.from_numpy(x.astype(np.float32))


def against_tensorly(x: torch.Tensor):
    """Lines of the first table for one kernel."""
    full = list(x.shape)
    ranks = [min(RANK, full[0]), min(RANK, full[1]), *full[2:]]
    listed = "x".join(map(str, ranks))
    bonds = [1, RANK, RANK, full[3], 1]

    def tucker2():
        return partial_tucker(x, rank=ranks[:2], modes=[0, 1])[0]

    def cut_svd():
        u, s, v = torch.linalg.svd(x.reshape(len(x), -1), full_matrices=False)
        return ((u[:, :RANK] * s[:RANK]) @ v[:RANK]).reshape(x.shape)

    others = {
        "tl tucker": (lambda: tucker(x, ranks), tl.tucker_to_tensor),
        "tl tucker, 1 sweep": (lambda: tucker(x, ranks, n_iter_max=1), tl.tucker_to_tensor),
        "tl partial_tucker": (
            tucker2,
            lambda t: tl.tenalg.multi_mode_dot(t[0], t[1], modes=[0, 1]),
        ),
        "tl tensor_train": (lambda: tensor_train(x, bonds), tl.tt_to_tensor),
        "tl parafac, 10 sweeps": (
            lambda: parafac(x, RANK, n_iter_max=10, tol=0, random_state=0),
            tl.cp_to_tensor,
        ),
        "torch svd": (cut_svd, lambda y: y),
    }
    pairs = [
        ({"name": "st_hosvd", "rank": listed}, "tl tucker"),
        ({"name": "hooi", "rank": listed}, "tl tucker"),
        ({"name": "st_hosvd", "rank": listed}, "tl tucker, 1 sweep"),
        ({"name": "tucker2", "rank": RANK}, "tl partial_tucker"),
        ({"name": "tt", "rank": RANK}, "tl tensor_train"),
        ({"name": "svd", "rank": RANK}, "torch svd"),
        ({"name": "cp", "rank": RANK}, "tl parafac, 10 sweeps"),
    ]
    measured = {}
    for spec, other in pairs:
        operator = registry.make("compressor", spec)
        mine, message = timed(lambda operator=operator: operator.encode(x))
        error = relative(operator.decode(message, tuple(x.shape), x.dtype), x)
        if other not in measured:
            run, rebuild = others[other]
            seconds, found = timed(run, 2)
            measured[other] = seconds, relative(rebuild(found), x)
        theirs, their_error = measured[other]
        label = spec["name"]
        yield (
            f"{label:22} {1e3 * mine:8.2f} {error:9.5f}   {other:20} {1e3 * theirs:8.1f} "
            f"{their_error:9.5f}  {theirs / mine:5.1f}"
        )


def powersgd(x: torch.Tensor, rank: int) -> str:
    """A line of the second table."""
    operator = registry.make("compressor", {"name": "powersgd", "rank": rank})
    products = two_products(x[None], rank)
    one, message = timed(lambda: operator.encode(x), 15)
    both, _ = timed(lambda: operator.compress(x, tuple(x.shape)), 15)
    assert operator.decode(message, tuple(x.shape), x.dtype).shape == x.shape
    name = f"{x.shape[0]} x {x.shape[1]}"
    times = f"{1e3 * one:9.3f} {1e3 * both:14.3f} {1e3 * products:13.3f}"
    return f"{name:16} {rank:4} {times}   {one / products:5.2f} {both / products:5.2f}"


def powersgd_batched(shape: tuple[int, ...], rank: int) -> str:
    """A line of the second table: many clients at once."""
    operator = registry.make("compressor", {"name": "powersgd", "rank": rank})
    m, n = shape[0], int(np.prod(shape[1:]))
    x = torch.randn(CLIENTS, m, n)
    keys = rng.fold(rng.stream("benchmark"), np.arange(CLIENTS))
    rows, plan = x.reshape(CLIENTS, -1).numpy(), operator.plan((m, n))

    def one_pass():
        for piece in lowrank.pieces(*rows.shape):
            operator._send(rows[piece], keys[piece], plan)

    products = two_products(x, rank)
    one, _ = timed(one_pass)
    both, _ = timed(lambda: operator.compress(x, (m, n), keys))
    name = f"{CLIENTS} of {m} x {n}"
    times = f"{1e3 * one:9.2f} {1e3 * both:14.2f} {1e3 * products:13.2f}"
    return f"{name:16} {rank:4} {times}   {one / products:5.2f} {both / products:5.2f}"


def two_products(x: torch.Tensor, rank: int) -> float:
    """Seconds of X W and X'P for every X (clients, m, n), one client after the other: by torch or NumPy, what is faster."""
    w, p = torch.randn(x.shape[2], rank), torch.randn(x.shape[1], rank)
    by_torch, _ = timed(lambda: [(torch.mm(a, w), torch.mm(a.T, p)) for a in x], 15)
    a, w, p = x.numpy(), w.numpy(), p.numpy()
    by_numpy, _ = timed(lambda: [(np.matmul(b, w), np.matmul(b.T, p)) for b in a], 15)
    return min(by_torch, by_numpy)


def batched(name: str) -> str:
    """A line of the third table."""
    operator = registry.make("compressor", {"name": name, "rank": 2})
    x = torch.from_numpy(np.random.default_rng(1).standard_normal((1200, 112)))
    keys = rng.fold(rng.stream("benchmark"), np.arange(1200))
    some = 100
    one, _ = timed(lambda: operator.compress_one_by_one(x[:some], (112,), keys[:some]), 2)
    many, _ = timed(lambda: operator.compress(x, (112,), keys), 3)
    one *= 1200 / some
    return f"{name:22} {1e3 * one:15.1f} {1e3 * many:9.1f}  {one / many:5.1f}"


def relative(found: torch.Tensor, x: torch.Tensor) -> float:
    difference = found.double() - x.double()
    return float((difference**2).sum() / (x.double() ** 2).sum())


def timed(function, repeats: int = 5, at_least: float = 0.3):
    """The shortest of some runs in processor seconds, at least so many and for so many seconds, and what it returned."""
    best, result, spent, runs = np.inf, None, 0.0, 0
    while runs < repeats or spent < at_least:
        began = time.process_time()
        result = function()
        seconds = time.process_time() - began
        best, spent, runs = min(best, seconds), spent + seconds, runs + 1
    return best, result


if __name__ == "__main__":
    main()
