"""Sketched updates: rotate, subsample, round stochastically to 2^b levels.

Konecny, McMahan, Yu, Richtarik, Suresh, Bacon, "Federated Learning: Strategies for Improving Communication
Efficiency" (arXiv 1610.05492, section 3); Suresh, Yu, Kumar, McMahan, "Distributed Mean Estimation with
Limited Communication", ICML 2017 (arXiv 1611.00429, section 3).
"""

from __future__ import annotations

from math import log
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import AfterValidator
from pydantic import Field as Checked

from fewbits import rng
from fewbits.compressors.base import Shares
from fewbits.compressors.base import size as size_of
from fewbits.compressors.forms import DENSE
from fewbits.compressors.hadamard import pieces, power_of_two
from fewbits.compressors.rotating import NOISE, RotatingQuantiser, _plan
from fewbits.compressors.subsample import chosen
from fewbits.lazy import torch
from fewbits.registry import plugin

CHOICE = 1 << 40  # streams of the choice of entries, apart from those of the signs


@plugin
class Rotated(RotatingQuantiser):
    """y = R x in blocks; a random share `fraction` of each block is kept, times 1/fraction, and rounded.

    A kept number in [lo, hi], the range of what is kept of its block, goes to one of the 2^b levels
    lo + j (hi - lo)/(2^b - 1) next to it, with probabilities that keep its mean. (The paper speaks of 2^b
    intervals, which have 2^b + 1 levels; those do not fit into b bits, nor agree with its own rule for 1 bit.)

    Unbiased, whatever x and the block. omega = n/k - 1 + (n/k) min(k/2, 2 ln(2n) + 2) / (2^b - 1)^2 for k of n entries of
    the largest block: rounding costs at most (hi-lo)^2/4 a level squared, (hi-lo)^2 is at most twice the sum of
    squares and at most 4 max|y|^2, whose mean is at most (2 ln(2n) + 2) |x|^2/n as entries of y are subgaussian.

    A message: 32-bit seed of signs and choice, lo and hi of every block (rounded outwards), b bits a kept entry.
    """

    name: ClassVar[str] = "rotated"
    codec: ClassVar[int] = 42
    length: ClassVar[str] = "bits fraction d + 2 w a block + 32"
    source: ClassVar[str] = (
        "Konecny et al. 2016, arXiv 1610.05492; Suresh et al. 2017, arXiv 1611.00429"
    )
    shown: ClassVar[tuple[dict, ...]] = ({"bits": 2},)
    floats: ClassVar[int] = 2
    knob: ClassVar[str] = "fraction"

    bits: Annotated[int, Checked(ge=1, le=8)]
    fraction: Annotated[float, Checked(gt=0, le=1)] = 1.0
    block: Annotated[int, AfterValidator(power_of_two)] = 4096
    wire: Literal["float32", "float64"] = "float32"

    @classmethod
    def examples(cls, d):
        return [
            {"bits": 1},
            {"bits": 4, "block": 16, "wire": "float64"},
            {"bits": 2, "fraction": 0.25},
        ]

    @classmethod
    def sizes(cls, given, shape):
        return Shares(size_of(shape))

    def variance(self, shape):
        if _plan(self, size_of(shape)).how.form >= DENSE:
            return 0.0
        return max(self._omega(p.size) for p in pieces(size_of(shape), self.block))

    def _omega(self, n: int) -> float:
        k, levels = self.kept(n), 2**self.bits - 1
        rounding = min(k / 2, 2 * log(2 * n) + 2) / levels**2
        return (n / k - 1 + n / k * rounding) * (1 + 1e-6)  # lo and hi are rounded to the wire

    def kept(self, size):
        return max(1, round(self.fraction * size))

    def quantise(self, u, how):
        if self.fraction < 1:
            u = u.gather(0, self._places(how)).mul_(len(u) / self.kept(len(u)))
        low = self.on_the_wire(u.amin(dim=0).double().numpy(), how, -np.inf)
        high = self.on_the_wire(u.amax(dim=0).double().numpy(), how, np.inf)
        top = 2**self.bits - 1
        zero, one = np.ldexp(low, -how.shift), np.ldexp(high, -how.shift)
        steps = np.divide(top, one - zero, out=np.zeros_like(one), where=one > zero)
        u.sub_(torch.from_numpy(zero).to(u.dtype)).mul_(torch.from_numpy(steps).to(u.dtype))
        u.clamp_(0, top).add_(self._noise(u, how)).clamp_(
            0, top
        )  # a sum may be rounded up to top + 1
        how.codes[...] = u.to(torch.uint8).numpy()
        return np.stack([low, high], axis=1)

    def restore(self, codes, floats, how):
        low, high = floats[:, 0], floats[:, 1]
        factor = np.maximum(np.abs(low), np.abs(high))
        unit = np.where(factor > 0, factor, 1.0)
        step = (high / unit - low / unit) / (2**self.bits - 1)
        y = how.out if self.fraction == 1 else how.out.new_empty(codes.shape)
        y.copy_(torch.from_numpy(codes)).mul_(torch.from_numpy(step).to(y.dtype))
        y.add_(torch.from_numpy(low / unit).to(y.dtype))
        if self.fraction < 1:
            how.out.zero_().scatter_(0, self._places(how), y)
        return factor

    def _places(self, how) -> torch.Tensor:
        """Which rotated entries are kept: (kept, w) int64, the same for all blocks of a vector's piece."""
        piece = how.tile.piece
        keys = rng.fold(how.seeds, CHOICE + piece.number)
        places = chosen(keys, piece.size, self.kept(piece.size))
        return torch.from_numpy(np.repeat(places, piece.width, axis=0).T.copy())

    def _noise(self, u: torch.Tensor, how) -> torch.Tensor:
        """Uniform on [0, 1), in steps of 2^-24, for every kept entry: shape and type of `u`."""
        width = how.tile.piece.width
        keys = rng.fold(rng.fold(how.keys, NOISE), how.tile.piece.number)
        words = rng.integers(keys, -(-len(u) * width // 2)).astype("<u8", copy=False)
        random = (words.view("<u4")[:, : len(u) * width] >> np.uint32(8)).view(np.int32)
        random = torch.from_numpy(random).to(u.dtype).mul_(2.0**-24)
        return random.view(-1, len(u), width).transpose(0, 1).reshape(u.shape)
