"""Any compressor after a random rotation: `{"name": "hadamard", "of": {"name": "uniform", "bits": 2}}`.

Suresh, Yu, Kumar, McMahan, "Distributed Mean Estimation with Limited Communication", ICML 2017 (arXiv 1611.00429,
section 3); Konecny et al. (arXiv 1610.05492, section 3, "structured random rotations").
"""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator

from fewbits import registry
from fewbits.compressors.base import size
from fewbits.compressors.hadamard import padded, power_of_two, rotate, rotate_back
from fewbits.compressors.prepared import Prepared, inner_of
from fewbits.registry import plugin


@plugin
class Hadamard(Prepared):
    """C(x) = R^T Q(R x), Q the compressor `of` on the rotated, padded entries (a vector), R from the message's seed.

    R is orthogonal and padding is cut off after decoding, so Q's alpha_C or omega at the padded length holds.
    What changes is the input: heavy-tailed and sparse vectors become like normal ones, which is where quantisers
    with a range do well (and sparsifiers badly).
    """

    name: ClassVar[str] = "hadamard"
    codec: ClassVar[int] = 43
    length: ClassVar[str] = "that of `of`, and 56"
    source: ClassVar[str] = "Suresh et al. 2017, arXiv 1611.00429"
    shown: ClassVar[tuple[dict, ...]] = ({"of": {"name": "topk"}}, {"of": {"name": "uniform"}})
    knob: ClassVar[str] = "of"

    of: dict[str, Any]
    block: Annotated[int, AfterValidator(power_of_two)] = 4096

    def __post_init__(self):
        if self.of.get("name") == self.name:
            raise ValueError("a rotation of a rotation is a rotation")
        inner_of(json.dumps(self.of))

    @classmethod
    def examples(cls, d):
        return [
            {"of": {"name": "topk", "k": max(1, d // 4)}},
            {"of": {"name": "identity", "wire": "float64"}, "block": 8},
            {"of": {"name": "subsample", "fraction": 0.25}},
        ]

    @classmethod
    def has_size(cls, given):
        inner = registry.find("compressor", given["of"]["name"])
        return inner.knob is None or inner.has_size(given["of"])

    @classmethod
    def sizes(cls, given, shape):
        inner = registry.find("compressor", given["of"]["name"])
        block = given.get("block", cls.block)
        return inner.sizes(given["of"], (padded(size(shape), block),))

    @classmethod
    def with_size(cls, given, value):
        inner = registry.find("compressor", given["of"]["name"])
        return {**given, "of": inner.with_size(given["of"], value)}

    def numbers(self, d):
        return padded(d, self.block)

    def prepare(self, rows, seeds):
        return rotate(rows, seeds, self.block)

    def back(self, sent, seeds, d):
        return rotate_back(sent, seeds, d, self.block)

    def contraction(self, shape):
        return 1.0 if self._dense(shape) else self.inner.contraction(self._inside(shape))

    def variance(self, shape):
        return 0.0 if self._dense(shape) else self.inner.variance(self._inside(shape))
