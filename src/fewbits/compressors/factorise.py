"""Numerics that the low-rank operators share, on stacks of matrices and tensors (n, ...): NumPy; float64, but that
products with a large float32 update are float32.

A row of a stack comes out the same, bit for bit, whatever the other rows are: NumPy's `matmul`, `eigh` and `qr` call
BLAS and LAPACK once for each matrix of a stack, and large matrices are multiplied one by one. (torch.bmm gives no such
promise.) Which way is taken depends on shapes and on the row's own numbers.

Bases are kept transposed, U' (n, r, m): rows orthonormal, and a column of U is contiguous where it is rounded and sent.
"""

from __future__ import annotations

import functools

import numpy as np

from fewbits import rng
from fewbits.lazy import torch

LARGE = 2**15  # numbers in a matrix from which its products are made one by one, by torch
SUBSET = 64  # side from which only the wanted eigenvectors are computed
ITERATE, WIDE = 192, 8  # side from which `lanczos` is tried; least ratio of the side to its block
EXTRA, BLOCKS = 8, 6  # of `lanczos`: extra directions, passes
GIVE_UP = (
    np.inf,
    0.2,
    1e-2,
)  # residuals, in the largest eigenvalue, after one, two and more passes
TOLERANCE = {"float64": (1e-8, 1e-13), "float32": (2e-6, 0.0)}  # and rounding errors
LOST = 1 / 256  # least share of the energy that is lost where `in_single` is exact enough
FLOOR = 1e-14  # share of the largest eigenvalue that is rounding error in a Gram matrix


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
    m, k, p = a.shape[1], a.shape[2], b.shape[2]
    if k == 1:
        return a * b  # half the time of a product by BLAS
    if max(m * k, k * p, m * p) < LARGE or (1 in (m, p) and a.dtype == b.dtype):
        return np.matmul(a, b)  # with a vector in half the time of torch's, of which no two agree
    dtype = (a if m * k >= k * p else b).dtype
    out = np.empty((len(a), m, p), dtype)
    for left, right, to in zip(
        a.astype(dtype, copy=False), b.astype(dtype, copy=False), out, strict=True
    ):
        to[...] = torch.mm(aligned(left), aligned(right)).numpy()
    return out if a.dtype == b.dtype else out.astype(np.float64)


def aligned(a: np.ndarray) -> torch.Tensor:
    """`a` as a tensor whose memory starts at a multiple of 64 bytes, copied if it does not: MKL's products
    depend on that in their last digits, on some processors, and where a row lies in a stack is chance."""
    there = torch.from_numpy(a)
    return there if a.ctypes.data % 64 == 0 else there.clone(memory_format=torch.preserve_format)


def transposed(a: np.ndarray) -> np.ndarray:
    return a.swapaxes(1, 2)


def eigenvectors(gram: np.ndarray, r: int) -> np.ndarray:
    """(n, r, m): those of the r largest eigenvalues of symmetric (n, m, m), largest first, as rows."""
    m = gram.shape[-1]
    if m >= SUBSET and 4 * r <= m:
        from scipy.linalg import eigh

        wanted = [m - r, m - 1]
        found = [eigh(g, subset_by_index=wanted, check_finite=False)[1] for g in gram]
        vectors = np.stack(found)
    else:
        vectors = np.linalg.eigh(gram)[1][:, :, m - r :]
    return np.ascontiguousarray(transposed(vectors[:, :, ::-1]))


def leading(a: np.ndarray, r: int) -> np.ndarray:
    """U' (n, r, m) float64: the r leading left singular vectors of (n, m, k), r <= min(m, k).

    From the shorter side (`short_side`). The largest entry of each vector is positive (the first such), so that bytes
    are reproducible. Where k < m, directions whose energy is below rounding are zero.
    """
    m, k = a.shape[1:]
    if m <= k:
        return fixed_signs(short_side(a, r))
    right = short_side(transposed(a), r)
    left = product(right, transposed(a))
    energy = (left * left).sum(axis=2, keepdims=True)
    floor = FLOOR * energy.max(axis=1, keepdims=True)
    real = (energy > floor) & (energy > 0)
    return fixed_signs(np.where(real, left / np.sqrt(np.where(real, energy, 1.0)), 0.0))


