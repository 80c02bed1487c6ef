"""Top-k: the k entries of largest magnitude.

Beznosikov et al. 2020 (arXiv 2002.12410), the compressor of EF21's experiments (arXiv 2106.05203, section 5).
"""

from __future__ import annotations

import functools
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field as Checked

from fewbits.compressors import forms
from fewbits.compressors.base import (
    Compressed,
    Compressor,
    all_finite,
    require_finite,
    size,
    spoil,
    through_wire,
)
from fewbits.compressors.forms import DENSE, FORMS, Form, received
from fewbits.compressors.message import Field, Message, from_bytes
from fewbits.compressors.select import FEWEST, largest_of_many
from fewbits.lazy import torch
from fewbits.registry import plugin


@plugin
class TopK(Compressor):
    """Keep the k entries of largest magnitude, zero the others; equal magnitudes: lowest index first.

    alpha_C = k/d, tight when all magnitudes are equal. A message holds k values and k bit-packed
    indices of ceil(log2 d) bits, in increasing order; where that is not shorter than all d entries
    (zeros included) sent as an array, the array is sent: the operator is the same, the bits fewer.
    k above d means k = d.
    """

    name: ClassVar[str] = "topk"
    codec: ClassVar[int] = 1
    length: ClassVar[str] = "k (w + ceil(log2 d))"
    source: ClassVar[str] = "Beznosikov et al. 2020, arXiv 2002.12410"
    random: ClassVar[bool] = False
    knob: ClassVar[str] = "k"

    k: Annotated[int, Checked(ge=1)]
    wire: Literal["float32", "float64"] = "float32"

    @classmethod
    def examples(cls, d):
        sizes = sorted({1, min(2, d), max(1, d // 2), max(1, d - 1), d})
        return [{"k": k, "wire": wire} for k in sizes for wire in FORMS]

    @classmethod
    def sizes(cls, given, shape):
        return range(1, size(shape) + 1)

    def check(self, features: int | None = None) -> str | None:
        """Why this cannot be used on `features` numbers, or None."""
        if features is not None and self.k > features:
            return f"k = {self.k} is larger than the {features} features of the data set"
        return None

    def contraction(self, shape):
        return min(self.k, size(shape)) / size(shape)

    def payload(self, shape):
        return self._form(size(shape)).bits

    def compress(self, x, shape, keys=None):
        d = size(shape)
        flat = x.reshape(-1, d)
        sound = all_finite(flat)
        finite = flat if sound else torch.where(torch.isfinite(flat), flat, 0.0)
        kept = torch.where(largest(finite, min(self.k, d)), through_wire(finite, self.wire), 0.0)
        kept = kept if sound else spoil(kept, flat)
        return Compressed(kept.reshape(x.shape), self._form(d).bits)

    def encode(self, x, where="update", key=0):
        require_finite(x, where, self.wire)
        d = x.numel()
        flat = x.detach().cpu().reshape(-1)
        wire = getattr(torch, self.wire)
        form, count, layout, _ = self._form(d)
        if form >= DENSE:
            sections = (torch.where(largest(flat, min(self.k, d)), flat.to(wire), 0.0).numpy(),)
        else:
            indices = places(flat, self.k)
            sections = (indices.numpy(), flat[indices].to(wire).numpy())
        return Message(self.codec, form, count, layout, sections)

    def decode(self, message, shape, dtype):
        out = torch.zeros(size(shape), dtype=dtype)
        if message.form >= DENSE:
            out[:] = received(message.sections[0], dtype)
        else:
            out[torch.from_numpy(message.sections[0])] = received(message.sections[1], dtype)
        return out.reshape(shape)

    def from_bytes(self, data, shape):
        d = size(shape)
        message = from_bytes(data, self.codec, d, forms.only(self._form(d)))
        if message.form < DENSE:
            forms.require_increasing(message.sections[0], d)
        return message

    def _form(self, d: int) -> Form:
        return _form(min(self.k, d), self.wire, d)


@functools.cache
def _form(k: int, wire: str, d: int) -> Form:
    """Sparse, or dense where that is not longer."""
    layout = (forms.index_field(k, d), Field("values", wire, k))
    return forms.shortest(forms.dense(wire, d), forms.make(FORMS.index(wire), k, layout))


def places(x: torch.Tensor, k: int) -> torch.Tensor:
    """Indices (k,), increasing, of what `largest` marks in (d,)."""
    return largest_of_many(x, k) if _are_many(x) else largest(x, k).nonzero().reshape(-1)


def _are_many(x: torch.Tensor) -> bool:
    """Whether rows of `x` are so long that a guess before the selection pays (select.py)."""
    return (
        x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.float64)
        and x.shape[-1] >= FEWEST
    )


def largest(x: torch.Tensor, k: int) -> torch.Tensor:
    """Mask (same shape as `x`, (*batch, d)) of the k largest magnitudes of each row; ties: lowest index.

    `x` is finite. Selection promises no order among equals, so it is asked only for the k-th magnitude.
    """
    if k == x.shape[-1]:
        return torch.ones_like(x, dtype=torch.bool)
    x = x if x.dtype in (torch.float32, torch.float64) else x.float()
    if _are_many(x):
        mask = torch.zeros_like(x, dtype=torch.bool)
        for row, out in zip(x.reshape(-1, x.shape[-1]), mask.view(-1, x.shape[-1]), strict=True):
            out[largest_of_many(row, k)] = True
        return mask
    magnitude = x.abs()
    kth = _kth(magnitude, k)
    mask = magnitude >= kth
    if int(mask.count_nonzero()) == k * (mask.numel() // mask.shape[-1]):  # no row has fewer than k
        return mask
    above = magnitude > kth
    tied = mask & ~above
    missing = k - above.sum(dim=-1, keepdim=True)
    return above | (tied & (tied.cumsum(dim=-1) <= missing))


def _kth(magnitude: torch.Tensor, k: int) -> torch.Tensor:
    """The k-th largest of each row, (*batch, 1)."""
    if k == 1:
        return magnitude.amax(dim=-1, keepdim=True)
    if magnitude.device.type == "cpu":  # several times faster than torch.topk on many short rows
        place = magnitude.shape[-1] - k
        return torch.from_numpy(np.partition(magnitude.numpy(), place, axis=-1)[..., place, None])
    return magnitude.topk(k, dim=-1, sorted=False).values.amin(dim=-1, keepdim=True)
