"""Stochastic uniform quantisation between the smallest and the largest entry.

Suresh et al. 2017 (arXiv 1611.00429), section 2; Konecny et al. 2016 (arXiv 1610.05492), section 4. The latter's text
cuts the range into 2^b intervals, whose 2^b + 1 ends do not fit b bits: here there are 2^b levels, which for
one bit is what both papers say.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field as Checked

from fewbits.compressors.arrays import room
from fewbits.compressors.base import size
from fewbits.compressors.dither import Rounder, noise
from fewbits.compressors.message import Field
from fewbits.compressors.packing import code_type
from fewbits.compressors.quantiser import Coded, Quantiser
from fewbits.registry import plugin


@plugin
class Uniform(Quantiser):
    """x_i is rounded at random to a neighbour among 2^b evenly spaced levels from min x to max x. Unbiased.

    omega = (d - 2) / (2 (2^b - 1)^2), 0 for d = 1: reached when one entry is m, one -m and all others lie midway
    between two levels, as 0 does. b bits a number (`bits`) and two floats. Entries whose difference is beyond the
    largest float are refused.
    """

    name: ClassVar[str] = "uniform"
    codec: ClassVar[int] = 13
    length: ClassVar[str] = "bits d + 2 w"
    source: ClassVar[str] = (
        "Suresh et al. 2017, arXiv 1611.00429; Konecny et al. 2016, arXiv 1610.05492"
    )
    knob: ClassVar[str] = "bits"

    bits: Annotated[int, Checked(ge=1, le=16)]
    wire: Literal["float32", "float64"] = "float32"

    @classmethod
    def examples(cls, d):
        return [{"bits": 1}, {"bits": 4}, {"bits": 8, "wire": "float64"}]

    @classmethod
    def sizes(cls, given, shape):
        return range(1, 17)

    def variance(self, shape):
        return max(0, size(shape) - 2) / (2 * (2**self.bits - 1) ** 2)

    def scales(self, d):
        return (Field("metadata", self.wire, 2),)

    def width(self, d):
        return self.bits

    def quantise(self, rows, peak, keys):
        top = 2**self.bits - 1
        low, high = rows.min(axis=-1, keepdims=True), rows.max(axis=-1, keepdims=True)
        with np.errstate(over="ignore"):
            span = high - low
        divisor = np.where((span > 0) & np.isfinite(span), span, 1)
        codes = np.empty(rows.shape, code_type(self.bits))
        work, rounded = room(rows), Rounder(top, rows.dtype)
        for columns, random in noise(keys, rows.shape[1]):
            share = work[:, : columns.stop - columns.start]
            with np.errstate(over="ignore"):
                np.subtract(rows[:, columns], low, out=share)
            share /= divisor
            np.clip(share, 0, 1, out=share)  # only rows that `fits` refuses
            np.copyto(codes[:, columns], rounded(share, random), casting="unsafe")
        return Coded((np.concatenate([low, high], axis=1).astype(self.wire),), codes)

    def restore(self, scales, codes, dtype):
        low, high = scales[0].astype(dtype)[:, :1], scales[0].astype(dtype)[:, 1:]
        share = codes.astype(dtype)
        share /= np.dtype(dtype).type(2**self.bits - 1)
        return low * (1 - share) + high * share

    def fits(self, scales, dtype):
        with np.errstate(over="ignore", invalid="ignore"):
            ends = scales[0].astype(dtype)
            return np.isfinite(ends[:, 1] - ends[:, 0])

    def check_codes(self, scales, codes):
        low, high = scales[0][0]
        return f"the smallest entry {low} is above the largest, {high}" if low > high else None
