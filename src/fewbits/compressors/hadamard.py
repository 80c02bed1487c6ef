"""Random rotations by the Walsh-Hadamard transform, in blocks of powers of two.

A block of D numbers is multiplied by R = H diag(s) / sqrt(D), with H the D x D Hadamard matrix (natural
order) and s random signs (Ailon, Chazelle 2006; Suresh et al. 2017, arXiv 1611.00429, section 3). R is
orthogonal and takes O(D log D). Here the transform is left unnormalised (u = H diag(s) x, so
|u|^2 = D |x|^2): dividing by D, a power of two, at the end is exact.

Vectors are cut into blocks because no length but a power of two has a Hadamard matrix of this kind, and
padding 10 million numbers to 2^24 would make messages 68 % longer. Blocks of one size that fit together
into the processor's cache form a piece; they lie interleaved in it, as the columns of a (D, w) array, so
that every pass of the transform runs along contiguous memory. What happens to a column depends on that
column alone, bit for bit, whatever is handled together with it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fewbits import rng
from fewbits.compressors.walsh import transform
from fewbits.lazy import torch

TILE = 1 << 17  # numbers handled at once: half a megabyte of float32
SMALL = 64  # a rest up to here is padded to one block rather than cut further
LARGEST_BLOCK = 1 << 17
SMALL_PIECES = (
    1 << 32
)  # streams of signs: large pieces' widths below, small ones' numbers from here


@dataclass(frozen=True)
class Piece:
    """`width` interleaved blocks of `size` numbers: entries start .. start+length of a vector, then zeros.

    `number`: place among the pieces; `blocks`, `begin`: blocks and entries (padded) of those before it.
    """

    number: int
    start: int
    length: int
    size: int
    width: int
    blocks: int
    begin: int

    @property
    def entries(self) -> int:
        """Numbers after padding."""
        return self.size * self.width

    @property
    def large(self) -> bool:
        """Handled alone, by matrix products; smaller ones together with other vectors', by butterflies."""
        return self.entries >= TILE // 2 and self.width >= 16


