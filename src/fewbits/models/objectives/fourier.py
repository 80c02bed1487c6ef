"""Convolutions of stride 1 by few products: y = A[(G w) . (B x)], "." taking the place of a product of matrices at every point.

Lavin and Gray (CVPR 2016, arXiv 1509.09308, section 4) write Winograd's minimal algorithms so; derivatives are by the transposed
matrices. Ours are those of the discrete Fourier transform, by which Mathieu, Henaff and LeCun (ICLR 2014, arXiv 1312.5851)
convolve: the whole image is one tile, and a product of complex numbers is three of real ones. For 14 x 14 pixels and a 5x5
kernel that is 432 products of every pair of channels, where 4,900 are in the definition and 1,764 in Winograd's tiles of 2 x 2 pixels.
Rounding is no more than that of the definition, as no matrix has large numbers, which those of Winograd's larger tiles have.

Pixels come first, (height, width, images, channels), so that every transform is a product of matrices, and channels of all
images at a point are one.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np


class Seen(NamedTuple):
    """What of a convolution its derivatives need: inputs (points, n, C) and kernel (points, C, O)."""

    x: np.ndarray
    w: np.ndarray


def forward(x: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, Seen]:
    """x (H, W, n, C), w (k, k, C, O), k odd -> y (H, W, n, O), y_ij = sum_ab w_ab x_{i + a - k // 2, j + b - k // 2}, where x
    is zero outside."""
    data, kernel, result = transforms(*x.shape[:2], len(w), x.dtype.name)
    seen = Seen(data.to_points(x), kernel.to_points(w))
    return result.from_points(np.matmul(*seen)), seen


def derivatives(delta: np.ndarray, k: int, seen: Seen) -> tuple[np.ndarray, np.ndarray]:
    """By x and by w, from that by y (H, W, n, O)."""
    data, kernel, result = transforms(*delta.shape[:2], k, delta.dtype.name)
    delta = result.to_points(delta)
    by_x, by_w = np.matmul(delta, seen.w.swapaxes(1, 2)), np.matmul(seen.x.swapaxes(1, 2), delta)
    return data.from_points(by_x), kernel.from_points(by_w)


class Transform(NamedTuple):
    """Along the first axis, rows (F, 2, H): real and imaginary parts at frequencies. From there along the second axis,
    columns (P, 2, W)."""

    rows: np.ndarray
    columns: np.ndarray

    def to_points(self, x: np.ndarray) -> np.ndarray:
        """(H, W, n, C) to (F P, n, C)."""
        (many, _, height), (points, _, width) = self.rows.shape, self.columns.shape
        parts = np.matmul(self.rows.reshape(-1, height), x.reshape(height, -1))
        found = np.matmul(self.columns.reshape(points, -1), parts.reshape(many, 2 * width, -1))
        return found.reshape(-1, *x.shape[2:])

    def from_points(self, x: np.ndarray) -> np.ndarray:
        """Its transpose, (F P, n, C) to (H, W, n, C)."""
        (many, _, height), (points, _, width) = self.rows.shape, self.columns.shape
        parts = np.matmul(self.columns.reshape(points, -1).T, x.reshape(many, points, -1))
        found = np.matmul(self.rows.reshape(-1, height).T, parts.reshape(2 * many, -1))
        return found.reshape(height, width, *x.shape[1:])


@functools.cache
def transforms(
    height: int, width: int, k: int, dtype: str
) -> tuple[Transform, Transform, Transform]:
    """Of data, of kernels, and that whose transpose the result is."""
    # Cycles so long that nothing meets what lies on the other side.
    tall, wide = height + k // 2, width + k // 2
    taps, count = k // 2 - np.arange(k), tall // 2 + 1
    # Of a frequency that is not its own negative, the negative one is left out, which gives the same.
    twice = np.array([1 if 2 * f % tall == 0 else 2 for f in range(count)])[:, None, None]
    data = _parts(tall, count, np.arange(height)), _products(wide, np.arange(width))
    kernel = _parts(tall, count, taps), _products(wide, taps)
    back = data[0] * twice / tall, _sums(wide, np.arange(width)) / wide
    return tuple(Transform(*(m.astype(dtype) for m in maps)) for maps in (data, kernel, back))


def _parts(length: int, count: int, places: np.ndarray) -> np.ndarray:
    """Of the transform of real numbers at these places, (count, 2, places)."""
    waves = np.exp(-2j * np.pi / length * np.outer(np.arange(count), places))
    return np.stack([waves.real, waves.imag], axis=1)


def _complex(length: int, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Real and imaginary parts of the transform of complex numbers, (length, 2, places) each."""
    c, s = _parts(length, length, places).swapaxes(0, 1)
    return np.stack([c, -s], axis=1), np.stack([s, c], axis=1)


def _products(length: int, places: np.ndarray) -> np.ndarray:
    """(a + ib)(c + id) = (ac - bd) + i((a + b)(c + d) - ac - bd): a, b and a + b."""
    a, b = _complex(length, places)
    return np.concatenate([a, b, a + b])


def _sums(length: int, places: np.ndarray) -> np.ndarray:
    """What each of these products adds to real and imaginary part."""
    real, imaginary = _complex(length, places)
    return np.concatenate([real - imaginary, -real - imaginary, imaginary])