def short_side(a: np.ndarray, r: int) -> np.ndarray:
    """(n, r, m) leading left singular vectors of (n, m, k), m <= k: the fastest way that is certain to be exact enough."""
    m = a.shape[1]
    if m < SUBSET or 4 * r > m:
        return by_gram(a, r)
    ways = [in_single] if a.dtype == np.float32 else []
    if m >= ITERATE and WIDE * (r + EXTRA) <= m:
        ways.append(lanczos)

    def of_one(row: np.ndarray) -> np.ndarray:
        found = (way(row, r) for way in ways)
        return next((f for f in found if f is not None), None)

    found = [of_one(row) for row in a]
    return np.stack([by_gram(a[i : i + 1], r)[0] if f is None else f for i, f in enumerate(found)])


def by_gram(a: np.ndarray, r: int) -> np.ndarray:
    """The same from the Gram matrix in float64 and all its eigenvectors."""
    a = a.astype(np.float64, copy=False)
    return eigenvectors(np.matmul(a, transposed(a)), r)


def in_single(a: np.ndarray, r: int) -> np.ndarray | None:
    """(r, m) float64 from the Gram matrix of one float32 matrix (m, k) in float32, or None.

    An error of 1e-7 in that matrix costs at most about 2r 1e-7 of the energy (Ky Fan), in practice its square. So it is taken where a
    part of the energy much larger than that is lost anyway, and where more is kept than the r/m that an operator's constant promises.
    """
    gram = np.matmul(a, a.T)
    m, energy = len(a), float(np.trace(gram, dtype=np.float64))
    found = lanczos(gram, r, energy) if m >= ITERATE and WIDE * (r + EXTRA) <= m else None
    if found is None:
        found = eigenvectors(gram[None], r)[0].astype(np.float64)
    share = float(((found @ gram) * found).sum()) / energy if energy else 0.0
    return found if r / m / (1 - LOST) < share < 1 - LOST else None


def lanczos(a: np.ndarray, r: int, energy: float | None = None) -> np.ndarray | None:
    """(r, m) float64 leading left singular vectors of one matrix (m, k), or None where the Gram matrix is the better way.

    Or given |A|^2, the `energy`, of A A' in place of A.
    Block Lanczos on A A' with full orthogonalisation (Golub, Underwood 1977; Musco, Musco 2015, arXiv 1504.05477), from
    r + 8 fixed directions. The answer is taken only if it is certified: the residuals of the eigenpairs are
    below TOLERANCE of the largest and a thousandth of the smallest wanted eigenvalue (or below rounding), and the kept energy
    is at least the share r/m that an operator's constant promises. Singular values that fall as those of gradients take 3 to 5 passes;
    flat ones are given up after two or three, very steep ones in float32 at the end.
    """
    whole, to = aligned(a), torch.float32 if a.dtype == np.float32 else torch.float64
    square = energy is not None
    if not square:
        energy = float(torch.linalg.vector_norm(whole, dtype=torch.float64)) ** 2
    tolerance, floor = TOLERANCE[a.dtype.name]
    block = _start(a.shape[0], r + EXTRA)
    basis = images = np.empty((a.shape[0], 0))
    for turn in range(BLOCKS):
        image = torch.from_numpy(block).to(to)
        image = torch.mm(whole, image if square else torch.mm(whole.T, image))
        image = image.to(torch.float64).numpy()
        basis, images = np.hstack([basis, block]), np.hstack([images, image])
        inner = basis.T @ images
        values, vectors = np.linalg.eigh((inner + inner.T) / 2)
        values, vectors = values[-r:], vectors[:, -r:]
        found = basis @ vectors
        residual = np.linalg.norm(images @ vectors - found * values)
        small = min(tolerance * values[-1], 1e-3 * values[0])
        if residual <= max(small, floor * values[-1]):
            enough = values.sum() >= r / a.shape[0] * energy
            return np.ascontiguousarray(found[:, ::-1].T) if enough else None
        if residual > GIVE_UP[min(turn, 2)] * values[-1]:
            return None
        for _ in range(2):  # twice is enough, also when little is left of the image
            image = np.linalg.qr(image - basis @ (basis.T @ image))[0]
        block = image
    return None


@functools.lru_cache(maxsize=256)
def _start(m: int, width: int) -> np.ndarray:
    """Fixed orthonormal columns (m, width) in general position."""
    normals = rng.normals(rng.stream("lanczos", m, width), m * width)
    return np.linalg.qr(normals.reshape(m, width))[0]


def fixed_signs(basis: np.ndarray) -> np.ndarray:
    """(n, r, m) with the first largest entry of each row made positive."""
    place = np.abs(basis).argmax(axis=2)[:, :, None]
    return np.where(np.take_along_axis(basis, place, axis=2) < 0, -basis, basis)


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
