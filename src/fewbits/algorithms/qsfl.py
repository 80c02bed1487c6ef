"""QSFL (Yi, Wang, Liu 2022, ICML, PMLR 162:25501), on updates: segments of them, averaged over those whose turn it is"""

from __future__ import annotations

from typing import ClassVar

from fewbits.algorithms.base import Algorithm
from fewbits.registry import plugin


@plugin
class QSFL(Algorithm):
    """Who uploads is the selection's business (`qualification`), which segment the slot's of what is sent (`segments`).

        y_k     = what local work from x^t ends in                      client k
        q_k     = its score; those with low ones send nothing more      selection: qualification
        c_k     = C of segment (k + t) mod NS of x^t - y_k              client k, sent; C = top_share
        x^{t+1} = x^t - (1/m_j) sum_k c_k  in each coordinate j         over the m_j that uploaded a segment with j in it

    A coordinate that nobody uploaded stays as it is. Entries that C leaves out count as zero, in a plain mean: clients count alike,
    however many rows they have. The body of the paper could not be read: the picture and the text around its code speak of
    updates and the server's copy, the code does otherwise (`qsfl_literal`). With one segment, all of it and
    all clients, this is FedAvg without weights. A `step` other than 1 is the server's.
    """

    name: ClassVar[str] = "qsfl"
    sends: ClassVar[str] = "either"
    cite: ClassVar[str] = "yi2022qsfl"
    label: ClassVar[str] = "QSFL"

    @classmethod
    def examples(cls):
        return [{"sending": {"name": "segments", "count": 3}}, {}]

    def round(self, s, run):
        x = run.down(s["x"])
        c = run.up(run.compress(run.updates(x)))
        return {"x": run.descend(s["x"], run.step * run.mean_where(c, run.network.about(c)))}
