"""Top-p: a share p of the entries, those of largest magnitude, with their positions as indices or as a bitmap.

Sparse cyclic sliding segments (Yi, Wang, Liu, ICML 2022) keep p of each segment; many entries are kept there, so that
a bit for each entry is shorter than the indices of those that are sent.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field as Checked

from fewbits.compressors.base import Shares, size
from fewbits.compressors.forms import FORMS
from fewbits.compressors.sparsifier import POSITIONS, Sparsifier
from fewbits.compressors.topk import largest
from fewbits.lazy import torch
from fewbits.registry import plugin


@plugin
class TopShare(Sparsifier):
    """The max(1, round(share d)) entries of largest magnitude; ties: lowest index.

    `positions`: "bitmap", a bit for each of d entries; "packed", indices of ceil(log2 d) bits; "int32", indices of 32
    bits, as code that does not pack them sends. The operator is the same. Where a dense array is not longer, that is sent.
    alpha_C is the share that is kept, after rounding.
    """

    name: ClassVar[str] = "top_share"
    codec: ClassVar[int] = 20
    what: ClassVar[str] = "A share p of the entries, those of largest magnitude."
    length: ClassVar[str] = "p d w + d, or p d (w + ceil(log2 d))"
    source: ClassVar[str] = "Yi, Wang, Liu 2022 (QSFL)"
    random: ClassVar[bool] = False
    knob: ClassVar[str] = "share"

    share: Annotated[float, Checked(gt=0, le=1)]
    positions: Literal["bitmap", "packed", "int32"] = "bitmap"
    wire: Literal["float32", "float64"] = "float32"

    @classmethod
    def examples(cls, d):
        some = [{"share": s, "positions": p} for s in (0.1, 0.4) for p in POSITIONS]
        return [*some, *({"share": 1.0, "wire": wire} for wire in FORMS)]

    @classmethod
    def sizes(cls, given, shape):
        return Shares(size(shape))

    def contraction(self, shape):
        return self._kept(size(shape)) / size(shape)

    def payload(self, shape):
        return self.form(self._kept(size(shape)), size(shape)).bits

    def admits(self, count, d):
        return count == self._kept(d)

    def choose(self, rows, peak, keys):
        return largest(torch.from_numpy(rows), self._kept(rows.shape[-1])).numpy()

    def _kept(self, d: int) -> int:
        return max(1, round(self.share * d))
