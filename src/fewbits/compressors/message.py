"""The wire format: what one client sends, as typed sections and as real bytes.

A payload is a header followed by sections in the order that the codec's layout says:

    byte 0      version (3 bits) | flag (1 bit) | form (4 bits: which of the codec's layouts)
    byte 1      codec number
    varint      count: how many entries the message holds (LEB128)
    sections    each padded with zero bits to a whole byte; unsigned integers are bit-packed,
                least significant bit first; floats are little-endian IEEE 754

Both ends know the shape of what is sent (it is the model's), so it is not in the payload. There is no
pickle, and nothing is allocated before the length of the payload has been checked against the layout.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from fewbits.compressors import packing

VERSION = 1
FLOATS = {"float16": np.dtype("<f2"), "float32": np.dtype("<f4"), "float64": np.dtype("<f8")}


class MessageError(ValueError):
    """The bytes are not a message of this codec and shape; the text says where they break."""


@dataclass(frozen=True)
class Field:
    """One section of a layout: `role` is values, indices or codes; `kind` a float name or `uintN`."""

    role: str
    kind: str
    count: int

    @functools.cached_property
    def width(self) -> int:
        """Bits of one entry."""
        return (
            int(self.kind[4:]) if self.kind.startswith("uint") else FLOATS[self.kind].itemsize * 8
        )

    @property
    def bits(self) -> int:
        return self.width * self.count

    @functools.cached_property
    def bytes(self) -> int:
        return -(-self.bits // 8)


@dataclass(frozen=True)
class Bits:
    """Length of a payload in bits, split by what they carry. Numbers or tensors of one shape."""

    values: float
    indices: float
    metadata: float

    @property
    def total(self):
        return self.values + self.indices + self.metadata


@dataclass(frozen=True)
class Message:
    """What is sent: codec number, form, number of entries and one array a section.

    `flag` is one bit at the sender's disposal (EF21+ says with it which of two messages this is).
    """

    codec: int
    form: int
    count: int
    layout: tuple[Field, ...]
    sections: tuple[np.ndarray, ...] = field(repr=False)
    flag: bool = False

    def to_bytes(self) -> bytes:
        """The payload."""
        head = bytes([VERSION << 5 | self.flag << 4 | self.form, self.codec]) + varint(self.count)
        return b"".join([head, *map(_pack, self.layout, self.sections)])

    @property
    def bits(self) -> Bits:
        """Bits of the payload; padding and header are metadata."""
        return payload_bits(self.layout, self.count)


def payload_bits(layout: tuple[Field, ...], count: int) -> Bits:
    """Bits of a payload with this layout, without making it (proved equal to `to_bytes` by a test)."""
    total = 8 * (2 + len(varint(count)) + sum(f.bytes for f in layout))
    values = sum(f.bits for f in layout if f.role == "values")
    indices = sum(f.bits for f in layout if f.role == "indices")
    return Bits(values, indices, total - values - indices)


def from_bytes(
    data: bytes, codec: int, max_count: int, layouts: Callable[[int, int], tuple[Field, ...]]
) -> Message:
    """Read a payload of a known codec.

    Args:
        data: the payload, whole.
        codec: the number that byte 1 must hold.
        max_count: the largest admissible count for the agreed shape.
        layouts: gives the sections for (form, count); raises ValueError for an unknown form.

    Raises:
        MessageError: anything else than exactly one well-formed payload.
    """
    if len(data) < 3:
        raise MessageError(f"payload of {len(data)} bytes is shorter than its header")
    if data[0] >> 5 != VERSION:
        raise MessageError(f"payload has version {data[0] >> 5}, this is version {VERSION}")
    if data[1] != codec:
        raise MessageError(f"payload is of codec {data[1]}, expected {codec}")
    count, start = read_varint(data, 2)
    if count > max_count:
        raise MessageError(f"payload claims {count} entries, at most {max_count} fit the shape")
    try:
        layout = layouts(data[0] & 15, count)
    except ValueError as error:
        raise MessageError(str(error)) from None
    expected = start + sum(f.bytes for f in layout)
    if len(data) != expected:
        raise MessageError(f"payload has {len(data)} bytes, its header says {expected}")
    sections = []
    for f in layout:
        sections.append(_unpack(f, data[start : start + f.bytes]))
        start += f.bytes
    return Message(codec, data[0] & 15, count, layout, tuple(sections), bool(data[0] >> 4 & 1))


def _pack(f: Field, array: np.ndarray) -> np.ndarray:
    """Its bytes, as an array whose memory they are."""
    if not f.kind.startswith("uint"):
        return np.ascontiguousarray(array, FLOATS[f.kind])
    return packing.packed(array, f.width)


def _unpack(f: Field, data: bytes) -> np.ndarray:
    if not f.kind.startswith("uint"):
        values = np.frombuffer(data, FLOATS[f.kind]).copy()
        if not np.isfinite(values).all():
            raise MessageError("payload holds a NaN or an infinity")
        return values
    try:
        return packing.unpack(data, f.width, f.count).astype(np.int64)
    except ValueError as error:
        raise MessageError(str(error)) from None


def varint(number: int) -> bytes:
    """A whole number in as few bytes as it needs, 7 bits each (LEB128)."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out + bytes([number]))


def read_varint(data: bytes, start: int) -> tuple[int, int]:
    """The number that begins at byte `start`, and where it ends. Raises MessageError."""
    number = 0
    for i, byte in enumerate(data[start : start + 9]):
        number |= (byte & 127) << 7 * i
        if byte < 128:
            if byte == 0 and i > 0:
                raise MessageError("count is not in its shortest form")
            return number, start + i + 1
    raise MessageError("payload breaks off inside its header, or its count is too long")
