"""Compressing a network layer by layer: one compressor for each, one payload for all.

A network's update is one vector of D numbers with a layout, the names and shapes of its layers in their order.
Each layer is compressed in its own shape with a random stream of its own; layers of few numbers (biases, norms) go
together as one dense float32 message. The payload of a whole update is

    header     as every message's (message.py); its count is that of the messages inside
    messages   one after the other; before those whose length follows from the data, their length in bytes (LEB128)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, NamedTuple

from fewbits import rng
from fewbits.compressors import sizes
from fewbits.compressors.base import Compressed, Compressor, all_finite, require_finite, size, spoil
from fewbits.compressors.identity import Identity
from fewbits.compressors.message import (
    Bits,
    Message,
    MessageError,
    from_bytes,
    payload_bits,
    read_varint,
    varint,
)
from fewbits.lazy import torch

PER = ("layer", "whole")
Layers = Sequence[tuple[str, tuple[int, ...]]]


class Part(NamedTuple):
    """What goes into one message: `places` of the vector, in this order, as a tensor of `shape`.

    number: names its random stream, the position of its first layer. length: its bytes, None where they vary.
    """

    name: str
    number: int
    shape: tuple[int, ...]
    places: tuple[slice, ...]
    compressor: Compressor
    length: int | None

    def take(self, x: torch.Tensor) -> torch.Tensor:
        """(*batch, D) -> (*batch, *shape)"""
        pieces = [x[..., place] for place in self.places]
        part = pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=-1)
        return part.reshape((*x.shape[:-1], *self.shape)).contiguous()

    def put(self, out: torch.Tensor, value: torch.Tensor) -> None:
        """The inverse, into `out` (*batch, D)."""
        flat, start = value.reshape((*out.shape[:-1], -1)), 0
        for place in self.places:
            count = place.stop - place.start
            out[..., place] = flat[..., start : start + count]
            start += count


def layered(block: dict, layers: Layers, per: str = "layer", small: int = 0) -> Layered:
    """The compressor of a flat vector that holds these layers.

    Args:
        block: a compressor as a study writes it: {"name": ..., parameters or a size rule (sizes.py)}.
        layers: (name, shape) of every layer in the vector's order.
        per: "layer", each in its shape; "whole", all of them as one vector.
        small: layers of fewer numbers than this are sent dense instead.
    """
    if per not in PER:
        raise ValueError(f"per: found {per!r}; allowed: {', '.join(PER)}")
    ends = [0]
    for _, shape in layers:
        ends.append(ends[-1] + size(shape))
    places = [slice(a, b) for a, b in pairwise(ends)]
    few = [i for i, (_, shape) in enumerate(layers) if size(shape) < small]
    many = [i for i in range(len(layers)) if i not in few]
    groups = [[i] for i in many] if per == "layer" else [many] if many else []
    shapes = [layers[g[0]][1] if per == "layer" else (_numbers(places, g),) for g in groups]
    dense = [_part(layers, places, few, (_numbers(places, few),), Identity())] if few else []
    spent = _overhead(len(groups) + len(dense)) + sum(8 * part.length for part in dense)
    made = sizes.resolve_all(block, shapes, _numbers(places, few), spent)
    parts = [
        _part(layers, places, group, shape, compressor)
        for group, shape, compressor in zip(groups, shapes, made, strict=True)
    ]
    whole = Layered(tuple(layers), tuple(parts + dense))
    whole.achieved = _achieved(block, parts, whole)
    return whole


def for_model(block: dict, layers: Layers, **options) -> tuple[Compressor, float | None]:
    """The compressor of a model's updates, and what a size rule in `block` achieves (None without a rule).

    A model of one layer needs no layout: its compressor works on that layer's shape. What is sent whole
    (`identity`) needs none either.
    """
    if len(layers) > 1 and block["name"] != Identity.name:
        made = layered(block, layers, **options)
        return made, made.achieved
    shape = shape_of(layers)
    return sizes.resolve(block, shape), sizes.achieved(block, shape)


def shape_of(layers: Layers) -> tuple[int, ...]:
    """That of an update of these layers: its own of a single layer, else one vector."""
    return layers[0][1] if len(layers) == 1 else (sum(size(shape) for _, shape in layers),)


def _achieved(block: dict, ruled: list[Part], whole: Layered) -> float | None:
    """Length of the messages that a size rule is about over what it asks for."""
    if not ruled or not sizes.split(block)[1]:
        return None
    if sizes.over_all(block):
        return whole.mean_payload((whole.d,)).total / (sizes.wanted_bits(block, (whole.d,)))
    wanted = sum(sizes.wanted_bits(block, part.shape) for part in ruled)
    return sum(part.compressor.mean_payload(part.shape).total for part in ruled) / wanted


def _part(layers: Layers, places: list[slice], group: list[int], shape, compressor) -> Part:
    name = layers[group[0]][0] if len(group) == 1 else f"{layers[group[0]][0]} and others"
    bits = compressor.payload(shape)
    length = None if bits is None else int(bits.total) // 8
    return Part(name, group[0], tuple(shape), tuple(places[i] for i in group), compressor, length)


def _numbers(places: list[slice], group: list[int]) -> int:
    return sum(places[i].stop - places[i].start for i in group)


def _overhead(parts: int) -> int:
    """Bits of the header."""
    return payload_bits((), parts).total


class Layered(Compressor):
    """The compressor of vectors (D,) that `layered` makes.

    alpha_C is the least and omega the largest of the messages' own: errors and energies of layers add up. `achieved`:
    where a rule sets the size of messages, their length over what the rule asks for.
    """

    codec: ClassVar[int] = 110

    def __init__(self, layers: Layers, parts: tuple[Part, ...]) -> None:
        self.layers, self.parts = layers, parts
        self.d = sum(size(shape) for _, shape in layers)
        self.achieved: float | None = None
        self.name, self.instead = parts[0].compressor.name, parts[0].compressor.instead
        self.random = any(part.compressor.random for part in parts)

    def contraction(self, shape):
        found = [part.compressor.contraction(part.shape) for part in self._parts(shape)]
        return None if None in found else min(found)

    def variance(self, shape):
        found = [part.compressor.variance(part.shape) for part in self._parts(shape)]
        return None if None in found else max(found)

    def payload(self, shape):
        return self._sum([part.compressor.payload(part.shape) for part in self._parts(shape)])

    def mean_payload(self, shape):
        return self._sum([part.compressor.mean_payload(part.shape) for part in self._parts(shape)])

    def keeps(self, shape):
        return sum(self._kept_by_part(shape))

    def compress(self, x, shape, keys=None):
        return self.compress_on(x, shape, x.new_zeros(*x.shape[:-1], self.keeps(shape)), keys)[0]

    def compress_on(self, x, shape, kept, keys=None):
        value, bits, now = torch.empty_like(x), [], []
        for part, held in zip(self._parts(shape), self._split(kept), strict=True):
            own = None if keys is None else rng.fold(keys, part.number)
            sent, held = part.compressor.compress_on(part.take(x), part.shape, held, own)
            part.put(value, sent.value)
            bits.append(sent.bits)
            now.append(held)
        return Compressed(spoil(value, x), self._sum(bits)), torch.cat(now, dim=-1)

    def encode(self, x, where="update", key=0):
        return self.encode_on(x, x.new_zeros(self.keeps((x.numel(),))), where, key)[0]

    def encode_on(self, x, kept, where="update", key=0):
        flat = x.detach().reshape(-1)
        self._parts(tuple(flat.shape))
        self._require_finite(flat, where)
        inner, now = [], []
        for part, held in zip(self.parts, self._split(kept), strict=True):
            own, name = int(rng.fold(key, part.number)), f"{where}, layer {part.name}"
            message, held = part.compressor.encode_on(part.take(flat), held, name, own)
            inner.append(message)
            now.append(held)
        fixed = tuple(part.length is not None for part in self.parts)
        bundle = Bundle(self.codec, 0, len(inner), (), (), inner=tuple(inner), fixed=fixed)
        return bundle, torch.cat(now)

    def _kept_by_part(self, shape) -> list[int]:
        return [part.compressor.keeps(part.shape) for part in self._parts(shape)]

    def _split(self, kept: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(*batch, K) -> what the sender of each part kept."""
        return kept.split(self._kept_by_part((self.d,)), dim=-1)

    def decode(self, message, shape, dtype):
        out = torch.empty(self.d, dtype=dtype)
        for part, inner in zip(self._parts(shape), message.inner, strict=True):
            part.put(out, part.compressor.decode(inner, part.shape, dtype))
        return out.reshape(shape)

    def from_bytes(self, data, shape):
        count = len(self._parts(shape))

        def layouts(form: int, found: int) -> tuple:
            if (form, found) != (0, count):
                raise ValueError(f"expected {count} messages in form 0")
            return ()

        at = _overhead(count) // 8
        head = from_bytes(data[:at], self.codec, count, layouts)
        inner = []
        for part in self.parts:
            length = part.length
            try:
                if length is None:
                    length, at = read_varint(data, at)
                inner.append(part.compressor.from_bytes(data[at : at + length], part.shape))
            except MessageError as error:
                raise MessageError(f"layer {part.name}: {error}") from None
            at += length
        if at != len(data):
            raise MessageError(f"payload has {len(data)} bytes, its messages take {at}")
        fixed = tuple(part.length is not None for part in self.parts)
        return Bundle(self.codec, 0, count, (), (), head.flag, inner=tuple(inner), fixed=fixed)

    def _parts(self, shape) -> tuple[Part, ...]:
        if size(tuple(shape)) != self.d:
            raise ValueError(f"found shape {tuple(shape)}; expected a vector of {self.d} numbers")
        return self.parts

    def _require_finite(self, flat: torch.Tensor, where: str) -> None:
        start = 0 if not all_finite(flat) else len(flat)
        for name, shape in self.layers:
            require_finite(flat[start : start + size(shape)], f"{where}, layer {name}")
            start += size(shape)

    def _sum(self, bits: list[Bits | None]) -> Bits | None:
        return None if None in bits else _total(bits, [p.length is not None for p in self.parts])


