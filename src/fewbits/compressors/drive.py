"""DRIVE: one bit an entry after a random rotation.

Vargaftik, Ben Basat, Portnoy, Mendelson, Ben-Itzhak, Mitzenmacher, "DRIVE: One-bit Distributed Mean
Estimation", NeurIPS 2021 (arXiv 2105.08339).
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import AfterValidator

from fewbits.compressors.hadamard import column_sums, power_of_two
from fewbits.compressors.rotating import RotatingQuantiser
from fewbits.lazy import torch
from fewbits.registry import plugin


@plugin
class Drive(RotatingQuantiser):
    """y = R x in blocks, sent as sign(y) and one float S a block; decoded as R^T (S sign y).

    scale="unbiased": S = |y|_2^2 / |y|_1, so that <C(x), x> = |x|^2 (section 4 of the paper). Under a uniformly
    random rotation E C(x) = x and vNMSE tends to pi/2 - 1 = 0.571. Under the Hadamard rotation that
    makes it fast both hold in the limit of large blocks and spread-out vectors only: a block (2, 1)
    always decodes to (2.5, 0). So no omega is declared; `rotated` is unbiased without conditions.

    scale="mse": S = |y|_1 / D, the least squared error, which tends to 1 - 2/pi = 0.363. alpha_C = 1/2 for
    every x and every block size: an entry of y is sum_j +-x_j / sqrt(D), E|y_i| >= |x|_2 / sqrt(2 D) (Khintchine's
    inequality with Szarek's constant, Studia Mathematica 1976), so E|y|_1^2/D >= |x|_2^2/2. Tight for two equal entries.

    A message: 32-bit seed, S of every block, a bit an entry.
    """

    name: ClassVar[str] = "drive"
    codec: ClassVar[int] = 40
    length: ClassVar[str] = "d + w a block + 32"
    source: ClassVar[str] = "Vargaftik et al. 2021, arXiv 2105.08339"
    shown: ClassVar[tuple[dict, ...]] = ({}, {"scale": "mse"})
    instead: ClassVar[str] = "scale: mse"
    bits: ClassVar[int] = 1

    scale: Literal["unbiased", "mse"] = "unbiased"
    block: Annotated[int, AfterValidator(power_of_two)] = 4096
    wire: Literal["float32", "float64"] = "float32"

    @classmethod
    def examples(cls, d):
        return [{"scale": "mse"}, {"scale": "unbiased", "block": 16, "wire": "float64"}]

    def contraction(self, shape):
        return 0.5 if self.scale == "mse" else None

    def quantise(self, u, how):
        np.greater_equal(u.numpy(), 0, out=how.codes.view(bool))
        one = column_sums(torch.abs(u, out=how.spare), how.tile)
        if self.scale == "mse":
            factor = one / len(u)
        else:
            square = column_sums(u.square_(), how.tile)
            factor = np.where(one > 0, square / one, 0)
        return self.on_the_wire(factor, how)[:, None]

    def restore(self, codes, floats, how):
        how.out.copy_(torch.from_numpy(codes)).mul_(2).sub_(1)
        return floats[:, 0]
