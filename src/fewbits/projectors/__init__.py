"""Random maps from models to a few numbers and back, made on each side from a shared seed. One file a kind.

lp-proj (Lin et al., NeurIPS 2022) draws one dense Gaussian matrix P with rows of unit length. Rows are then nearly orthonormal,
so P P^T is near the identity of R^k; P^T P is near a projector of rank k, at a Frobenius distance of about sqrt(d - k) from the
identity of R^d. Nobody can get a model back from P x, and lp-proj does not try.
"""

from __future__ import annotations

from fewbits.projectors.base import Projector
from fewbits.projectors.dense import Dense
from fewbits.projectors.sparse_sign import SparseSign
from fewbits.projectors.srht import SRHT

PROJECTORS: dict[str, type[Projector]] = {cls.name: cls for cls in (SparseSign, Dense, SRHT)}
