"""Numerics that the low-rank operators share, on stacks of matrices and tensors (n, ...): NumPy; float64, but that
products with a large float32 update are float32.

A row of a stack comes out the same, bit for bit, whatever the other rows are: NumPy's `matmul`, `eigh` and `qr` call
OpenBLAS and LAPACK once for each matrix of a stack. (torch.bmm gives no such promise, nor does MKL, whose last digits depend on where
in memory a matrix lies; with the few columns of a factor it takes twice to ten times as long, too.) Which way is taken depends on shapes
and on the row's own numbers.

Bases are kept transposed, U' (n, r, m): rows orthonormal, and a column of U is contiguous where it is rounded and sent.
"""

from __future__ import annotations

import numpy as np

from fewbits.lazy import torch

LARGE = 2**15  # numbers in a float32 matrix from which its products are float32


def scaled(stack: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The stack with each row divided by a power of two, the exponents (n,), and which rows are finite (n,).

    The largest magnitude of a row becomes 0.5 to 1, so that squares neither underflow nor overflow; dividing by a
    power of two rounds nothing. Rows of float32 whose largest magnitude is 2^-40 to 2^40 are left alone (their squares are
    float32 numbers too). Rows with NaN or infinity become zero.
    """
    rows = stack.reshape(len(stack), -1)
    if moderate(rows):
        return stack, np.zeros(len(stack), int), np.ones(len(stack), bool)
    peak = largest_magnitude(rows).astype(np.float64)
    finite = np.isfinite(peak)
    _, exponent = np.frexp(np.where(finite, peak, 0.0))
    exponent = exponent.clip(-1000, 1000)
    if stack.dtype == np.float32:
        exponent = np.where(np.abs(exponent) <= 40, 0, exponent)
    shift = np.ldexp(1.0, -exponent).reshape(-1, *[1] * (stack.ndim - 1))
    if not finite.all():
        stack = np.where(finite.reshape(shift.shape), stack, 0)
    return (
        np.multiply(stack, shift, dtype=np.float64).astype(stack.dtype, copy=False),
        exponent,
        finite,
    )


def moderate(rows: np.ndarray) -> bool:
    """Whether all rows (n, d) are float32 whose largest magnitudes are surely 2^-40 to 2^40, by their sums of squares."""
    n, d = rows.shape
    if rows.dtype != np.float32 or d > 2**22:
        return False
    with np.errstate(all="ignore"):
        squares = np.matmul(rows.reshape(n, 1, d), rows.reshape(n, d, 1))
    return bool(squares.min() >= 2.0**-60 and squares.max() <= 2.0**60)


def largest_magnitude(rows: np.ndarray) -> np.ndarray:
    """(n,); NaN where a row holds one."""
    if len(rows) == 1:  # one pass instead of two; the extremes are exact either way
        low, high = torch.aminmax(torch.from_numpy(rows))
        return np.array([max(high.item(), -low.item())], rows.dtype)
    return np.maximum(rows.max(axis=1), -rows.min(axis=1))


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n, m, k) @ (n, k, p). Of two dtypes the large one's is used, and the result is float64."""
    if a.dtype == b.dtype:
        return _product(a, b)
    large = a if a.shape[1] >= b.shape[2] else b
    dtype = large.dtype if large[0].size >= LARGE else np.float64
    out = _product(a.astype(dtype, copy=False), b.astype(dtype, copy=False))
    return out.astype(np.float64, copy=False)


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.shape[2] == 1:
        return a * b  # takes half the time of a product by BLAS
    if abs(b.strides[2]) > b.itemsize:  # so does the transposed product where b lies by columns
        return transposed(np.matmul(transposed(b), transposed(a)))
    return np.matmul(a, b)


def transposed(a: np.ndarray) -> np.ndarray:
    return a.swapaxes(1, 2)


def orthonormal(basis: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Q' = S U' with orthonormal rows, S and its inverse K (n, r, r), symmetric, for a received U' (n, r, m).

    So a projection on the span of what the receiver has is Q Q', its coefficients in terms of U are S Q'a. Directions
    that U lacks (zero or dependent columns) are zero in Q.
    """
    values, vectors = np.linalg.eigh(np.matmul(basis, transposed(basis)))
    roots = np.sqrt(np.maximum(values, 0.0))
    there = values > 1e-10 * np.maximum(values[:, -1:], 0.0)
    inverse = np.where(there, 1 / np.where(there, roots, 1.0), 0.0)
    turn = transposed(vectors)
    s = np.matmul(vectors * inverse[:, None, :], turn)
    k = np.matmul(vectors * np.where(there, roots, 0.0)[:, None, :], turn)
    return product(s, basis), s, k


def orthonormal_columns(a: np.ndarray) -> np.ndarray:
    """(n, m, r) that spans what the columns of `a` (n, m, r) float64 span; a zero column alone stays zero."""
    if a.shape[2] > 1:
        return np.linalg.qr(a)[0]  # Householder's: safe for dependent and for zero columns
    length = np.sqrt(np.matmul(transposed(a), a))
    return a / np.where(length > 0, length, 1.0)


def fixed_signs(basis: np.ndarray) -> np.ndarray:
    """(n, r, m) with the first largest entry of each row made positive."""
    place = np.abs(basis).argmax(axis=2)[:, :, None]
    return np.where(np.take_along_axis(basis, place, axis=2) < 0, -basis, basis)


def unfolding(tensor: np.ndarray, mode: int) -> np.ndarray:
    """(n, *dims) -> (n, d_mode, the other modes)."""
    moved = np.moveaxis(tensor, mode + 1, 1)
    return moved.reshape(*moved.shape[:2], -1)


def times(tensor: np.ndarray, matrix: np.ndarray, mode: int) -> np.ndarray:
    """The mode product: (n, .., d, ..) by (n, r, d) -> (n, .., r, ..)."""
    n, dims = len(tensor), tensor.shape[1:]
    before, after = dims[:mode], dims[mode + 1 :]
    if not before:
        out = product(matrix, tensor.reshape(n, dims[0], -1))
    elif not after:
        out = product(tensor.reshape(n, -1, dims[-1]), transposed(matrix))
    else:
        rows = tensor.reshape(n, int(np.prod(before)), dims[mode], int(np.prod(after)))
        out = np.matmul(matrix[:, None], rows)
    return out.reshape(n, *before, matrix.shape[1], *after)
