"""QSFL (Yi, Wang, Liu 2022, ICML) with each coordinate averaged over those that sent it: a variant of ours"""

from __future__ import annotations

from typing import ClassVar

from fewbits.algorithms.base import Algorithm
from fewbits.registry import plugin


@plugin
class QSFLMasked(Algorithm):
    """As `qsfl`, but what C leaves out does not count as zero.

        c_k     = C of segment (k + t) mod NS of x^t - y_k              client k, if it qualified; sent
        x^{t+1} = x^t - (1/m_j) sum_k c_k  in each coordinate j         over the m_j whose c_k is not zero there

    So a coordinate that one client alone finds worth sending moves as far as that client wants. A zero that is sent does not
    count either.
    """

    name: ClassVar[str] = "qsfl_masked"
    sends: ClassVar[str] = "either"
    cite: ClassVar[str] = "yi2022qsfl"
    label: ClassVar[str] = "QSFL, masked"

    @classmethod
    def examples(cls):
        return [{"sending": {"name": "segments", "count": 3}}, {}]

    def round(self, s, run):
        x = run.down(s["x"])
        c = run.up(run.compress(run.updates(x)))
        return {"x": run.descend(s["x"], run.step * run.mean_where(c, c != 0))}
