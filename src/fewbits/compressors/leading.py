"""The leading left singular vectors of a stack of matrices, by the fastest way that is certain to be exact enough.

As in factorise.py, a row of a stack comes out the same whatever the others are, and bases are kept transposed.
"""

from __future__ import annotations

import functools

import numpy as np

from fewbits import rng
from fewbits.compressors import factorise
from fewbits.lazy import torch

SUBSET = 64  # side from which only the wanted eigenvectors are computed
ITERATE, WIDE = 192, 8  # side from which `lanczos` is tried; least ratio of the side to its block
EXTRA, BLOCKS = 8, 6  # of `lanczos`: extra directions, passes
GIVE_UP = (np.inf, 0.2, 1e-2)  # at a residual, in the largest eigenvalue, after 1, 2, more passes
TOLERANCE = {"float64": (1e-8, 1e-13), "float32": (2e-6, 0.0)}  # and rounding errors
LOST = 1 / 256  # least share of the energy that is lost where `in_single` is exact enough
FLOOR = 1e-14  # share of the largest eigenvalue that is rounding error in a Gram matrix


def eigenvectors(gram: np.ndarray, r: int) -> np.ndarray:
    """(n, r, m): those of the r largest eigenvalues of symmetric (n, m, m), largest first, as rows."""
    m = gram.shape[-1]
    if m >= SUBSET and 4 * r <= m:
        vectors = np.stack([_some(g, r) for g in gram])
    else:
        vectors = np.linalg.eigh(gram)[1][:, :, m - r :]
    return np.ascontiguousarray(factorise.transposed(vectors[:, :, ::-1]))


def _some(gram: np.ndarray, r: int) -> np.ndarray:
    """(m, r) of one matrix, in increasing order: LAPACK's routine itself, since SciPy's `eigh` takes 50 microseconds to get there."""
    m = len(gram)
    routine, room = _syevr(gram.dtype.name, m)
    _, vectors, _, _, info = routine(gram.T, range="I", il=m - r + 1, iu=m, **room)
    if info:
        raise np.linalg.LinAlgError(f"LAPACK found no eigenvectors of a matrix of side {m}")
    return vectors


@functools.cache
def _syevr(dtype: str, m: int):
    """The routine, and the sizes of its working arrays that it asks for."""
    from scipy.linalg.lapack import get_lapack_funcs

    routine, ask = get_lapack_funcs(("syevr", "syevr_lwork"), dtype=dtype)
    lwork, liwork, _ = ask(m)
    return routine, {"lwork": int(lwork), "liwork": int(liwork)}


def leading(a: np.ndarray, r: int) -> np.ndarray:
    """U' (n, r, m) float64: the r leading left singular vectors of (n, m, k), r <= min(m, k).

    From the shorter side (`short_side`). The largest entry of each vector is positive (the first such), so that bytes
    are reproducible. Where k < m, directions whose energy is below rounding are zero.
    """
    m, k = a.shape[1:]
    if m <= k:
        return factorise.fixed_signs(short_side(a, r))
    right = short_side(factorise.transposed(a), r)
    left = factorise.product(right, factorise.transposed(a))
    energy = (left * left).sum(axis=2, keepdims=True)
    floor = FLOOR * energy.max(axis=1, keepdims=True)
    real = (energy > floor) & (energy > 0)
    return factorise.fixed_signs(np.where(real, left / np.sqrt(np.where(real, energy, 1.0)), 0.0))


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
    return eigenvectors(np.matmul(a, factorise.transposed(a)), r)


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
    single = found.astype(np.float32)
    share = float(((single @ gram) * single).sum()) / energy if energy else 0.0
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
    square = energy is not None
    if not square:
        energy = float(torch.linalg.vector_norm(torch.from_numpy(a), dtype=torch.float64)) ** 2
    tolerance, floor = TOLERANCE[a.dtype.name]
    block = _start(a.shape[0], r + EXTRA)
    basis = images = np.empty((a.shape[0], 0))
    for turn in range(BLOCKS):
        image = block.astype(a.dtype)
        image = np.matmul(a, image if square else np.matmul(a.T, image)).astype(np.float64)
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
