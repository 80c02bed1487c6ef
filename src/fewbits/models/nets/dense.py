"""Fully connected networks. Rows of any shape are flattened."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Literal

from fewbits.lazy import torch
from fewbits.models.nets.kinds import Width


def logistic(shape, classes):
    """Multinomial logistic regression: one linear layer; the representation is the row itself."""
    return mlp(shape, classes, hidden=())


def mlp(
    shape,
    classes,
    hidden: Sequence[Width] = (128,),
    activation: Literal["relu", "tanh"] = "relu",
    bias: bool = True,
    norm: Literal["none", "batch"] = "none",
):
    """Linear layers of widths `hidden`, each followed by `activation`.

    64-128-10 on digits: 9,610 parameters. `hidden=(128, 64), activation="tanh"` has no units that die, which
    the study of dimensional collapse needs. `bias=False` leaves biases out: two matrices of 9,472 numbers.
    `norm`: "batch", BatchNorm before every activation.
    """
    from fewbits.models.nets.layers import BatchNormOfRows, Classifier

    nn = torch.nn
    after = {"relu": nn.ReLU, "tanh": nn.Tanh}[activation]
    layers, width = [nn.Flatten()], prod(shape)
    for wider in hidden:
        layers.append(nn.Linear(width, wider, bias))
        layers += [BatchNormOfRows(wider)] if norm == "batch" else []
        layers.append(after())
        width = wider
    return Classifier(nn.Sequential(*layers), nn.Linear(width, classes, bias))


def two_nn(shape, classes):
    """The 2NN of McMahan et al. (AISTATS 2017, arXiv 1602.05629, section 3): two hidden layers of 200 ReLUs.

    784-200-200-10: 199,210 parameters.
    """
    return mlp(shape, classes, hidden=(200, 200))
