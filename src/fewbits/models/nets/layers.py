"""Building blocks that several networks share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from fewbits.models.nets.kinds import Norm


class Classifier(nn.Module):
    """`head(features(x))`: x (rows, *shape) to representations (rows, width) to logits (rows, classes).

    Of sequences: tokens (rows, length) to (rows, length, width) to logits (rows, classes, length), as
    cross_entropy wants them. `both`: logits and representations.
    """

    def __init__(self, features: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.features, self.head = features, head

    def forward(self, x: Tensor, both: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        z = self.features(x)
        logits = self.head(z)
        logits = logits.transpose(1, 2) if logits.dim() == 3 else logits
        return (logits, z) if both else logits


def projected(net: Classifier, widths: Sequence[int]) -> Classifier:
    """The same with a projection head between `features` and the last layer, as MOON's published model has it (Li, He, Song,
    CVPR 2021): linear layers of `widths`, ReLU between them and none after the last, whose output is the representation.
    """
    modules, width, biased = [*net.features], net.head.in_features, net.head.bias is not None
    for number, wider in enumerate(widths):
        modules += [nn.ReLU()] if number else []
        modules.append(nn.Linear(width, wider, biased))
        width = wider
    return Classifier(nn.Sequential(*modules), nn.Linear(width, net.head.out_features, biased))


class Residual(nn.Module):
    """branch(x) + shortcut(x), then `last`."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module, last: nn.Module) -> None:
        super().__init__()
        self.branch, self.shortcut, self.last = branch, shortcut, last

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.branch(x) + self.shortcut(x))


class PaddedShortcut(nn.Module):
    """Every `stride`-th pixel, new channels zero (He et al. 2016, option A): no parameters."""

    def __init__(self, stride: int, more: int) -> None:
        super().__init__()
        self.stride, self.more = stride, more

    def forward(self, x: Tensor) -> Tensor:
        before = self.more // 2
        x = x[:, :, :: self.stride, :: self.stride]
        return functional.pad(x, (0, 0, 0, 0, before, self.more - before))


class Pooled(nn.Module):
    """The mean over all pixels: (rows, channels, height, width) to (rows, channels)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3))


class BatchNormOfRows(nn.BatchNorm1d):
    """BatchNorm of (rows, width). A row alone in its batch, which has no variance, is normalised by the running ones."""

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > 1:
            return super().forward(x)
        own = self.running_mean, self.running_var, self.weight, self.bias
        return functional.batch_norm(x, *own, training=False, eps=self.eps)


def normalised(norm: Norm, groups: int) -> Callable[[int], nn.Module]:
    """A function from a number of channels to its normalising layer.

    `group`: GroupNorm (Wu and He 2018) with `groups` groups of channels; it keeps no running statistics, which
    clients with different labels would disagree about (Hsieh et al. 2020). `batch`: BatchNorm.
    """
    layers = {
        "group": lambda channels: nn.GroupNorm(groups, channels),
        "batch": nn.BatchNorm2d,
        "none": lambda channels: nn.Identity(),
    }
    return layers[norm]


class PeepholeLSTM(nn.Module):
    """One LSTM layer whose gates see the cell (Gers and Schmidhuber 2000), with one bias a gate.

    i = s(W_i [x, h] + p_i c + b_i), f = s(W_f [x, h] + p_f c + b_f), c' = f c + i tanh(W_c [x, h] + b_c),
    o = s(W_o [x, h] + p_o c' + b_o), h' = o tanh(c'). Initial law of torch.nn.LSTM: uniform on
    +-1/sqrt(width). x (rows, length, inputs) to (rows, length, width).
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.gates = nn.Linear(inputs + width, 4 * width)
        self.peepholes = nn.Parameter(torch.empty(3, width))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(width**-0.5), width**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        h = c = x.new_zeros(len(x), self.peepholes.shape[1])
        see_i, see_f, see_o = self.peepholes
        outputs = []
        for step in x.unbind(dim=1):
            i, f, new, o = self.gates(torch.cat([step, h], dim=1)).chunk(4, dim=1)
            c = torch.sigmoid(f + see_f * c) * c + torch.sigmoid(i + see_i * c) * torch.tanh(new)
            h = torch.sigmoid(o + see_o * c) * torch.tanh(c)
            outputs.append(h)
        return torch.stack(outputs, dim=1)


class LSTM(nn.Module):
    """torch.nn.LSTM (no peepholes, two bias vectors): (rows, length, inputs) to (rows, length, width)."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.cell = nn.LSTM(inputs, width, batch_first=True)

    def train(self, mode: bool = True) -> LSTM:
        """Always as in training, which without dropout is the same: on a GPU cuDNN takes no gradient of another, and the
        gradients of records are of a network as it is evaluated."""
        return super().train(True)

    def forward(self, x: Tensor) -> Tensor:
        return self.cell(x)[0]
