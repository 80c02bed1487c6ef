"""FedDecorr (Shi, Liang, Zhang, Tan, Bai, ICLR 2023, arXiv 2210.00226): features of a batch kept from being correlated."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from fewbits.aligned import aligned, bmm
from fewbits.federation.local.terms.base import Term
from fewbits.registry import plugin

EPS = 1e-8  # added to variances by the published code, so that a feature that does not vary counts as uncorrelated


@plugin
class FedDecorr(Term):
    """coefficient * L, where r_ij is the correlation of features i and j over the N rows of a batch, C features:

        loss_scale code:   L = (N - 1)^2 / N * mean of r_ij^2 over i != j     (the published code)
        loss_scale paper:  L = |K|_F^2 / C^2, K = (r_ij)                      (the paper's text; K_ii = 1)

    At N = 64 the first is 62 times the second but for a constant, and the published coefficients (0.1; 0.05 on CIFAR-100)
    are the code's, so a study must say which it means. With Z the standardised features (N, C), M = Z'Z has
    sum_ij M_ij^2 = |ZZ'|_F^2, so the smaller of the two Gram matrices does. Variances are those of the code: unbiased,
    plus 1e-8. Batches of fewer than `least` rows are left alone: r is +-1 at N = 2.
    """

    name: ClassVar[str] = "feddecorr"
    label: ClassVar[str] = "FedDecorr"
    cite: ClassVar[str] = "shi2023feddecorr"

    coefficient: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    loss_scale: Literal["code", "paper"]
    least: Annotated[int, Field(ge=2)] = 2

    def misfit(self, batch):
        if batch is not None and batch < self.least:
            return f"feddecorr leaves batches of fewer than {self.least} rows alone"
        return None

    def value_and_slope(self, seen):
        used = (seen.weights > 0).to(seen.z.dtype).unsqueeze(-1)  # (m, B, 1)
        rows = used.sum(dim=1, keepdim=True)  # N of every client, (m, 1, 1)
        free = (rows - 1).clamp(min=1)
        centred = (seen.z - (seen.z * used).sum(dim=1, keepdim=True) / rows) * used
        deviation = (EPS + (centred * centred).sum(dim=1, keepdim=True) / free).sqrt()
        z = aligned(centred / deviation)
        value, slope = self._of_standardised(z, rows, free)
        slope = (slope - z * (slope * z).sum(dim=1, keepdim=True) / free) / deviation
        slope = (slope - slope.sum(dim=1, keepdim=True) / rows) * used
        scale = self.coefficient * (rows >= self.least).to(z.dtype)
        return (scale * value).flatten(), scale * slope

    def _of_standardised(self, z, rows, free):
        """L and its derivative by Z, of every client: (m, 1, 1), (m, B, C)."""
        features = z.shape[-1]
        turned = z.transpose(1, 2)
        wide = z.shape[1] <= features
        product = bmm(bmm(z, turned), z) if wide else bmm(z, bmm(turned, z))
        total = (z * product).sum(dim=(1, 2), keepdim=True)  # |ZZ'|_F^2
        if self.loss_scale == "paper":
            scale = 1 / (free * features) ** 2
            return scale * total, 4 * scale * product
        own = (z * z).sum(dim=1, keepdim=True)  # M_jj
        scale = 1 / (rows * max(1, features * (features - 1)))
        value = scale * (total - (own * own).sum(dim=-1, keepdim=True))
        return value, 4 * scale * (product - z * own)