@functools.cache
def pieces(d: int, block: int) -> tuple[Piece, ...]:
    """d numbers as blocks of at most `block` (a power of two), with little padding.

    As many full blocks as fit, then smaller powers of two; a rest is padded where that adds a quarter or
    less, or where the rest is small. 82 944 numbers are 65 536 + 16 384 + 1 024, without padding.
    """
    out, start, blocks, begin = [], 0, 0, 0
    while rest := d - start:
        if rest >= block:
            width = min(rest // block, max(16, TILE // block))
            length, size = width * block, block
        else:
            above, below = 1 << (rest - 1).bit_length(), 1 << rest.bit_length() - 1
            padded = rest <= SMALL or above - rest <= rest // 4
            length, size, width = (rest, above, 1) if padded else (below, below, 1)
        out.append(Piece(len(out), start, length, size, width, blocks, begin))
        start, blocks, begin = start + length, blocks + width, begin + size * width
    return tuple(out)


class Scratch:
    """Working arrays by name, kept from tile to tile.

    Half a megabyte fresh from the operating system costs more than most passes over it: every page faults.
    """

    def __init__(self) -> None:
        self.kept: dict[tuple, torch.Tensor] = {}
        self.shaped: dict[tuple, torch.Tensor] = {}  # views of them: making one takes microseconds
        self.notes: dict[tuple, object] = {}  # what some arrays hold

    def __call__(self, name: str, rows: int, columns: int, dtype) -> torch.Tensor:
        """An array (rows, columns) with arbitrary contents, in the memory of the last of that name."""
        view = self.shaped.get((name, rows, columns, dtype))
        if view is None:
            count, flat = rows * columns, self.kept.get((name, dtype))
            if flat is None or flat.numel() < count:
                flat = self.kept[name, dtype] = torch.empty(count, dtype=dtype)
                self.shaped = {
                    k: v for k, v in self.shaped.items() if (k[0], k[3]) != (name, dtype)
                }
            view = self.shaped[name, rows, columns, dtype] = flat[:count].view(rows, columns)
        return view


class Tile(NamedTuple):
    """The same piece of some vectors, as an array (size, w) with w = vectors x width."""

    piece: Piece
    rows: slice

    @property
    def shape(self) -> tuple[int, int]:
        """(size, w)"""
        return self.piece.size, (self.rows.stop - self.rows.start) * self.piece.width

    def part(self, x: torch.Tensor) -> torch.Tensor:
        """Its entries of `x` (vectors, d)."""
        return x[self.rows, self.piece.start : self.piece.start + self.piece.length]

    def load(self, x: torch.Tensor, sign: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """The columns of `x` (vectors, d) times `sign` (size, w), in `out`."""
        p, part = self.piece, self.part(x)
        if p.length < p.entries:
            part = torch.nn.functional.pad(part, (0, p.entries - p.length))
        if len(part) == 1:
            return torch.mul(part.view(p.size, p.width), sign, out=out)
        part = part.reshape(-1, p.size, p.width).permute(1, 0, 2)
        torch.mul(part, sign.view(part.shape), out=out.view(part.shape))
        return out

    def gather(self, part: torch.Tensor) -> torch.Tensor:
        """(vectors, entries) to (size, w); maybe the same memory."""
        p = self.piece
        return part.reshape(-1, p.size, p.width).permute(1, 0, 2).reshape(p.size, -1)

    def store(self, columns: torch.Tensor, out: torch.Tensor) -> None:
        """Put (size, w) columns to their places in `out` (vectors, d)."""
        p = self.piece
        self.store_all(columns, out[:, p.start : p.start + p.length])

    def store_all(self, columns: torch.Tensor, out: torch.Tensor) -> None:
        """Put (size, w) columns into `out`, (vectors, entries) or without the padding."""
        p = self.piece
        part = columns.view(p.size, -1, p.width).permute(1, 0, 2).reshape(-1, p.entries)
        out[self.rows] = part[:, : out.shape[1]]

    def signs(self, seeds: np.ndarray, dtype, scratch: Scratch) -> torch.Tensor:
        """Random +-1 (size, w) from the seeds of all vectors. Large pieces of one width share theirs."""
        p = self.piece
        stream = p.width if p.large else SMALL_PIECES + p.number
        made, name = (self.rows, stream), ("signs", dtype)
        if p.large and scratch.notes.get(name) == made:
            return scratch("signs", *self.shape, dtype)
        words = rng.integers(rng.fold(seeds[self.rows], stream), -(-p.entries // 64))
        random = words.astype("<u8", copy=False).view(np.uint8)
        each = scratch("signs", random.size, 8, dtype)
        np.take(_signs_of_bytes(dtype), random.reshape(-1), axis=0, out=each.numpy(), mode="clip")
        scratch.notes[name] = made
        return self.gather(each.view(len(words), -1)[:, : p.entries])


@functools.cache
def _signs_of_bytes(dtype) -> np.ndarray:
    """(256, 8): a byte's bits as +-1. Looking them up is faster than unpacking and converting them."""
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
    return torch.from_numpy(bits).to(dtype).mul(-2).add(1).numpy()


def tiles(vectors: int, d: int, block: int) -> Iterator[Tile]:
    """All columns of `vectors` vectors of d numbers."""
    large, small = _by_size(d, block)
    for row in range(vectors if large else 0):
        yield from (Tile(piece, slice(row, row + 1)) for piece in large)
    for piece in small:
        step = max(1, TILE // piece.entries)
        for row in range(0, vectors, step):
            yield Tile(piece, slice(row, min(row + step, vectors)))


@functools.cache
def _by_size(d: int, block: int) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    cut = pieces(d, block)
    return tuple(p for p in cut if p.large), tuple(p for p in cut if not p.large)


def rotate(x: torch.Tensor, seeds: np.ndarray, block: int) -> torch.Tensor:
    """R x for each vector of `x` (vectors, d): (vectors, `padded(d, block)`)."""
    scratch, out = Scratch(), x.new_empty(len(x), padded(x.shape[1], block))
    for tile in tiles(len(x), x.shape[1], block):
        sign = tile.signs(seeds, x.dtype, scratch)
        u = tile.load(x, sign, scratch("u", *tile.shape, x.dtype))
        u, _ = transform(u, scratch("spare", *tile.shape, x.dtype), tile.piece.large)
        u *= tile.piece.size**-0.5
        tile.store_all(u, out[:, tile.piece.begin : tile.piece.begin + tile.piece.entries])
    return out


def rotate_back(y: torch.Tensor, seeds: np.ndarray, d: int, block: int) -> torch.Tensor:
    """R^T y for each vector of `y` (vectors, `padded(d, block)`), without the padding: (vectors, d)."""
    scratch, out = Scratch(), y.new_empty(len(y), d)
    for tile in tiles(len(y), d, block):
        part = y[tile.rows, tile.piece.begin : tile.piece.begin + tile.piece.entries]
        u = scratch("u", *tile.shape, y.dtype).copy_(tile.gather(part))
        u, _ = transform(u, scratch("spare", *tile.shape, y.dtype), tile.piece.large)
        u.mul_(tile.signs(seeds, y.dtype, scratch)).mul_(tile.piece.size**-0.5)
        tile.store(u, out)
    return out


def padded(d: int, block: int) -> int:
    """Entries of d numbers after padding."""
    last = pieces(d, block)[-1]
    return last.begin + last.entries


def column_sums(a: torch.Tensor, tile: Tile) -> np.ndarray:
    """Sums of (D, w) over the first axis: (w,) float64. Each in an order that no other column changes."""
    if tile.piece.large:  # two products with ones; NumPy's sums take four times as long
        size, width = a.shape
        first = 1 << size.bit_length() // 2
        part = _ones(first, a.dtype) @ a.numpy().reshape(first, -1)
        return (_ones(size // first, a.dtype) @ part.reshape(-1, width)).astype(np.float64)
    while (half := a.shape[0] // 2) > 0:
        a = a[:half] + a[half:]
    return a[0].to(torch.float64, copy=True).numpy()


@functools.cache
def _ones(count: int, dtype) -> np.ndarray:
    return torch.ones(count, dtype=dtype).numpy()


def exponents(x: torch.Tensor) -> np.ndarray:
    """`exponents_of` the rows of `x`."""
    if len(x) == 1:
        return exponents_of(np.array([peak(x)]), x.dtype)
    low, high = torch.aminmax(x, dim=1)
    return exponents_of(torch.maximum(-low, high).double().numpy(), x.dtype)


def peak(x: torch.Tensor) -> float:
    """The largest magnitude; NaN or infinity if there is one."""
    low, high = torch.aminmax(x)
    return max(-low.item(), high.item())


def exponents_of(largest: np.ndarray, dtype) -> np.ndarray:
    """Integers e (vectors,): x 2^-e can be squared and summed in x's type without over- or underflow.

    0 for rows whose largest entry is between 2^-16 and 2^16, BAD for rows with NaN or infinity.
    """
    good = np.isfinite(largest)
    e = np.frexp(np.where(good, largest, 0.0))[1].astype(np.int64)
    bound = 126 if dtype == torch.float32 else 1000
    e = np.where(np.abs(e) <= 16, 0, np.clip(e, -bound, bound))
    return np.where(good, e, BAD)


BAD = np.iinfo(np.int64).max  # exponent of a row that is not finite


def message_seeds(keys: np.ndarray) -> np.ndarray:
    """The 32-bit seeds that travel with messages, from the messages' keys: uint64."""
    return rng.fold(keys, 0) >> np.uint64(32)


def computed(x: torch.Tensor) -> torch.Tensor:
    """`x` on the CPU, in a type that the transform works in."""
    x = x.detach().cpu()
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def power_of_two(block: int) -> int:
    """`block` if it is a size that blocks may have. Raises ValueError."""
    if not (1 <= block <= LARGEST_BLOCK and block & (block - 1) == 0):
        raise ValueError(f"a block is a power of two up to {LARGEST_BLOCK}")
    return block
