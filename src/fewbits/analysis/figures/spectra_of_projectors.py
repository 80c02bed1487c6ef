"""Why P P^T is near the identity and P^T P is not: the eigenvalues of both."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from fewbits.registry import plugin


@plugin
class SpectraOfProjectors:
    """Left: eigenvalues of P P^T of each kind of projector among the runs, in falling order, with the edges (1 -+ sqrt(k/d))^2 of
    the Gaussian one. Right: those of P^T P: the same k numbers, and d - k zeros. ratio: k/d. Of the runs' d and first seed.
    """

    name: ClassVar[str] = "spectra_of_projectors"

    ratio: Annotated[float, Field(gt=0, le=1)] = 0.1
    height_cm: Annotated[float, Field(gt=2)] = 7.0

    def draw(self, runs, metrics):
        import numpy as np

        from fewbits.analysis import style
        from fewbits.analysis.projections import singular_values
        from fewbits.projectors import PROJECTORS

        d, seed = int(runs["constants.dim"].iloc[0]), int(runs["seed"].min())
        kinds = [k for k in PROJECTORS if k in set(runs["algorithm.projector"].dropna())]
        looks = style.method_styles(kinds)
        figure, (left, right) = style.panels(2, self.height_cm)
        for kind in kinds:
            own = singular_values(kind, self.ratio, d, seed) ** 2
            k, look = len(own), {**looks[kind], "marker": None, "label": PROJECTORS[kind].label}
            left.plot((np.arange(k) + 0.5) / k, own, **look)
            right.plot((np.arange(d) + 0.5) / d, np.pad(own, (0, d - k)), **look)
        for edge in ((1 - self.ratio**0.5) ** 2, (1 + self.ratio**0.5) ** 2):
            left.axhline(edge, color=style.GREY, linewidth=0.7, linestyle=(0, (2, 2)))
        for axis, title in ((left, "$P\\,P^T$"), (right, "$P^T P$")):
            axis.axhline(1, color="#bbbbbb", linewidth=0.7, zorder=0)
            axis.set_title(f"{title}, d = {d:,}, k = {k:,}", loc="left")
            axis.set_ylim(-0.05, None)
        left.set_xlabel("place among the k eigenvalues / k")
        right.set_xlabel("place among the d eigenvalues / d")
        left.set_ylabel("eigenvalue")
        found = style.handles([left])
        style.legend_below(figure, list(found.values()), list(found), len(found))
        return figure
