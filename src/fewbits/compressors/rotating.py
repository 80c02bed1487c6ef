"""What DRIVE, EDEN and the rotated quantiser share: rotated blocks, b bits an entry, few floats a block.

A subclass says how a tile of rotated columns becomes codes and floats (`quantise`) and what they stand for
(`restore`); cutting, rotating, messages and batches are here. The message:

    seed of the signs (32 bits) | floats of every block | codes of every entry, b bits each

Vectors so short that this would not be shorter than the array of all entries are sent as that
array (form DENSE): x itself, up to the wire's float format.
"""

from __future__ import annotations

import functools
from typing import ClassVar, NamedTuple

import numpy as np

from fewbits.compressors import forms, hadamard, walsh
from fewbits.compressors.base import Compressed, Compressor, require_finite, size, through_wire
from fewbits.compressors.forms import DENSE, FORMS, Form, received
from fewbits.compressors.hadamard import (
    BAD,
    Piece,
    Scratch,
    Tile,
    computed,
    message_seeds,
    pieces,
    tiles,
)
from fewbits.compressors.message import (
    FLOATS,
    Field,
    Message,
    MessageError,
    from_bytes,
)
from fewbits.lazy import torch

NOISE = 1  # stream of a message's key for what the receiver does not draw again


class RotatingQuantiser(Compressor):
    """Base class. Subclasses have the fields `bits`, `block` and `wire`."""

    floats: ClassVar[int] = 1  # a block

    def kept(self, size: int) -> int:
        """How many of a block's rotated entries are sent."""
        return size

    def quantise(self, u: torch.Tensor, how: Sending) -> np.ndarray:
        """Fill `how.codes` for rotated columns (D, w), H diag(s) x; their floats (w, floats).

        The floats are as they will be on the wire (`on_the_wire`). `u` may be overwritten.
        """
        raise NotImplementedError

    def restore(self, codes: np.ndarray, floats: np.ndarray, how: Receiving) -> np.ndarray:
        """Fill `how.out` (D, w) with numbers of moderate size; the factors (w,) of its columns."""
        raise NotImplementedError

    def on_the_wire(self, floats: np.ndarray, how: Sending, towards: float | None = None):
        """`floats` (w,) as sent, float64: in units of the vector, in the wire's format.

        They are rounded to the nearest, or in the direction of `towards`, an infinity.
        """
        exact = np.ldexp(floats, how.shift)
        sent = exact.astype(FLOATS[self.wire])
        if towards is not None:
            wrong = sent > exact if towards < 0 else sent < exact
            sent = np.where(wrong, np.nextafter(sent, sent.dtype.type(towards)), sent)
        return sent.astype(np.float64)

    def payload(self, shape):
        return _plan(self, size(shape)).how.bits

    def compress(self, x, shape, keys=None):
        d = size(shape)
        plan = _plan(self, d)
        if plan.how.form >= DENSE:
            return Compressed(through_wire(x, self.wire), plan.how.bits)
        rows = computed(x).reshape(-1, d)
        keys = np.zeros(len(rows), np.uint64) if keys is None else np.asarray(keys).reshape(-1)
        seeds, out = message_seeds(keys), torch.empty_like(rows)
        e, scratch = hadamard.exponents(rows), Scratch()
        good = e != BAD
        scaling = e * good if e.any() else None
        for tile in tiles(len(rows), d, self.block):
            codes = scratch("codes", self.kept(tile.piece.size), tile.shape[1], torch.uint8).numpy()
            floats = self._send(tile, rows, keys, seeds, scaling, codes, scratch)
            self._receive(tile, codes, floats, seeds, scratch, out)
        out[torch.from_numpy(~good)] = torch.nan
        return Compressed(out.to(x.device, x.dtype).reshape(x.shape), plan.how.bits)

    def encode(self, x, where="update", key=0):
        d = x.numel()
        plan = _plan(self, d)
        row = computed(x).reshape(1, d)
        if plan.how.form >= DENSE:
            require_finite(x, where, self.wire)
            values = row.reshape(-1).to(getattr(torch, self.wire)).numpy()
            return Message(self.codec, plan.how.form, d, plan.how.layout, (values,))
        keys = np.array([key], np.uint64)
        seeds = message_seeds(keys)
        codes, floats = np.empty(plan.codes, np.uint8), np.empty((plan.blocks, self.floats))
        scratch = Scratch()

        def send(e: np.ndarray | None) -> np.ndarray:
            """The whole row by this exponent; the right one, which is known when all entries have been read."""
            peaks = []
            for tile in tiles(1, d, self.block):
                peaks.append(hadamard.peak(tile.part(row)))  # brings them into the cache
                here = plan.codes_of(tile, codes), scratch
                plan.floats_of(tile, floats)[...] = self._send(tile, row, keys, seeds, e, *here)
            return hadamard.exponents_of(np.max(peaks, keepdims=True), row.dtype)

        e = send(None)
        if e[0] == BAD:
            require_finite(x, where)
        if e[0]:
            send(e)
        if not np.isfinite(floats).all():
            raise ValueError(f"{where}: too large for {self.wire} on the wire")
        sections = (seeds.astype(np.int64), floats.reshape(-1), codes)
        return Message(self.codec, plan.how.form, d, plan.how.layout, sections)

    def decode(self, message, shape, dtype):
        if message.form >= DENSE:
            return received(message.sections[0], dtype).reshape(shape)
        d = size(shape)
        seed, floats, codes = message.sections
        kind = dtype if dtype in (torch.float32, torch.float64) else torch.float32
        floats = floats.astype(np.float64).reshape(-1, self.floats)
        codes = codes.astype(np.uint8)
        out = torch.empty(1, d, dtype=kind)
        plan, scratch = _plan(self, d), Scratch()
        for tile in tiles(1, d, self.block):
            here = plan.codes_of(tile, codes), plan.floats_of(tile, floats)
            self._receive(tile, *here, seed.astype(np.uint64), scratch, out)
        return out.to(dtype).reshape(shape)

    def from_bytes(self, data, shape):
        d = size(shape)
        message = from_bytes(data, self.codec, d, forms.only(_plan(self, d).how))
        if message.flag:
            raise MessageError("the flag has no meaning here")
        return message

    def _send(self, tile: Tile, x, keys, seeds, e, codes, scratch: Scratch) -> np.ndarray:
        """Put a tile's codes into `codes` (kept, w); its floats (w, floats) as they are on the wire.

        Rows are divided by 2^e first, where there are exponents.
        """
        sign = tile.signs(seeds, x.dtype, scratch)
        u = tile.load(x, sign, scratch("u", *tile.shape, x.dtype))
        shift = -_half(tile.piece)
        if e is not None:
            columns = np.repeat(e[tile.rows], tile.piece.width)
            u.mul_(torch.from_numpy(np.ldexp(1.0, -columns)).to(u.dtype))
            shift = columns + shift
        spare = scratch("spare", *tile.shape, x.dtype)
        u, spare = walsh.transform(u, spare, tile.piece.large)
        mine = seeds[tile.rows], keys[tile.rows]
        with np.errstate(all="ignore"):  # of rows that are not finite, or scaled badly
            return self.quantise(u, Sending(tile, *mine, shift, codes, spare, scratch))

    def _receive(self, tile, codes, floats, seeds, scratch, out) -> None:
        """Put a tile's numbers into `out` (vectors, d)."""
        u, spare = (scratch(name, *tile.shape, out.dtype) for name in ("received", "other"))
        factor = self.restore(codes, floats, Receiving(tile, seeds[tile.rows], u, scratch))
        u, _ = walsh.transform(u, spare, tile.piece.large)
        down = _half(tile.piece) - (tile.piece.size.bit_length() - 1)
        u.mul_(tile.signs(seeds, u.dtype, scratch))
        u.mul_(torch.from_numpy(np.ldexp(factor, down)).to(u.dtype))
        if np.abs(floats).max(initial=0.0) > 1e30:  # a hostile float must not make an infinity
            torch.nan_to_num_(u, nan=0.0)
        tile.store(u, out)


