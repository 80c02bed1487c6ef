"""What a compressor is. One file a family beside this one; DESIGN: "Compressors and messages"."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np

from fewbits.compressors.message import Bits, Message
from fewbits.lazy import torch


@dataclass(frozen=True)
class Compressed:
    """What the receiver decodes, and what it cost: `value` (*batch, *shape), `bits` of each message.

    draft: between processes, how its real bytes are made and read (distributed/drafts.py); else None.
    """

    value: torch.Tensor
    bits: Bits
    draft: Any = None

    def onto(self, base: torch.Tensor) -> Compressed:
        """The same message for a receiver that has `base` and adds what it decodes to it."""
        return Compressed(base + self.value, self.bits, self.draft and self.draft.onto(base))

    def placed(self, put: Callable, who: np.ndarray) -> Compressed:
        """The same messages for a receiver that puts what it decodes of sender `who` (*batch) where it belongs."""
        return Compressed(
            put(self.value, who), self.bits, self.draft and self.draft.placed(put, who)
        )

    def times(self, base: torch.Tensor) -> Compressed:
        """The same message for a receiver that has `base` and multiplies what it decodes by it."""
        return Compressed(base * self.value, self.bits, self.draft and self.draft.times(base))


class Compressor:
    """C, in its two equal forms.

    `encode`/`decode` turn one tensor into a message with real bytes and back. `compress` is the same
    operator on many tensors at once, for the simulation's hot loop: it returns what `decode` would
    give and how many bits the messages have. The conformance tests hold the two equal, bit for bit.

    A class declares one of two constants for a given shape, None for "not of this class":
      contraction(shape)  alpha_C with E|C(x)-x|^2 <= (1 - alpha_C) |x|^2 for every x
      variance(shape)     omega with E C(x) = x and E|C(x)-x|^2 <= omega |x|^2 for every x
    """

    name: ClassVar[str]
    codec: ClassVar[int]
    random: ClassVar[bool] = True  # False: `keys` are not looked at, and need not be made
    seeded: ClassVar[bool] = (
        False  # True: keys begin with the seed of the client's round (sampling.py)
    )
    # For tables: what it does (else its file's first line), roughly the bits of a message (w: of a float, d: numbers),
    # the paper, and parameters to show beside the size.
    what: ClassVar[str] = ""
    length: ClassVar[str] = ""
    source: ClassVar[str] = ""
    shown: ClassVar[tuple[dict, ...]] = ({},)
    # What to use where a contraction constant is needed; None: no warning, since nobody takes this by mistake.
    instead: ClassVar[str | None] = "st_hosvd or topk"

    @classmethod
    def examples(cls, d: int) -> list[dict]:
        """Parameters with which the conformance tests try this compressor on d numbers."""
        return [{}]

    def contraction(self, shape: tuple[int, ...]) -> float | None:
        return None

    def variance(self, shape: tuple[int, ...]) -> float | None:
        return None

    def payload(self, shape: tuple[int, ...]) -> Bits | None:
        """The bits of every message of this shape; None where they depend on the tensor or on chance."""
        return None

    def mean_payload(self, shape: tuple[int, ...]) -> Bits | None:
        """The same, or its mean over keys where chance alone matters; None where the tensor does."""
        return self.payload(shape)

    # The size knob: what `sizes.py` turns. A class without one says nothing here.
    knob: ClassVar[str | None] = None  # the parameter that sets the length of a message

    @classmethod
    def sizes(cls, given: dict, shape: tuple[int, ...]) -> Sequence:
        """Values of the knob that make sense for `shape` and the other parameters `given`.

        A list or a tuple is tried value by value; along any other sequence messages never get shorter.
        """
        raise NotImplementedError

    @classmethod
    def finer(cls, given: dict, shape: tuple[int, ...], value) -> Sequence:
        """Further values between this one and the next of `sizes`."""
        return ()

    @classmethod
    def has_size(cls, given: dict) -> bool:
        """Whether these parameters set the knob."""
        return cls.knob in given

    @classmethod
    def with_size(cls, given: dict, value) -> dict:
        """These parameters with the knob at `value`."""
        return {**given, cls.knob: value}

    def compress(self, x: torch.Tensor, shape: tuple[int, ...], keys=None) -> Compressed:
        """`x` is (*batch, *shape), `keys` (*batch) uint64, one random stream a message (rng.py).

        A row's result depends on that row and its key alone, bit for bit. Rows that hold NaN or
        infinities give rows that are not finite or zero.
        """
        raise NotImplementedError

    # A sender with a past. The receiver needs none of it: `decode` is of one message alone.
    def keeps(self, shape: tuple[int, ...]) -> int:
        """How many numbers a sender keeps from one message of this shape to the next; they are zeros at first."""
        return 0

    def compress_on(self, x: torch.Tensor, shape: tuple[int, ...], kept: torch.Tensor, keys=None):
        """`compress` by senders that kept (*batch, keeps(shape)) numbers: (Compressed, what they keep now)."""
        return self.compress(x, shape, keys), kept

    def encode_on(self, x: torch.Tensor, kept: torch.Tensor, where: str = "update", key: int = 0):
        """`encode` by a sender that kept (keeps(shape),) numbers: (Message, what it keeps now)."""
        return self.encode(x, where, key), kept

    def encode(self, x: torch.Tensor, where: str = "update", key: int = 0) -> Message:
        """The message for one tensor. Raises ValueError naming `where` on NaN or infinity."""
        raise NotImplementedError

    def decode(self, message: Message, shape: tuple[int, ...], dtype) -> torch.Tensor:
        """What the message says, as a tensor of `shape` and `dtype`."""
        raise NotImplementedError

    def from_bytes(self, data: bytes, shape: tuple[int, ...]) -> Message:
        """The message in a payload. Raises MessageError."""
        raise NotImplementedError

    def compress_one_by_one(self, x: torch.Tensor, shape: tuple[int, ...], keys=None) -> Compressed:
        """`compress` by encoding and decoding every row: for operators that have no batched form."""
        batch = x.shape[: x.dim() - len(shape)]
        rows = x.reshape(-1, *shape)
        seeds = [0] * len(rows) if keys is None else np.asarray(keys).reshape(-1).tolist()
        values, bits = torch.zeros_like(rows), []
        for i, (row, key) in enumerate(zip(rows, seeds, strict=True)):
            if all_finite(row):
                message = self.encode(row, key=key)
                values[i] = self.decode(message, shape, x.dtype)
                bits.append(message.bits)
            else:
                bits.append(Bits(0, 0, 0))
        parts = zip(*((b.values, b.indices, b.metadata) for b in bits), strict=True)
        counts = [torch.tensor(p, dtype=torch.float64).reshape(batch) for p in parts]
        return Compressed(values.reshape(x.shape), Bits(*counts))


def all_finite(x: torch.Tensor) -> bool:
    """Whether `x` holds no NaN or infinity. A sum with one is not finite, and is ten times faster than asking each."""
    return bool(torch.isfinite(x.sum())) or bool(torch.isfinite(x).all())


def spoil(value: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """`value` (n, d) with NaN in the rows where `rows` (n, d) are not finite, in place."""
    if not all_finite(rows):
        value[~torch.isfinite(rows).all(dim=-1)] = torch.nan
    return value


def require_finite(x: torch.Tensor, where: str, wire: str | None = None) -> None:
    """Raise ValueError naming `where` if `x` holds NaN or infinity, or a number beyond the float format `wire`."""
    if wire is None and not all_finite(x):
        raise ValueError(f"{where}: NaN or infinity cannot be encoded")
    if wire is not None and not all_finite(x.to(getattr(torch, wire))):
        raise ValueError(f"{where}: NaN, infinity or a number beyond {wire} cannot be encoded")


class Shares(Sequence):
    """1/d, 2/d, .., 1: the knob of operators that send a share of d entries."""

    def __init__(self, d: int) -> None:
        self.d = d

    def __len__(self) -> int:
        return self.d

    def __getitem__(self, i: int) -> float:
        return (range(self.d)[i] + 1) / self.d


def size(shape: tuple[int, ...]) -> int:
    """d, the number of entries."""
    return prod(shape)


def through_wire(x: torch.Tensor, wire: str) -> torch.Tensor:
    """`x` as it arrives after being sent in the float format `wire`, in its own dtype."""
    return x.to(getattr(torch, wire)).to(x.dtype)
