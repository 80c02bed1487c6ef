"""MOON (Li, He, Song, CVPR 2021, arXiv 2103.16257): a contrast with the received and the client's previous model."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from fewbits.aligned import aligned
from fewbits.federation.local.terms.base import Term
from fewbits.lazy import torch
from fewbits.registry import plugin

LEAST = 1e-8  # of a norm that is divided by, as torch's cosine_similarity


@plugin
class Moon(Term):
    """mu * mean over the rows of -log(e^(s(z, g)/tau) / (e^(s(z, g)/tau) + e^(s(z, p)/tau)))          (equation 3)

    s is the cosine; g and p are the row's representations by the model that came from the server and by the one that the
    client ended with when it last took part (the starting point before that).

    The representation is what goes into the last linear layer, so the paper's projection head is a matter of the network:
    `parameters: {projection: [512, 256]}` puts two linear layers with a ReLU between them there, as MOON's published code has
    them (the first as wide as what it is given, the second 256). FedDecorr's published code has [640, 256] on the 1,280 features
    of MobileNetV2, for CIFAR, and no head on Tiny-ImageNet, where it says that one hurts; it reads a temperature and never
    uses it, so there tau = 1.
    """

    name: ClassVar[str] = "moon"
    label: ClassVar[str] = "MOON"
    cite: ClassVar[str] = "li2021moon"
    anchors: ClassVar[tuple[str, ...]] = ("received", "previous")

    mu: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.5

    def value_and_slope(self, seen):
        near, near_slope = _cosine(seen.z, seen.anchor("received"))
        far, far_slope = _cosine(seen.z, seen.anchor("previous"))
        apart = aligned((far - near) / self.temperature)  # the loss of a row is log(1 + e^apart)
        value = (torch.nn.functional.softplus(apart) * seen.weights).sum(dim=1)
        weight = (torch.sigmoid(apart) * seen.weights / self.temperature).unsqueeze(-1)
        return self.mu * value, self.mu * weight * (far_slope - near_slope)


def _cosine(z, other):
    """The cosine of every row and its derivative by z: (m, B), (m, B, C)."""
    length = z.norm(dim=-1, keepdim=True).clamp(min=LEAST)
    unit = z / length
    direction = other / other.norm(dim=-1, keepdim=True).clamp(min=LEAST)
    cosine = (unit * direction).sum(dim=-1, keepdim=True)
    return cosine.squeeze(-1), (direction - cosine * unit) / length
