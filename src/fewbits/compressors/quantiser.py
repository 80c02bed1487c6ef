"""What the scalar quantisers share: each entry becomes a short code, and each message carries a few scales.

A family says how rows become scales and codes and how these become rows again; from that come the batched
operator, the message and its reading, equal by construction.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

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
from fewbits.compressors.forms import DENSE, FORMS, Form, received
from fewbits.compressors.message import Bits, Field, Message, MessageError, from_bytes
from fewbits.lazy import torch


class Coded(NamedTuple):
    """`scales`: arrays (n, count of their field); `codes` (n, d) unsigned integers."""

    scales: tuple[np.ndarray, ...]
    codes: np.ndarray


class Quantiser(Compressor):
    """A family overrides `width`, `quantise`, `restore` and, where these differ, the other small methods.

    Entries are first rounded to the float format `wire`, in which the scales are sent (they count as metadata).
    Where codes and scales are not shorter than all entries as floats (a handful of entries), the entries
    themselves are sent: the bits are the same or fewer, the error none.
    """

    wire: str = "float32"

    # What a family says ------------------------------------------------------------------------------------

    def width(self, d: int) -> int:
        """Bits of one code."""
        raise NotImplementedError

    def quantise(self, rows: np.ndarray, peak: np.ndarray, keys: np.ndarray) -> Coded:
        """Finite rows (n, d), their largest magnitudes and keys (n,) as scales and codes."""
        raise NotImplementedError

    def restore(self, scales, codes: np.ndarray, dtype) -> np.ndarray:
        """The rows (n, d) that scales and codes mean, computed in `dtype`."""
        raise NotImplementedError

    def scales(self, d: int) -> tuple[Field, ...]:
        return (Field("metadata", self.wire, 1),)

    def field(self, d: int) -> Field:
        """The section of the codes."""
        return Field("values", f"uint{self.width(d)}", d)

    def to_section(self, codes: np.ndarray) -> np.ndarray:
        """The codes (d,) as the array of that section."""
        return codes

    def from_section(self, section: np.ndarray, d: int) -> np.ndarray:
        return section

    def fits(self, scales, dtype) -> np.ndarray:
        """Whether rows with these scales are finite numbers of `dtype`: (n,) bool."""
        with np.errstate(over="ignore"):
            return np.logical_and.reduce([np.isfinite(s.astype(dtype)).all(-1) for s in scales])

    def check_codes(self, scales, codes: np.ndarray) -> str | None:
        """What is wrong with scales (1, ...) and codes (1, d) that were received, or None."""
        return None

    def lay_out(self, coded: Coded, d: int) -> tuple[Form, tuple[np.ndarray, ...]]:
        """Layout and sections for the one row of `coded`."""
        sections = (*(s[0] for s in coded.scales), self.to_section(coded.codes[0]))
        return self.form(d), sections

    def cost(self, coded: Coded, d: int) -> Bits:
        """Bits of each row's message."""
        return self.form(d).bits

    # What follows ------------------------------------------------------------------------------------------

    def payload(self, shape):
        return self.form(size(shape)).bits

    def form(self, d: int) -> Form:
        return _form((*self.scales(d), self.field(d)), self.wire, d)

    def compress(self, x, shape, keys=None):
        d = size(shape)
        rows, form = as_rows(x, d, self.wire), self.form(d)
        if form.form >= DENSE:
            return Compressed(as_tensor(rows, x), form.bits)
        peak = peaks(rows)
        good = np.isfinite(peak)
        if not good.all():
            rows, peak = np.where(good[:, None], rows, 0), np.where(good, peak, 0)
        coded = self.quantise(rows, peak, as_keys(keys, len(rows)))
        good &= self.fits(coded.scales, rows.dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            values = self.restore(*coded, rows.dtype)
        if not good.all():
            values[~good] = np.nan
        bits = self.cost(coded, d)
        if isinstance(bits.values, np.ndarray):
            batch = x.shape[: x.dim() - len(shape)]
            parts = (bits.values, bits.indices, bits.metadata)
            bits = Bits(*(torch.from_numpy(p).to(torch.float64).reshape(batch) for p in parts))
        return Compressed(as_tensor(values, x), bits)

    def encode(self, x, where="update", key=0):
        d = x.numel()
        rows, form = as_rows(x, d, self.wire), self.form(d)
        peak = peaks(rows)
        refuse(peak[0], where, self.wire)
        if form.form >= DENSE:
            sections = (rows[0].astype(self.wire, copy=False),)
        else:
            coded = self.quantise(rows, peak, np.array([key], np.uint64))
            if not self.fits(coded.scales, rows.dtype)[0]:
                refuse(np.inf, where, self.wire)
            form, sections = self.lay_out(coded, d)
        return Message(self.codec, form.form, form.count, form.layout, sections)

    def decode(self, message, shape, dtype):
        if message.form >= DENSE:
            return received(message.sections[0], dtype).reshape(shape)
        scales, codes = self.read(message, size(shape))
        if not self.fits(scales, work_type(dtype))[0]:
            raise MessageError(f"payload holds numbers beyond {str(dtype).removeprefix('torch.')}")
        rows = self.restore(scales, codes, work_type(dtype))
        return torch.from_numpy(rows).reshape(shape).to(dtype)

    def read(self, message: Message, d: int) -> Coded:
        """Scales and codes of a message that is not dense."""
        *scales, section = message.sections
        return Coded(tuple(s[None] for s in scales), self.from_section(section, d)[None])

    def from_bytes(self, data, shape):
        d = size(shape)
        message = from_bytes(data, self.codec, d, self._layouts(data, d))
        if message.form < DENSE:
            self.verify(message, d)
        return message

    def verify(self, message: Message, d: int) -> None:
        """Raise MessageError unless scales and codes are ones that an encoder can send."""
        wrong = self.check_codes(*self.read(message, d))
        if wrong:
            raise MessageError(wrong)

    def _layouts(self, data: bytes, d: int):
        return forms.only(self.form(d))


@functools.cache
def _form(coded: tuple[Field, ...], wire: str, d: int) -> Form:
    """Codes, or dense where that is not longer."""
    return forms.shortest(forms.dense(wire, d), forms.make(FORMS.index(wire), d, coded))


def signed(codes: np.ndarray, rows: np.ndarray, width: int) -> None:
    """Put the sign of each entry of `rows` above the `width` bits of its code, in place; zeros stay 0."""
    signs = (rows < 0).view(np.uint8).astype(codes.dtype, copy=False)
    signs *= codes.dtype.type(1 << width)  # several times faster than a shift
    codes |= signs


def with_sign(values: np.ndarray, codes: np.ndarray, width: int) -> np.ndarray:
    """`values` (>= 0), negated where the code says so, in place."""
    return np.negative(values, out=values, where=(codes >> width).astype(bool))
