"""The Walsh-Hadamard transform of the columns of an array, unnormalised: by butterflies, or by products with small matrices."""

from __future__ import annotations

import functools

import numpy as np

from fewbits.lazy import torch

# A large transform is products of Hadamard matrices of 8 with 1,024 columns at a time: OpenBLAS copies nothing for products so
# small, and each pass takes little longer than reading and writing do.
FACTOR, COLUMNS = 8, 1024


def transform(
    u: torch.Tensor, spare: torch.Tensor, by_products: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """H u for a contiguous (D, w), D a power of two, along the first axis, unnormalised.

    `u` and `spare` are overwritten; returned are the one that holds the result and the other one.
    By butterflies a column's result is the same in any company; by products with small Hadamard matrices
    it is twice as fast, for tiles whose shape depends on the vector's length alone.
    """
    if by_products:
        return _products(u, spare)
    if u.shape[1] < 16 < u.shape[0]:
        return _narrow(u, spare)
    return _butterflies(u, spare, u.shape[0], u.shape[1])


def _butterflies(u, spare, size: int, inner: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums and differences along the first axis of (size, inner)."""
    half = size // 2
    while half:
        old, new = u.view(-1, 2, half * inner), spare.view(-1, 2, half * inner)
        torch.add(old[:, 0], old[:, 1], out=new[:, 0])
        torch.sub(old[:, 0], old[:, 1], out=new[:, 1])
        u, spare, half = spare, u, half // 2
    return u, spare


def _narrow(u, spare) -> tuple[torch.Tensor, torch.Tensor]:
    """The same sums in the same order, where rows are too short to be fast: the last 4 index bits come first."""
    size, width = u.shape
    high = size // 16
    u, spare = _butterflies(u, spare, high, 16 * width)
    spare.view(16, high, width).copy_(u.view(high, 16, width).transpose(0, 1))
    spare, u = _butterflies(spare, u, 16, high * width)
    u.view(high, 16, width).copy_(spare.view(16, high, width).transpose(0, 1))
    return u, spare


def _products(u, spare) -> tuple[torch.Tensor, torch.Tensor]:
    """H = H_8 (x) H_8 (x) ...: products with each factor."""
    old, new = u.numpy(), spare.numpy()
    with np.errstate(all="ignore"):  # infinities are the caller's affair
        for matrix, parts in _factors(*u.shape, u.dtype):
            a, b = (array.reshape(parts).swapaxes(1, 2) for array in (old, new))
            np.matmul(matrix, a, out=b)
            u, spare, old, new = spare, u, new, old
    return u, spare


@functools.cache
def _factors(size: int, width: int, dtype) -> list[tuple[np.ndarray, tuple[int, int, int, int]]]:
    """Each small matrix, and how an array (size, width) is cut for it: (outer, side, parts, columns of a part)."""
    found, outer = [], 1
    while outer < size:
        side = min(FACTOR, size // outer)
        inner = size // (outer * side)
        some = min(inner, 1 << max(0, (COLUMNS // width).bit_length() - 1))
        found.append((_matrix(side, dtype), (outer, side, inner // some, some * width)))
        outer *= side
    return found


def _matrix(size: int, dtype) -> np.ndarray:
    h = torch.ones(1, 1, dtype=dtype)
    while len(h) < size:
        h = torch.cat([torch.cat([h, h], 1), torch.cat([h, -h], 1)])
    return h.numpy()
