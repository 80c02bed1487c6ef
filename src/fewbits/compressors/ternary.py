"""TernGrad: every entry becomes -1, 0 or 1 times the largest magnitude.

Wen et al. 2017 (arXiv 1705.07878).
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from fewbits.compressors.arrays import room
from fewbits.compressors.base import size
from fewbits.compressors.dither import Rounder, noise
from fewbits.compressors.message import Field, MessageError
from fewbits.compressors.quantiser import Coded, Quantiser
from fewbits.registry import plugin

IN_A_BYTE = 5  # 3^5 = 243 fits a byte: 1.6 bits an entry, where log2 3 is 1.585
POWERS = 3 ** np.arange(IN_A_BYTE)


@plugin
class Ternary(Quantiser):
    """C(x)_i = m sign(x_i) with probability |x_i| / m, else 0, where m = max |x_i|. Unbiased.

    omega = (sqrt(d) - 1) / 2: the squared error is m |x|_1 - |x|^2, most when one entry is m and all others
    m / (1 + sqrt(d)). 8 ceil(d / 5) bits and one float. The paper's clipping is not in it: it is biased.
    """

    name: ClassVar[str] = "ternary"
    codec: ClassVar[int] = 11
    length: ClassVar[str] = "1.6 d + w"
    source: ClassVar[str] = "Wen et al. 2017, arXiv 1705.07878"

    wire: Literal["float32", "float64"] = "float32"

    @classmethod
    def examples(cls, d):
        return [{}, {"wire": "float64"}]

    def variance(self, shape):
        return (size(shape) ** 0.5 - 1) / 2

    def field(self, d):
        return Field("values", "uint8", -(-d // IN_A_BYTE))

    def to_section(self, codes):
        digits = np.zeros(-(-len(codes) // IN_A_BYTE) * IN_A_BYTE, np.uint8)
        digits[: len(codes)] = codes
        return (digits.reshape(-1, IN_A_BYTE) * POWERS.astype(np.uint8)).sum(1, dtype=np.uint8)

    def from_section(self, section, d):
        digits = section[:, None] // POWERS
        digits[:, : IN_A_BYTE - 1] %= 3
        digits = digits.reshape(-1)
        if (digits > 2).any() or digits[d:].any():  # the last of five may be above 2
            raise MessageError("a byte holds more than the ternary digits that are left")
        return digits[:d]

    def quantise(self, rows, peak, keys):
        codes = np.empty(rows.shape, np.uint8)
        divisor = np.where(peak > 0, peak, 1).astype(rows.dtype)[:, None]
        work, flip = room(rows), Rounder(1, rows.dtype)
        for columns, random in noise(keys, rows.shape[1]):
            share = work[:, : columns.stop - columns.start]
            np.abs(rows[:, columns], out=share)
            share /= divisor
            part = codes[:, columns]
            np.copyto(part, flip(share, random), casting="unsafe")
            part *= (rows[:, columns] < 0).view(np.uint8) + np.uint8(1)  # 0, 1 or, for -1, 2
        return Coded((peak[:, None].astype(self.wire),), codes)

    def restore(self, scales, codes, dtype):
        sign = np.array([0, 1, -1], dtype)
        return sign[codes] * scales[0].astype(dtype)

    def check_codes(self, scales, codes):
        if (scales[0] < 0).any():
            return "the largest magnitude is negative"
        return None
