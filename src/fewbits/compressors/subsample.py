"""Random subsampling with a shared seed: only values travel.

Konecny, McMahan, Yu, Richtarik, Suresh, Bacon (arXiv 1610.05492, section 3, "subsampling"; section 2 trains
only a random mask's entries, whose message is the same without the factor: scaled=False).
"""

from __future__ import annotations

import functools
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field as Checked

from fewbits import rng
from fewbits.compressors import forms
from fewbits.compressors.base import (
    Compressed,
    Compressor,
    Shares,
    require_finite,
    size,
    spoil,
    through_wire,
)
from fewbits.compressors.forms import DENSE, FORMS, Form, received
from fewbits.compressors.hadamard import message_seeds
from fewbits.compressors.message import Field, Message, MessageError, from_bytes
from fewbits.lazy import torch
from fewbits.registry import plugin


@plugin
class Subsample(Compressor):
    """k = fraction x d entries (rounded, at least one), drawn without replacement, times d/k; the others are zero.

    scaled=True: unbiased, omega = d/k - 1 exactly. scaled=False keeps the entries as they are: alpha_C = k/d.

    A message: the 32-bit seed of the choice and k values. Where that is not shorter than all d entries, they
    are sent as an array (form DENSE), x itself, up to the wire's float format.
    """

    name: ClassVar[str] = "subsample"
    codec: ClassVar[int] = 44
    length: ClassVar[str] = "fraction d w + 32"
    source: ClassVar[str] = "Konecny et al. 2016, arXiv 1610.05492"
    shown: ClassVar[tuple[dict, ...]] = ({}, {"scaled": False})
    instead: ClassVar[str] = "scaled: false"
    knob: ClassVar[str] = "fraction"

    fraction: Annotated[float, Checked(gt=0, le=1)]
    scaled: bool = True
    wire: Literal["float32", "float64"] = "float32"

    @classmethod
    def examples(cls, d):
        return [{"fraction": 0.3}, {"fraction": 0.1, "scaled": False, "wire": "float64"}]

    @classmethod
    def sizes(cls, given, shape):
        return Shares(size(shape))

    def payload(self, shape):
        return _form(self.fraction, size(shape), self.wire).bits

    def variance(self, shape):
        return size(shape) / self._sent(shape) - 1 if self.scaled else None

    def contraction(self, shape):
        return None if self.scaled else self._sent(shape) / size(shape)

    def compress(self, x, shape, keys=None):
        d, form = size(shape), _form(self.fraction, size(shape), self.wire)
        if form.form >= DENSE:
            return Compressed(through_wire(x, self.wire), form.bits)
        rows = x.reshape(-1, d)
        keys = np.zeros(len(rows), np.uint64) if keys is None else np.asarray(keys).reshape(-1)
        places = torch.from_numpy(chosen(message_seeds(keys), d, kept(self.fraction, d))).to(
            x.device
        )
        values = self._factor(through_wire(rows.gather(1, places), self.wire), d)
        out = torch.zeros_like(rows).scatter_(1, places, values)
        return Compressed(spoil(out, rows).reshape(x.shape), form.bits)

    def encode(self, x, where="update", key=0):
        require_finite(x, where, self.wire)
        d = x.numel()
        form = _form(self.fraction, d, self.wire)
        flat = x.detach().cpu().reshape(-1)
        if form.form >= DENSE:
            sections = (flat.to(getattr(torch, self.wire)).numpy(),)
        else:
            seed = message_seeds(np.array([key], np.uint64))
            values = flat[torch.from_numpy(chosen(seed, d, kept(self.fraction, d))[0])]
            sections = (seed.astype(np.int64), values.to(getattr(torch, self.wire)).numpy())
        return Message(self.codec, form.form, d, form.layout, sections)

    def decode(self, message, shape, dtype):
        d = size(shape)
        values = received(message.sections[-1], dtype)
        if message.form >= DENSE:
            return values.reshape(shape)
        places = torch.from_numpy(chosen(message.sections[0].astype(np.uint64), d, len(values))[0])
        out = torch.zeros(d, dtype=dtype)
        out[places] = self._factor(values, d)
        return out.reshape(shape)

    def from_bytes(self, data, shape):
        d = size(shape)
        form = _form(self.fraction, d, self.wire)

        message = from_bytes(data, self.codec, d, forms.only(form))
        if message.flag:
            raise MessageError("the flag has no meaning here")
        return message

    def _factor(self, values: torch.Tensor, d: int) -> torch.Tensor:
        """The kept values times d/k; a product above the largest number is the largest number."""
        if not self.scaled:
            return values
        largest = torch.finfo(values.dtype).max
        return (values * (d / values.shape[-1])).clamp(-largest, largest)

    def _sent(self, shape) -> int:
        """k, or d where everything is sent."""
        form = _form(self.fraction, size(shape), self.wire)
        return size(shape) if form.form >= DENSE else kept(self.fraction, size(shape))


def chosen(keys: np.ndarray, d: int, k: int) -> np.ndarray:
    """k of d places at random without replacement for each key, increasing: (*keys.shape, k) int64."""
    random = rng.integers(keys, d)
    if k < d:
        random = np.argpartition(random, k, axis=-1)[..., :k]
        return np.sort(random, axis=-1)
    return np.broadcast_to(np.arange(d), random.shape).copy()


def kept(fraction: float, d: int) -> int:
    """k"""
    return max(1, round(fraction * d))


@functools.cache
def _form(fraction: float, d: int, wire: str) -> Form:
    """The seed and k values, or dense where that is not longer."""
    layout = (Field("metadata", "uint32", 1), Field("values", wire, kept(fraction, d)))
    return forms.shortest(forms.dense(wire, d), forms.make(FORMS.index(wire), d, layout))
