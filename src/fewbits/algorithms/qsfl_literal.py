"""QSFL (Yi, Wang, Liu 2022, ICML) as its published code does it: segments of the weights themselves"""

from __future__ import annotations

from typing import ClassVar

from fewbits.algorithms.base import Algorithm
from fewbits.lazy import torch
from fewbits.registry import plugin


@plugin
class QSFLLiteral(Algorithm):
    """Not to be used: it prunes the model in every round. x_0 is the model of the start.

        y_k     = what local work from x^t ends in                                  client k
        c_k     = C of segment (k + t) mod NS of y_k                                client k, if it qualified; sent
        x^{t+1} = (1/m_j) sum_k c_k  in each coordinate j                           over the m_j with j in their segment
                = x_0                in those that nobody uploaded

    Kept of the code (github.com/LipingYi/QSFL, 2022), because it shapes the results: weights are sparsified, not updates, and what C
    leaves out counts as zero, so that about half of the model is zero after each round; a segment without uploaders falls back
    to the start, not to x^t; clients count alike. Its score is that of `qualification` with relevance: weights, normalised:
    false, per_row: true.

    Not kept: that the judgement comes after everybody has uploaded; that messages are base64 text of pickled lists; that a
    length that does not divide loses the tail; that clients are looked up by number where place is meant (the same where
    all take part); Adam, whose state outlives the weights it belongs to; a start trained by a separate run.
    """

    name: ClassVar[str] = "qsfl_literal"
    sends: ClassVar[str] = "either"
    cite: ClassVar[str] = "yi2022qsfl"
    label: ClassVar[str] = "QSFL, as coded"

    @classmethod
    def examples(cls):
        return [{"sending": {"name": "segments", "count": 3}}]

    def initial_state(self, x, run):
        return {"x": x, "x_0": x.clone()}

    def round(self, s, run):
        x = run.down(s["x"])
        c = run.up(run.compress(x[:, None] - run.updates(x)))
        where = run.network.about(c)
        somebody = run.network.heard(where).any(dim=1)
        ahead = torch.where(somebody, run.mean_where(c, where), s["x_0"])
        return {"x": run.descend(s["x"], run.step * (s["x"] - ahead)), "x_0": s["x_0"]}
