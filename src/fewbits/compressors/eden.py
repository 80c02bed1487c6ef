"""EDEN: b bits an entry after a random rotation, by the best quantiser of the normal distribution.

Vargaftik, Ben Basat, Portnoy, Mendelson, Ben-Itzhak, Mitzenmacher, "EDEN: Communication-Efficient and
Robust Distributed Mean Estimation for Federated Learning", ICML 2022 (arXiv 2108.08842).
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import AfterValidator
from pydantic import Field as Checked

from fewbits.compressors import lloyd_max
from fewbits.compressors.hadamard import column_sums, power_of_two
from fewbits.compressors.rotating import RotatingQuantiser
from fewbits.lazy import torch
from fewbits.registry import plugin

# Proven bounds of E|y - S q|^2 / |y|^2 at scale="mse" for 1 to 8 bits; a test derives them.
WORST = (0.5, 0.307, 0.097, 0.0276, 0.0075, 0.0020, 0.0005, 0.00013)

SMALLEST = 2.0**-120  # its inverse is a float32


@plugin
class Eden(RotatingQuantiser):
    """y = R x in blocks of D; z = sqrt(D) y / |y| is rounded to the nearest of 2^b centroids: q. Decoded: R^T S q.

    The centroids are Lloyd and Max's for N(0, 1) (lloyd_max.py), which entries of z resemble for large D. S is

      unbiased  |y|^2 / <q, y>      <C(x), x> = |x|^2; vNMSE tends to D_b / (1 - D_b), D_b being the quantiser's
                                    distortion (0.363, 0.117, 0.0345, 0.0095 for 1 to 4 bits)
      mse       <q, y> / |q|^2      least squared error, which tends to D_b
      norm      |y| / |q|           |C(x)| = |x| (but for padding)

    "unbiased" is so under uniformly random rotations; under the Hadamard rotation in the limit of large blocks
    and spread-out vectors only (drive.py has a counterexample). So no omega is declared. For "mse" and "norm"
    alpha_C holds for every x and every D: entries of z are sums of +-a_j with |a|_2 = 1, so E|z| >= 1/sqrt(2)
    (Khintchine, Szarek) and E z^(2k) <= (2k-1)!!, and any polynomial in |z| above the quantiser's squared error (with those
    signs of coefficients) bounds its mean. WORST holds the least such bounds; the norm scale's
    error 2 (1 - cos) is at most twice the least one 1 - cos^2, and at 1 bit 2 - sqrt(2) in the mean.

    A message: 32-bit seed, S of every block, b bits an entry. At one bit it is DRIVE's.
    """

    name: ClassVar[str] = "eden"
    codec: ClassVar[int] = 41
    length: ClassVar[str] = "bits d + w a block + 32"
    source: ClassVar[str] = "Vargaftik et al. 2022, arXiv 2108.08842"
    shown: ClassVar[tuple[dict, ...]] = ({}, {"scale": "mse"})
    instead: ClassVar[str] = "scale: mse"
    knob: ClassVar[str] = "bits"

    bits: Annotated[int, Checked(ge=1, le=8)]
    scale: Literal["unbiased", "mse", "norm"] = "unbiased"
    block: Annotated[int, AfterValidator(power_of_two)] = 4096
    wire: Literal["float32", "float64"] = "float32"

    @classmethod
    def examples(cls, d):
        return [
            {"bits": 2, "scale": "mse"},
            {"bits": 1, "scale": "norm", "wire": "float64"},
            {"bits": 6, "block": 32},
        ]

    @classmethod
    def sizes(cls, given, shape):
        return range(1, 9)

    def contraction(self, shape):
        worst = WORST[self.bits - 1]
        if self.scale == "norm":
            worst = (2 - 2**0.5) * (1 + 1e-6) if self.bits == 1 else 2 * worst
        return None if self.scale == "unbiased" else 1 - worst

    def quantise(self, u, how):
        energy = column_sums(torch.mul(u, u, out=how.spare), how.tile)
        along = self._signs(u, how) if self.bits == 1 else self._places(u, energy, how)
        if self.scale == "unbiased":
            factor = np.where(along > 0, energy / along, 0)
        else:
            norm = column_sums(how.spare.square_(), how.tile)
            factor = along / norm if self.scale == "mse" else np.sqrt(energy / norm)
        return self.on_the_wire(factor, how)[:, None]

    def _signs(self, u: torch.Tensor, how) -> np.ndarray:
        """Codes of one bit, |q| in `how.spare`, <q, y> of every column: nothing to compare or to look up."""
        c = float(lloyd_max.positive(1)[0])
        np.greater_equal(u.numpy(), 0, out=how.codes.view(bool))
        how.spare.fill_(c)
        return column_sums(u.abs_().mul_(c), how.tile)

    def _places(self, u: torch.Tensor, energy: np.ndarray, how) -> np.ndarray:
        """The same of several bits, q in `how.spare`, which holds u^2 at first."""
        size, square = len(u), how.spare
        unit = np.where(energy > size * SMALLEST, size / energy, 0)  # below, all entries are alike
        square.mul_(torch.from_numpy(unit).to(u.dtype))
        place = lloyd_max.nearest(square.numpy(), self.bits, how.scratch)
        codes, q, half = how.codes, how.spare, np.uint8(2 ** (self.bits - 1))
        np.less(u.numpy(), 0, out=codes.view(bool))
        np.subtract(half, codes, out=codes)  # the code of the least positive centroid, or
        codes ^= place  # of the greatest negative one, from which places count downwards
        lloyd_max.look_up(codes, self.bits, q, how.scratch)
        return column_sums(u.mul_(q), how.tile)

    def restore(self, codes, floats, how):
        lloyd_max.look_up(codes, self.bits, how.out, how.scratch)
        return floats[:, 0]
