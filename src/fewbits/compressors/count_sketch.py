"""Count sketch: a table of signed sums, from which large entries can be read back. Sketches add.

Charikar, Chen, Farach-Colton, "Finding Frequent Items in Data Streams", ICALP 2002; for gradients: Ivkin et al.,
"Communication-efficient distributed SGD with sketching", NeurIPS 2019 (arXiv 1903.04488), Rothchild et al.,
"FetchSGD", ICML 2020 (arXiv 2007.07682).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field as Checked

from fewbits import rng
from fewbits.compressors import forms
from fewbits.compressors.base import Compressed, Compressor, require_finite, size, through_wire
from fewbits.compressors.forms import DENSE, FORMS, Form, received
from fewbits.compressors.hadamard import computed, message_seeds
from fewbits.compressors.message import FLOATS, Field, Message, MessageError, from_bytes
from fewbits.compressors.topk import largest
from fewbits.lazy import torch
from fewbits.registry import plugin

CHUNK = 1 << 20  # hashes made at once


@plugin
class CountSketch(Compressor):
    """Row r of the table adds s_r(i) x_i to cell h_r(i), with random signs s and cells h. Entry i is read as the
    median (or mean) over rows of s_r(i) table[r, h_r(i)]; the k largest are kept (all where k is left out).

    Hashes come from `seed`, the same for all clients and rounds, so that the sum of sketches is the sketch of the sum
    (`add`); without a seed from each message's own, which then travels in it (32 bits).

    With the mean, all entries and a seed a message: unbiased, omega = (d-1)/(rows x columns), as an entry gets each
    other entry with probability 1/columns and a random sign. Otherwise no constant: a fixed hash may put
    two large entries into one cell for ever, and k entries read from a sketch of a flat vector are noise, so that
    |C(x) - x| > |x|.

    A message: the table. Where that is not shorter than the array of all entries, that array is sent
    (x itself, up to the wire's float format), and the k largest are kept at the receiver.
    """

    name: ClassVar[str] = "count_sketch"
    codec: ClassVar[int] = 45
    length: ClassVar[str] = "rows columns w"
    source: ClassVar[str] = (
        "Charikar, Chen, Farach-Colton 2002; Rothchild et al. 2020, arXiv 2007.07682"
    )
    shown: ClassVar[tuple[dict, ...]] = (
        {"rows": 3, "k": 100, "seed": 0},
        {"rows": 3, "estimate": "mean"},
    )
    instead: ClassVar[str] = "topk"
    knob: ClassVar[str] = "columns"

    rows: Annotated[int, Checked(ge=1, le=64)]
    columns: Annotated[int, Checked(ge=1, lt=2**32)]
    k: Annotated[int, Checked(ge=1)] | None = None
    estimate: Literal["median", "mean"] = "median"
    seed: Annotated[int, Checked(ge=0, lt=2**64)] | None = None
    wire: Literal["float32", "float64"] = "float32"

    @classmethod
    def examples(cls, d):
        return [
            {"rows": 3, "columns": max(1, d // 8), "k": max(1, d // 10), "seed": 5},
            {"rows": 2, "columns": max(1, d // 8), "estimate": "mean", "wire": "float64"},
        ]

    @classmethod
    def sizes(cls, given, shape):
        return range(1, -(-size(shape) // int(given.get("rows", 1))) + 1)

    def payload(self, shape):
        return self._form(size(shape)).bits

    def contraction(self, shape):
        d = size(shape)
        return min(self.k or d, d) / d if self._form(d).form >= DENSE else None

    def variance(self, shape):
        d = size(shape)
        if self.k is not None or self.estimate != "mean" or self.seed is not None:
            return None
        return 0.0 if self._form(d).form >= DENSE else (d - 1) / (self.rows * self.columns)

    def compress(self, x, shape, keys=None):
        d, rows = size(shape), computed(x).reshape(-1, size(shape))
        form = self._form(d)
        if form.form >= DENSE:
            return Compressed(
                self._kept(through_wire(x.reshape(-1, d), self.wire)).reshape(x.shape), form.bits
            )
        keys = np.zeros(len(rows), np.uint64) if keys is None else np.asarray(keys).reshape(-1)
        seeds, out = message_seeds(keys), torch.empty_like(rows)
        step = max(1, CHUNK // (self.rows * d))
        for part in (slice(i, i + step) for i in range(0, len(rows), step)):
            hashes = self._hashes(seeds[part], d)
            out[part] = self._read(self._table(rows[part], hashes), hashes, rows.dtype)
        return Compressed(out.to(x.device, x.dtype).reshape(x.shape), form.bits)

    def encode(self, x, where="update", key=0):
        require_finite(x, where, self.wire)
        d, row = x.numel(), computed(x).reshape(1, -1)
        form = self._form(d)
        if form.form >= DENSE:
            sections = (row[0].to(getattr(torch, self.wire)).numpy(),)
            return Message(self.codec, form.form, d, form.layout, sections)
        seeds = message_seeds(np.array([key], np.uint64))
        table = self._table(row, self._hashes(seeds, d))
        if not np.isfinite(table).all():
            raise ValueError(f"{where}: too large for {self.wire} on the wire")
        own = () if self.seed is not None else (seeds.astype(np.int64),)
        return Message(self.codec, form.form, d, form.layout, (*own, table.reshape(-1)))

    def decode(self, message, shape, dtype):
        if message.form >= DENSE:
            dense = received(message.sections[0], dtype).reshape(1, -1)
            return self._kept(dense).reshape(shape)
        table = message.sections[-1].reshape(1, self.rows, self.columns)
        seeds = np.zeros(1) if self.seed is not None else message.sections[0]
        hashes = self._hashes(seeds.astype(np.uint64), size(shape))
        kind = dtype if dtype in (torch.float32, torch.float64) else torch.float32
        return self._read(table, hashes, kind).to(dtype).reshape(shape)

    def from_bytes(self, data, shape):
        d = size(shape)
        message = from_bytes(data, self.codec, d, forms.only(self._form(d)))
        if message.flag:
            raise MessageError("the flag has no meaning here")
        return message

    def add(self, messages: Sequence[Message]) -> Message:
        """The message of the sum of what was sketched, up to the wire's rounding. Needs a shared `seed`."""
        if self.seed is None:
            raise ValueError("sketches add only with a seed that all clients share")
        first = messages[0]
        total = np.sum([m.sections[-1].astype(np.float64) for m in messages], axis=0)
        return Message(
            self.codec, first.form, first.count, first.layout, (total.astype(FLOATS[self.wire]),)
        )

    def _hashes(self, seeds: np.ndarray, d: int) -> Hashes:
        """For messages with these seeds (n,), or for all messages where `seed` is shared."""
        if self.seed is not None:
            return _shared_hashes(self.seed, self.rows, self.columns, d)
        return _hashes(seeds, self.rows, self.columns, d)

    def _table(self, x: torch.Tensor, hashes: Hashes) -> np.ndarray:
        """(n, rows, columns) in the wire's format; sums are made in float64, in the order of entries."""
        signed = hashes.signs * x.double().numpy()[:, None, :]
        tables = np.arange(len(x) * self.rows).reshape(len(x), self.rows, 1) * self.columns
        cells = (hashes.cells + tables).reshape(-1)
        sums = np.bincount(cells, signed.reshape(-1), len(x) * self.rows * self.columns)
        with np.errstate(over="ignore"):
            return sums.reshape(-1, self.rows, self.columns).astype(FLOATS[self.wire])

    def _read(self, table: np.ndarray, hashes: Hashes, dtype) -> torch.Tensor:
        """(n, d)"""
        cells = np.broadcast_to(hashes.cells, (len(table), *hashes.cells.shape[1:]))
        read = hashes.signs * np.take_along_axis(table.astype(np.float64), cells, axis=2)
        if self.estimate == "median":
            middle = np.median(read, axis=1)
        else:  # dividing first cannot overflow; the order of sums is the same for any n
            middle = functools.reduce(np.add, np.moveaxis(read / self.rows, 1, 0))
        return self._kept(torch.from_numpy(middle).to(dtype))

    def _kept(self, x: torch.Tensor) -> torch.Tensor:
        """The k largest of each row, the others zero."""
        if self.k is None or self.k >= x.shape[-1]:
            return x
        return torch.where(largest(x, self.k), x, 0.0)

    def _form(self, d: int) -> Form:
        return _form(self.rows * self.columns, self.seed is None, self.wire, d)


class Hashes(NamedTuple):
    """`cells` (n, rows, d) int64 below columns, `signs` (n, rows, d) int8; n = 1 where all share them."""

    cells: np.ndarray
    signs: np.ndarray


def _hashes(seeds: np.ndarray, rows: int, columns: int, d: int) -> Hashes:
    random = rng.integers(rng.fold(seeds[:, None], np.arange(rows)), d)
    cells = (random >> np.uint64(32)) * np.uint64(columns) >> np.uint64(32)
    signs = (random & np.uint64(1)).astype(np.int8)
    return Hashes(cells.astype(np.int64), 1 - 2 * signs)


@functools.lru_cache(maxsize=4)
def _shared_hashes(seed: int, rows: int, columns: int, d: int) -> Hashes:
    return _hashes(np.array([seed], np.uint64), rows, columns, d)


@functools.cache
def _form(cells: int, own_seed: bool, wire: str, d: int) -> Form:
    layout = (Field("values", wire, cells),)
    if own_seed:
        layout = (Field("metadata", "uint32", 1), *layout)
    return forms.shortest(forms.dense(wire, d), forms.make(FORMS.index(wire), d, layout))