class Sending(NamedTuple):
    """What `quantise` may use.

    seeds, keys: (vectors of the tile,), randomness that the receiver knows; for what it does not, the stream NOISE of keys
    shift: an integer or (w,), a float for column j is sent times 2^shift[j]
    codes: (kept, w) uint8, to be filled
    spare, scratch: room to work in, the first like the columns
    """

    tile: Tile
    seeds: np.ndarray
    keys: np.ndarray
    shift: np.ndarray | int
    codes: np.ndarray
    spare: torch.Tensor
    scratch: Scratch


class Receiving(NamedTuple):
    """What `restore` may use: `seeds` (vectors of the tile), and where to put the numbers."""

    tile: Tile
    seeds: np.ndarray
    out: torch.Tensor
    scratch: Scratch


class Plan(NamedTuple):
    """Sizes and layout of the message for d numbers; `starts`: where each piece's codes begin."""

    starts: tuple[int, ...]
    codes: int
    blocks: int
    how: Form

    def codes_of(self, tile: Tile, codes: np.ndarray) -> np.ndarray:
        """The (kept, width) codes of one vector's piece, a view of all codes of its message."""
        start, stop = self.starts[tile.piece.number], self.starts[tile.piece.number + 1]
        return codes[start:stop].reshape(-1, tile.piece.width)

    def floats_of(self, tile: Tile, floats: np.ndarray) -> np.ndarray:
        """The (width, floats) of one vector's piece, a view of all floats of its message."""
        return floats[tile.piece.blocks : tile.piece.blocks + tile.piece.width]


@functools.lru_cache(maxsize=1024)
def _plan(self: RotatingQuantiser, d: int) -> Plan:
    cut = pieces(d, self.block)
    kept = tuple(self.kept(p.size) * p.width for p in cut)
    blocks = cut[-1].blocks + cut[-1].width
    layout = (
        Field("metadata", "uint32", 1),
        Field("metadata", self.wire, self.floats * blocks),
        Field("values", f"uint{self.bits}", sum(kept)),
    )
    form = forms.shortest(forms.dense(self.wire, d), forms.make(FORMS.index(self.wire), d, layout))
    starts = tuple(np.cumsum((0, *kept)).tolist())
    return Plan(starts, sum(kept), blocks, form)


def _half(piece: Piece) -> int:
    """Floats are divided by 2 to this power, about sqrt(D), to be of the size of the block's entries."""
    return piece.size.bit_length() // 2