def _total(bits: Sequence[Bits], fixed: Sequence[bool]) -> Bits:
    """Bits of an update whose messages have these; those that are not `fixed` follow their length."""
    pairs = zip(bits, fixed, strict=True)
    lengths = sum(_prefix_bits(b.total / 8) for b, is_fixed in pairs if not is_fixed)
    metadata = sum(b.metadata for b in bits) + lengths + _overhead(len(bits))
    return Bits(sum(b.values for b in bits), sum(b.indices for b in bits), metadata)


def _prefix_bits(length):
    """Bits of a length in bytes as a varint: a number, or a tensor of them."""
    if not torch.is_tensor(length):
        return 8 * len(varint(int(length)))
    sevens = torch.arange(1, 9, dtype=torch.float64)
    return 8 * (1 + (length[..., None] >= 2 ** (7 * sevens)).sum(dim=-1).to(torch.float64))


@dataclass(frozen=True)
class Bundle(Message):
    """The message of an update; `fixed` says which of the messages inside need no length before them."""

    inner: tuple[Message, ...] = ()
    fixed: tuple[bool, ...] = ()

    def to_bytes(self) -> bytes:
        out = [super().to_bytes()]
        for message, fixed in zip(self.inner, self.fixed, strict=True):
            payload = message.to_bytes()
            out += [payload] if fixed else [varint(len(payload)), payload]
        return b"".join(out)

    @property
    def bits(self) -> Bits:
        return _total([message.bits for message in self.inner], self.fixed)
