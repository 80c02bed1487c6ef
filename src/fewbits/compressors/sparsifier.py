"""What the sparsifiers share: some entries are sent, as they are or times a constant, and the others are not.

A family says which entries of each row it takes; from that come the batched operator, the message and its
reading. The positions travel in the form that is shortest: bit-packed indices (or what the family sends in their
place), the key they were drawn with (where they depend on nothing else), or, zeros included, all entries as a dense array.
"""

from __future__ import annotations

import functools
from typing import ClassVar

import numpy as np

from fewbits.compressors import forms
from fewbits.compressors.arrays import (
    as_keys,
    as_rows,
    as_tensor,
    peaks,
    refuse,
    work_type,
)
from fewbits.compressors.base import Compressed, Compressor, size
from fewbits.compressors.forms import DENSE, FORMS, Form
from fewbits.compressors.message import Bits, Field, Message, MessageError, from_bytes
from fewbits.lazy import torch

SEEDED = 2  # added to the form when the key is sent instead of indices
BITMAP = 4  # added to the form when a bit for each entry says whether it is sent
POSITIONS = ("packed", "int32", "bitmap")


class Sparsifier(Compressor):
    """A family overrides `choose`, and `gain` and `admits` where these differ."""

    wire: str = "float32"
    positions: str = (
        "packed"  # one of POSITIONS: indices of few bits, of 32, or a bit for each entry
    )
    seeded: ClassVar[bool] = False  # whether `choose` looks at keys alone

    def choose(self, rows: np.ndarray, peak: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Which entries of finite rows (n, d) with largest magnitudes and keys (n,) are sent: (n, d) bool."""
        raise NotImplementedError

    def gain(self, d: int) -> float:
        """The constant by which the receiver multiplies what was sent."""
        return 1.0

    def admits(self, count: int, d: int) -> bool:
        """Whether a message can hold `count` entries."""
        return True

    def form(self, count: int, d: int) -> Form:
        return _form(count, self.wire, d, self.positions, self.seeded)

    def compress(self, x, shape, keys=None):
        d = size(shape)
        rows = as_rows(x, d, self.wire)
        peak = peaks(rows)
        good = np.isfinite(peak)
        if not good.all():
            rows, peak = np.where(good[:, None], rows, 0), np.where(good, peak, 0)
        mask = self.choose(rows, peak, as_keys(keys, len(rows)))
        values = np.where(mask, self._received(rows, d), 0)
        if not good.all():
            values[~good] = np.nan
        batch = x.shape[: x.dim() - len(shape)]
        bits = self.payload(shape) or self._cost(mask.sum(axis=-1), d, batch)
        return Compressed(as_tensor(values, x), bits)

    def _received(self, values: np.ndarray, d: int) -> np.ndarray:
        """What the receiver makes of values that were sent."""
        gain = self.gain(d)
        with np.errstate(over="ignore"):
            return values if gain == 1 else values * values.dtype.type(gain)

    def _cost(self, counts: np.ndarray, d: int, batch) -> Bits:
        """Bits of messages with these numbers of entries."""
        kinds, which = np.unique(counts, return_inverse=True)
        bits = [self.form(count, d).bits for count in kinds.tolist()]
        parts = np.array([[b.values, b.indices, b.metadata] for b in bits], float).reshape(-1, 3)
        return Bits(*(torch.from_numpy(part[which]).reshape(batch) for part in parts.T))

    def encode(self, x, where="update", key=0):
        d = x.numel()
        rows, keys = as_rows(x, d, self.wire), np.array([key], np.uint64)
        peak = peaks(rows)
        refuse(peak[0], where, self.wire)
        refuse(self._received(peak.astype(rows.dtype), d)[0], where, self.wire)
        mask = self.choose(rows, peak, keys)[0]
        indices = np.flatnonzero(mask)
        form = self.form(len(indices), d)
        values = np.where(mask, rows[0], 0) if form.form >= DENSE else rows[0, indices]
        values = values.astype(self.wire, copy=False)
        if form.form >= DENSE:
            sections = (values,)
        else:
            places = keys if form.form & SEEDED else mask if form.form & BITMAP else indices
            sections = (places, values)
        return Message(self.codec, form.form, form.count, form.layout, sections)

    def decode(self, message, shape, dtype):
        d = size(shape)
        values = message.sections[-1]
        with np.errstate(over="ignore"):
            received = self._received(values.astype(work_type(dtype)), d)
        if not np.isfinite(received).all():
            raise MessageError(f"payload holds numbers beyond {str(dtype).removeprefix('torch.')}")
        if message.form < DENSE:
            out = np.zeros(d, work_type(dtype))
            out[self._indices(message, d)] = received
        else:
            out = received
        return torch.from_numpy(out).reshape(shape).to(dtype)

    def _indices(self, message: Message, d: int) -> np.ndarray:
        """Where the values of a message that is not dense belong."""
        places = message.sections[0]
        if message.form & SEEDED:
            nothing = np.broadcast_to(np.float32(0), (1, d))
            return np.flatnonzero(self.choose(nothing, np.zeros(1), places.astype(np.uint64)))
        return np.flatnonzero(places) if message.form & BITMAP else places

    def from_bytes(self, data, shape):
        d = size(shape)

        def layouts(form: int, count: int) -> tuple[Field, ...]:
            if form == DENSE + FORMS.index(self.wire) and count == d:
                return forms.dense(self.wire, d).layout
            expected = self.form(count, d)
            if form != expected.form or not self.admits(count, d):
                raise ValueError(
                    f"{count} entries in form {form} are not what this compressor sends"
                )
            return expected.layout

        message = from_bytes(data, self.codec, d, layouts)
        if message.form < DENSE:
            indices = self._indices(message, d)
            if len(indices) != message.count:
                said = "key stands for" if message.form & SEEDED else "bitmap has"
                raise MessageError(f"the {said} {len(indices)} entries, not {message.count}")
            forms.require_increasing(indices, d)
        return message


@functools.lru_cache(maxsize=100_000)
def _form(count: int, wire: str, d: int, positions: str, seeded: bool) -> Form:
    """The shortest of dense, positions and key; the first of these where two are equally long."""
    number, values = FORMS.index(wire), Field("values", wire, count)
    places = {
        "packed": forms.index_field(count, d),
        "int32": Field("indices", "uint32", count),
        "bitmap": Field("indices", "uint1", d),
    }[positions]
    found = [
        forms.dense(wire, d),
        forms.make(number + BITMAP * (positions == "bitmap"), count, (places, values)),
    ]
    if seeded:
        key = Field("metadata", "uint64", 1)
        found.append(forms.make(SEEDED + number, count, (key, values)))
    return forms.shortest(*found)
