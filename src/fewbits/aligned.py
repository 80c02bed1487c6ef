"""Tensors whose parts begin at multiples of 64 bytes, so that a client's numbers do not depend on who is computed beside it.

On some processors the last digits of MKL's products depend on where in memory a matrix begins, and those of torch's functions on
whether an entry lies in the tail of a vector loop. In a batch over clients both follow from a client's place, unless what lies
at each first index (a client's matrix; of two dimensions, a row) is filled up.
"""

from __future__ import annotations

from math import prod

import numpy as np

from fewbits.lazy import torch

BYTES = 64
# Columns of a transposed matrix up to which products with it by NumPy's OpenBLAS are faster than by torch's MKL, as those with others are.
NARROW = 80


def empty(shape: tuple[int, ...], dtype, device=None) -> torch.Tensor:
    """Not initialised; what fills up is no part of it."""
    count, *rest = shape
    step, own = BYTES // dtype.itemsize, prod(rest)
    if own % step == 0:
        return torch.empty(shape, dtype=dtype, device=device)
    whole = torch.empty(count, -(-own // step) * step, dtype=dtype, device=device)
    return whole[:, :own].view(shape)


def copy(x: torch.Tensor) -> torch.Tensor:
    return empty(tuple(x.shape), x.dtype, x.device).copy_(x)


def aligned(x: torch.Tensor) -> torch.Tensor:
    """x itself if its parts begin so, or on another device, else a copy."""
    if not x.is_cpu:
        return x
    there = x.stride(0) * x.element_size() % BYTES == 0 and x.data_ptr() % BYTES == 0
    return x if there else copy(x)


def bmm(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The products of (m, i, j) and (m, j, k), aligned as their factors (or what these are the transposes of) should be."""
    out = empty((*a.shape[:2], b.shape[2]), a.dtype, a.device)
    if not a.is_cpu or (b.stride(2) != 1 and b.shape[2] > NARROW):
        return torch.bmm(a, b, out=out)
    np.matmul(a.numpy(), b.numpy(), out=out.numpy())
    return out
