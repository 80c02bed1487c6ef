"""Tensors whose rows begin at multiples of 64 bytes, so that a client's numbers do not depend on who is computed beside it.

On some processors the last digits of MKL's products depend on where in memory a matrix begins, and those of torch's functions on
whether an entry lies in the tail of a vector loop. In a batch over clients both follow from a client's place, unless rows are padded.
"""

from __future__ import annotations

from fewbits.lazy import torch

BYTES = 64


def empty(shape: tuple[int, ...], dtype) -> torch.Tensor:
    """Not initialised; the padding between rows is no part of it."""
    *outer, width = shape
    step = BYTES // dtype.itemsize
    return torch.empty(*outer, -(-width // step) * step, dtype=dtype)[..., :width]


def copy(x: torch.Tensor) -> torch.Tensor:
    return empty(tuple(x.shape), x.dtype).copy_(x)


def aligned(x: torch.Tensor) -> torch.Tensor:
    """x itself if its rows begin so, else a copy."""
    step = BYTES // x.element_size()
    there = x.stride(-1) == 1 and all(stride % step == 0 for stride in x.stride()[:-1])
    return x if there and x.data_ptr() % BYTES == 0 else copy(x)


def bmm(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The products of (m, i, j) and (m, j, k), aligned as their factors (or what these are the transposes of) should be."""
    return torch.bmm(a, b, out=empty((*a.shape[:2], b.shape[2]), a.dtype))
