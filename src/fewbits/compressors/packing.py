"""Bit-packing of unsigned integers at full speed: the same bytes as message.py's own packing.

Codes of `width` bits follow each other, least significant bit first, padded with zero bits to a whole byte.

Below 8 bits, eight codes lie in a 64-bit word as bytes and are pushed together in three steps (pairs, fours, eights);
then they are as many bytes as a code has bits. Of longer codes as many as fill a whole number of words form a group,
and each word of a group is made from the few codes it shares bits with; unpacking does so at any width. All of it is array
operations on blocks that fit the cache.
"""

from __future__ import annotations

import functools
from math import gcd

import numpy as np

FEW = 512  # codes up to which one bit after the other is the shorter way
BLOCK = 1 << 18  # codes handled at once: a multiple of every group


def code_type(width: int) -> type:
    """The smallest unsigned NumPy type that holds `width` bits."""
    return next(t for t in (np.uint8, np.uint16, np.uint32, np.uint64) if width <= 8 * t().itemsize)


def pack(codes: np.ndarray, width: int) -> bytes:
    """`codes` (n integers below 2^width, 1 <= width <= 64) as ceil(n width / 8) bytes."""
    return packed(codes, width).tobytes()


def packed(codes: np.ndarray, width: int) -> np.ndarray:
    """The same as an array of bytes: a copy less on the way into a message."""
    codes = np.ascontiguousarray(codes, code_type(width))
    if width == 1:
        return np.packbits(codes, bitorder="little")
    if width == 8 * codes.itemsize:
        return codes.astype(codes.dtype.newbyteorder("<"), copy=False).view(np.uint8)
    if len(codes) <= FEW:
        return np.packbits(_bits(codes, width), bitorder="little")
    n, (per, size) = len(codes), _group(width)
    out = np.zeros((-(-n // per), size), "<u8")
    data = out.reshape(-1).view(np.uint8)
    for start in range(0, n, BLOCK):
        block = codes[start : start + BLOCK]
        if len(block) % per:
            block = np.concatenate([block, np.zeros(-len(block) % per, block.dtype)])
        if width in (2, 4):  # whole bytes as soon as four or two are together
            data[start * width // 8 :][: len(block) * width // 8] = side_by_side(
                block, width, 8 // width
            )
        elif width < 8:  # eight codes are as many bytes as a code has bits
            eights = _squeeze(block, width).view(np.uint8).reshape(-1, 8)
            target = data[start * width // 8 :][: len(eights) * width].reshape(-1, width)
            for byte in range(width):
                target[:, byte] = eights[:, byte]
        else:
            _join(block.astype(np.uint64), width, out[start // per : (start + BLOCK) // per])
    return data[: -(-n * width // 8)]


def side_by_side(codes: np.ndarray, width: int, together: int) -> np.ndarray:
    """Each 2 or 4 codes (uint8, of up to 4 or 2 bits) as one number, the first of them in its lowest bits.

    A product moves all codes of a word to its upper end; no two copies of codes overlap on the way.
    """
    words = codes.view(f"<u{together}")
    kind = words.dtype.type
    factor = sum(1 << (8 - width) * together - (8 - width) * k for k in range(together))
    words = words * kind(factor)
    words >>= kind((8 - width) * together)
    return words


def unpack(data: bytes, width: int, count: int) -> np.ndarray:
    """The `count` codes in `data`. Raises ValueError unless it is exactly their packed form."""
    if len(data) != -(-count * width // 8):
        raise ValueError(f"{len(data)} bytes do not hold {count} codes of {width} bits")
    packed = np.frombuffer(data, np.uint8)
    unused = 8 * len(data) - count * width
    if unused and packed[-1] >> (8 - unused):
        raise ValueError("padding bits are not zero")
    kind = code_type(width)
    if width == 1:
        return np.unpackbits(packed, bitorder="little", count=count)
    if width == 8 * kind().itemsize:
        return packed.view(np.dtype(kind).newbyteorder("<")).astype(kind)
    if count <= FEW:
        bits = np.unpackbits(packed, bitorder="little", count=count * width).reshape(count, width)
        return np.bitwise_or.reduce(bits.astype(kind) << np.arange(width, dtype=kind), axis=1)
    per, size = _group(width)
    groups = np.zeros((-(-count // per), size), "<u8")
    groups.reshape(-1).view(np.uint8)[: len(data)] = packed
    out = np.zeros((len(groups), per), kind)
    for start in range(0, len(groups), BLOCK // per):
        block = slice(start, start + BLOCK // per)
        out[block] = _spread(_part(groups[block], _item(width)), width).reshape(-1, per)
    return out.reshape(-1)[:count]


def _bits(codes: np.ndarray, width: int) -> np.ndarray:
    """(n, width) of 0 and 1, least significant first."""
    return ((codes[:, None] >> np.arange(width, dtype=codes.dtype)) & 1).astype(np.uint8)


def _group(width: int) -> tuple[int, int]:
    """Codes in a group, and its 64-bit words."""
    common = gcd(width, 64)
    return 64 // common, width // common


def _item(width: int) -> int:
    """Bits of what is joined to words: eight codes where they are short, else one."""
    return 8 * width if width < 8 else width


def _join(items: np.ndarray, width: int, out: np.ndarray) -> None:
    """Items of `width` bits, group by group, into the words `out` (groups, words), which are zero."""
    items = items.reshape(len(out), -1)
    for word, item, shift in _overlaps(width):
        if shift >= 0:
            out[:, word] |= items[:, item] >> np.uint64(shift)
        else:
            out[:, word] |= items[:, item] << np.uint64(-shift)


def _part(groups: np.ndarray, width: int) -> np.ndarray:
    """The inverse: the items in words (groups, words)."""
    items = np.zeros((len(groups), _group(width)[0]), np.uint64)
    for word, item, shift in _overlaps(width):
        if shift >= 0:
            items[:, item] |= groups[:, word] << np.uint64(shift)
        else:
            items[:, item] |= groups[:, word] >> np.uint64(-shift)
    items &= np.uint64(2**width - 1)
    return items.reshape(-1)


@functools.cache
def _overlaps(width: int) -> tuple[tuple[int, int, int], ...]:
    """(word, item, shift) for every word and item of a group that share bits: word = item >> shift."""
    per, size = _group(width)
    return tuple(
        (word, item, 64 * word - width * item)
        for word in range(size)
        for item in range(per)
        if width * item < 64 * word + 64 and 64 * word < width * (item + 1)
    )


@functools.cache
def _steps(width: int) -> tuple[tuple[np.uint64, np.uint64, np.uint64], ...]:
    """For lanes of 16, 32 and 64 bits: by how much the upper half moves, and where both halves lie then."""
    steps = []
    for lane in (16, 32, 64):
        used = lane // 16 * width
        lower = sum((1 << used) - 1 << at for at in range(0, 64, lane))
        steps.append((lane // 2 - used, lower, lower << used))
    return tuple(tuple(map(np.uint64, step)) for step in steps)


def _squeeze(codes: np.ndarray, width: int) -> np.ndarray:
    """Eight codes of less than 8 bits each in the lowest bits of one 64-bit number."""
    words = codes.copy()
    for lane in (16, 32, 64):  # low + 2^half high becomes low + 2^used high
        words, half, used = words.view(f"<u{lane // 8}"), lane // 2, lane // 16 * width
        kind, gap = words.dtype.type, half - used
        if width <= 4:  # a product puts both side by side at the upper end, other copies elsewhere
            words *= kind((1 << 2 * gap) + (1 << gap))
            words >>= kind(2 * gap)
        else:
            high = words >> kind(half)
            high *= kind((1 << half) - (1 << used))
            words -= high
    return words


def _spread(items: np.ndarray, width: int) -> np.ndarray:
    """The inverse: items as codes."""
    if width > 8:
        return items
    for shift, lower, upper in reversed(_steps(width)):
        moved = items & upper
        moved <<= shift
        items = items & lower
        items |= moved
    return items.astype("<u8", copy=False).view(np.uint8)
