"""QSGD: random dithering on evenly spaced levels between 0 and the 2-norm.

Alistarh et al. 2017 (arXiv 1610.02132): the operator and its variance (lemma 3.1), the sparse code
(theorem 3.2), buckets.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field as Checked

from fewbits.compressors import elias
from fewbits.compressors.arrays import BLOCK, norms, peaks, room
from fewbits.compressors.base import size
from fewbits.compressors.dither import MAX_TOP, Rounder, noise
from fewbits.compressors.forms import DENSE, FORMS, Form
from fewbits.compressors.message import Bits, Field, MessageError, payload_bits
from fewbits.compressors.packing import code_type, unpack
from fewbits.compressors.quantiser import Coded, Quantiser, signed, with_sign
from fewbits.registry import plugin

SPARSE = 2  # added to the form of a message in the sparse code


@plugin
class QSGD(Quantiser):
    """|x_i| / |x| is rounded at random to a multiple of 1/s (s = `levels`); the sign and |x| are sent along.

    omega = min(d / s^2, sqrt(d) / s). With `bucket` = B each stretch of B entries has a norm of its own, and B
    stands for d. Messages: 1 + ceil(log2(s + 1)) bits a number (levels cost their logarithm), and one float
    a bucket. With `code` = "elias", the entries that are not zero are sent as gap, sign and level,
    gap and level in Elias' gamma code, where that is shorter: the operator is the same, the size depends on the
    data. (The paper uses Elias' recursive code, which is longer for numbers this small.)
    """

    name: ClassVar[str] = "qsgd"
    codec: ClassVar[int] = 10
    length: ClassVar[str] = "d (1 + ceil(log2(levels + 1))) + w"
    source: ClassVar[str] = "Alistarh et al. 2017, arXiv 1610.02132"
    shown: ClassVar[tuple[dict, ...]] = ({}, {"levels": 1, "code": "elias"})
    knob: ClassVar[str] = "levels"

    levels: Annotated[int, Checked(ge=1, le=MAX_TOP)]
    bucket: Annotated[int, Checked(ge=1)] | None = None
    code: Literal["dense", "elias"] = "dense"
    wire: Literal["float32", "float64"] = "float32"

    @classmethod
    def examples(cls, d):
        return [
            {"levels": 7},
            {"levels": 1, "code": "elias"},
            {"levels": 300, "bucket": 16, "wire": "float64"},
            {"levels": 3, "bucket": 64, "code": "elias"},
        ]

    @classmethod
    def sizes(cls, given, shape):
        return tuple(2**b - 1 for b in range(1, 17))  # what b bits beside the sign can say

    def payload(self, shape):
        form = self.form(size(shape))
        return form.bits if self.code == "dense" or form.form >= DENSE else None

    def variance(self, shape):
        d = min(size(shape), self.bucket or size(shape))
        return min(d / self.levels**2, d**0.5 / self.levels)

    def width(self, d):
        return 1 + self.levels.bit_length()

    def scales(self, d):
        return (Field("metadata", self.wire, -(-d // (self.bucket or d))),)

    def quantise(self, rows, peak, keys):
        d = rows.shape[1]
        norm = self._norms(rows, peak)
        step = self.bucket or d
        codes = np.empty(rows.shape, code_type(self.width(d)))
        work, rounded = room(rows), Rounder(self.levels, rows.dtype)
        divisor = np.where(norm > 0, norm, 1).astype(rows.dtype)
        for columns, random in noise(keys, d):
            share = work[:, : columns.stop - columns.start]
            np.abs(rows[:, columns], out=share)
            share /= _stretched(divisor, step, columns)
            part = codes[:, columns]
            np.copyto(part, rounded(share, random), casting="unsafe")
            signed(part, rows[:, columns], self.width(d) - 1)
        return Coded((norm,), codes)

    def _norms(self, rows: np.ndarray, peak: np.ndarray) -> np.ndarray:
        """(n, buckets) in the wire's format; no entry is above its norm."""
        n, d = rows.shape
        if self.bucket is None or self.bucket >= d:
            norm = norms(rows, peak, 2)[:, None]
        else:
            whole = d - d % self.bucket
            rest = np.pad(rows[:, whole:], ((0, 0), (0, -d % self.bucket)))
            parts = rows[:, :whole].reshape(-1, self.bucket), rest
            norm = np.concatenate([_of_stretches(p).reshape(n, -1) for p in parts if p.size], 1)
        with np.errstate(over="ignore"):
            return norm.astype(self.wire)  # entries are numbers of that format: none is passed

    def restore(self, scales, codes, dtype):
        d = codes.shape[1]
        width = self.width(d) - 1
        values = (codes & (1 << width) - 1).astype(dtype)
        values /= np.dtype(dtype).type(self.levels)
        values *= _stretched(scales[0].astype(dtype), self.bucket or d, slice(0, d))
        return with_sign(values, codes, width)

    def check_codes(self, scales, codes):
        if (scales[0] < 0).any():
            return "a norm is negative"
        level = int((codes & (1 << self.levels.bit_length()) - 1).max(initial=0))
        return f"level {level} is above {self.levels}" if level > self.levels else None

    # The sparse code ---------------------------------------------------------------------------------------

    def lay_out(self, coded, d):
        form, sections = super().lay_out(coded, d)
        if self.code == "dense":
            return form, sections
        at, gaps, levels = self._entries(coded.codes)
        signs = (coded.codes[0, at[1]] >> self.width(d) - 1).astype(np.uint8)
        gap_code, level_code = elias.encode(gaps), elias.encode(levels)
        stretch = np.array([len(gap_code[0]), len(level_code[0])])
        sparse = self._sparse_form(d, len(gaps), *stretch.tolist())
        if sparse.bits.total >= form.bits.total:
            return form, sections
        return sparse, (stretch, coded.scales[0][0], *gap_code, signs, *level_code)

    def cost(self, coded, d):
        dense = self.form(d).bits
        if self.code == "dense":
            return dense
        (rows, _), gaps, levels = self._entries(coded.codes)
        n = len(coded.codes)
        count = np.bincount(rows, minlength=n)
        gap, level = (
            np.bincount(rows, elias.lengths(numbers), n).astype(np.int64)
            for numbers in (gaps, levels)
        )
        streams = (gap, gap - count, count, level, level - count)
        header = 16 + 8 * np.maximum(1, -(-elias.lengths(count) // 7))
        fixed = sum(8 * f.bytes for f in self._sparse_head(d))
        total = header + fixed + sum(8 * -(-s // 8) for s in streams)
        values, indices = level + level, gap + gap - count
        sparse = (values, indices, total - values - indices)
        shorter = total < dense.total
        parts = (dense.values, dense.indices, dense.metadata)
        return Bits(*(np.where(shorter, s, p) for s, p in zip(sparse, parts, strict=True)))

    def _entries(self, codes: np.ndarray):
        """(rows, columns) of the entries that are not zero, their gaps to the one before, their levels."""
        levels = codes & codes.dtype.type((1 << self.levels.bit_length()) - 1)
        rows, columns = np.nonzero(levels)
        gaps = np.diff(columns, prepend=-1)
        first = np.flatnonzero(np.diff(rows, prepend=-1))
        gaps[first] = columns[first] + 1
        return (rows, columns), gaps, levels[rows, columns]

    def _sparse_head(self, d: int) -> tuple[Field, ...]:
        """Lengths of the two unary streams, and the norms."""
        width = (d * self.levels.bit_length()).bit_length()
        return (Field("metadata", f"uint{width}", 2), *self.scales(d))

    def _sparse_form(self, d: int, count: int, gap: int, level: int) -> Form:
        streams = {"indices": (gap, gap - count), "values": (count, level, level - count)}
        if min(*streams["indices"], *streams["values"]) < 0:
            raise ValueError("a stream of Elias codes is shorter than its numbers")
        fields = (Field(role, "uint1", bits) for role in streams for bits in streams[role])
        layout = (*self._sparse_head(d), *fields)
        return Form(SPARSE + FORMS.index(self.wire), count, layout, payload_bits(layout, count))

    def _layouts(self, data, d):
        dense = super()._layouts(data, d)

        def layouts(form: int, count: int) -> tuple[Field, ...]:
            if self.code == "dense" or form != SPARSE + FORMS.index(self.wire):
                return dense(form, count)
            if self.form(d).form >= DENSE:
                raise ValueError("expected a dense array of floats")
            head, start = self._sparse_head(d)[0], payload_bits((), count).total // 8
            lengths = unpack(data[start : start + head.bytes], head.width, 2)
            return self._sparse_form(d, count, *lengths.tolist()).layout

        return layouts

    def read(self, message, d):
        if message.form < SPARSE:
            return super().read(message, d)
        _, norm, gap, gap_rest, signs, level, level_rest = message.sections
        try:
            gaps = elias.decode(gap, gap_rest, message.count)
            levels = elias.decode(level, level_rest, message.count)
        except ValueError as error:
            raise MessageError(str(error)) from None
        at = np.cumsum(np.minimum(gaps, d + 1)) - 1  # no sum of theirs overflows
        if at.max(initial=0) >= d or levels.max(initial=0) > self.levels:
            raise MessageError("an entry lies beyond the dimension or the highest level")
        codes = np.zeros((1, d), np.int64)
        codes[0, at] = levels | signs.astype(np.int64) << self.width(d) - 1
        return Coded((norm[None],), codes)


def _of_stretches(rows: np.ndarray) -> np.ndarray:
    """2-norms of rows (n, B): what `norms` gives, once they are rounded to the wire's format.

    Of squares that are normal numbers no largest magnitude is needed: a sum is at least fl(x^2), whose root rounds to |x|.
    """
    if rows.shape[1] <= BLOCK:
        squares = np.matmul(rows[:, None], rows[..., None])[:, 0, 0]
        if squares.min() > 2.0**-60 and squares.max() < 2.0**60:
            return np.sqrt(squares, dtype=np.float64)
    return norms(rows, peaks(rows), 2)


def _stretched(norm: np.ndarray, step: int, columns: slice) -> np.ndarray:
    """The norm (n, buckets of `step` entries) of each of these columns."""
    if norm.shape[1] == 1:
        return norm
    first, last = columns.start // step, -(-columns.stop // step)
    skip = columns.start - first * step
    each = np.repeat(norm[:, first:last], step, axis=1)
    return each[:, skip : skip + columns.stop - columns.start]
