"""How the real bytes of a message are made, and read again, where messages travel between processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from fewbits.compressors.base import Compressor
from fewbits.compressors.message import MessageError
from fewbits.lazy import torch

FLAG = 1 << 4  # of a payload's first byte (compressors/message.py)
# In place of a message of numbers that are not finite, or too large for the wire: a run that diverges. It arrives as NaN
# throughout, where the simulator may have infinities.
NOTHING = b""


@dataclass(frozen=True)
class Way:
    """C of x, on top of a base, or times a factor, that the receiver has. x (*batch, *shape); keys (*batch) uint64 or None.

    put: where what is decoded of a sender belongs, (part, who) both with the batch's dimensions; None: it is all there is.
    kept (*batch, K): what the senders kept from their messages before; None: nothing.
    """

    compressor: Compressor
    shape: tuple[int, ...]
    x: torch.Tensor
    keys: np.ndarray | None
    base: torch.Tensor | None = None
    factor: torch.Tensor | None = None
    put: Callable | None = None
    who: np.ndarray | None = None
    kept: torch.Tensor | None = None

    def received(self, value: torch.Tensor, place: tuple[int, ...]) -> torch.Tensor:
        """What the receiver makes of what it decoded."""
        if self.put is not None:
            one = (slice(i, i + 1) for i in place)
            value = self.put(value.reshape(*[1] * len(place), *self.shape), self.who[tuple(one)])
            value = value[(0,) * len(place)]
        if self.factor is not None:
            value = self.factor[place] * value
        if self.base is None:
            return value
        batch = self.x.shape[: len(place)]
        return self.base.expand(*batch, *self.base.shape[len(place) :])[place] + value


@dataclass(frozen=True)
class Draft:
    """Messages of a batch of senders, one each: one way to make them, or two and where (*batch) the first is taken.

    Which of two it is, is the flag of the message's header.
    """

    ways: tuple[Way, ...]
    first: torch.Tensor | None = None

    def onto(self, base: torch.Tensor) -> Draft:
        """The same, for receivers that add what they decode to `base`."""
        return Draft((replace(self.ways[0], base=base),))

    def placed(self, put: Callable, who: np.ndarray) -> Draft:
        """The same, for receivers that put what they decode where it belongs."""
        return Draft((replace(self.ways[0], put=put, who=who),))

    def times(self, base: torch.Tensor) -> Draft:
        """The same, for receivers that multiply what they decode by `base`."""
        return Draft((replace(self.ways[0], factor=base),))

    def choose(self, first: torch.Tensor, other: Draft) -> Draft:
        """These where the mask says so, `other` elsewhere."""
        return Draft((*self.ways, *other.ways), first)

    def encode(self, place: tuple[int, ...]) -> bytes:
        """The payload of the sender at this place of the batch."""
        is_first = self.first is None or bool(self.first[place])
        way = self.ways[0 if is_first else 1]
        key = 0 if way.keys is None else int(way.keys[place])
        try:
            if way.kept is None:
                message = way.compressor.encode(way.x[place], key=key)
            else:
                message, _ = way.compressor.encode_on(way.x[place], way.kept[place], key=key)
        except ValueError:
            return NOTHING
        flag = self.first is not None and is_first
        return replace(message, flag=flag).to_bytes()

    def decode(self, place: tuple[int, ...], data: bytes) -> torch.Tensor:
        """What a receiver makes of a payload, given its own bases and nothing else of the sender's."""
        x = self.ways[0].x
        if data == NOTHING:
            nothing = x.new_full(self.ways[0].shape, torch.nan)
            return self.ways[0].received(nothing, place)
        second = len(self.ways) > 1 and not data[0] & FLAG
        way = self.ways[1 if second else 0]
        try:
            message = way.compressor.from_bytes(data, way.shape)
        except MessageError as error:
            raise MessageError(f"message of sender {place[-1]}: {error}") from None
        value = way.compressor.decode(message, way.shape, x.dtype)
        return way.received(value, place)
