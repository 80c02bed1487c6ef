"""What comes before the dense tail, of one client, where it is convolutions with ReLU and pooling: differentiated by hand.

Pixels come first, (height, width, images, channels). The first convolution is a product with patches of the images, whose
derivative by the images nobody needs; the others go by `fourier`. ReLU comes after pooling, which is the same and takes a quarter
of the time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from fewbits.models.objectives import fourier
from fewbits.models.objectives.moving import Rule

# Rows of a step: with fewer, what transforming the kernels takes is more than what it saves.
FEWEST = 4


class Stage(NamedTuple):
    """A convolution, ReLU, and maxima of 2 x 2 pixels where `pooled`."""

    biased: bool
    pooled: bool


def stages(front: nn.Sequential, shape: tuple[int, ...]) -> list[Stage] | None:
    """None where these modules are something else, or cut through a pixel. shape: of a row, (channels, height, width)."""
    modules, size, found = [*front], shape[1:], []
    while len(modules) > 1:
        conv, relu, *modules = modules
        if not (_plain(conv) and type(relu) is nn.ReLU):
            return None
        pooled = repr(modules[:1]) == repr([nn.MaxPool2d(2)])
        if pooled:
            if any(side % 2 for side in size):
                return None
            size, modules = tuple(side // 2 for side in size), modules[1:]
        found.append(Stage(conv.bias is not None, pooled))
    return found if found and [type(module) for module in modules] == [nn.Flatten] else None


def _plain(conv: nn.Module) -> bool:
    """Whether its kernel is square and of odd width, and the image keeps its size."""
    if type(conv) is not nn.Conv2d or conv.kernel_size[0] % 2 == 0:
        return False
    k, sizes = conv.kernel_size[0], (conv.in_channels, conv.out_channels)
    like = nn.Conv2d(*sizes, k, padding=k // 2, bias=conv.bias is not None, device="meta")
    return repr(conv) == repr(like)


class Convolved:
    """Parameters are copies of `views`, (1, O, C, k, k) and (1, O); the copies move."""

    def __init__(self, stages: list[Stage], objective, views, rule: Rule) -> None:
        self.stages, self.objective, self.rule = stages, objective, rule
        self.moved = [rule.begin(_placed(view[0])) for view in views]
        self.kept = []

    def forward(self, rows: np.ndarray) -> torch.Tensor:
        """What the tail takes, (n, features), of these rows."""
        images = self.objective.flat(rows).numpy()
        x = images.reshape(-1, *self.objective.source.shape).transpose(2, 3, 0, 1)
        parameters = iter(self.moved)
        self.kept = []
        for stage in self.stages:
            w = next(parameters).value.numpy().transpose(2, 3, 1, 0)
            z, seen = fourier.forward(x, w) if self.kept else patched(x, w)
            x, maxima = pooled(z) if stage.pooled else (z, None)
            if stage.biased:
                x += next(parameters).value.numpy()
            np.maximum(x, 0, out=x)
            self.kept.append((w.shape, seen, maxima, x))
        return torch.from_numpy(x.transpose(2, 3, 0, 1).reshape(len(rows), -1))

    def back(self, delta: torch.Tensor) -> None:
        """Moves the parameters, from the derivative by what `forward` gave, times the step."""
        height, width, *rest = self.kept[-1][-1].shape
        delta = delta.numpy().reshape(*rest, height, width).transpose(2, 3, 0, 1)
        changes = []
        for stage in self.stages[::-1]:
            shape, seen, maxima, x = self.kept.pop()
            delta = delta * (x > 0)
            if stage.biased:
                changes.append(delta.reshape(-1, shape[3]).sum(axis=0))
            if stage.pooled:
                delta = unpooled(delta, *maxima)
            if self.kept:
                delta, change = fourier.derivatives(delta, shape[0], seen)
            else:
                change = np.matmul(seen, delta.reshape(-1, shape[3])).reshape(shape)
            changes.append(change.transpose(3, 2, 0, 1))
        for moving, change in zip(self.moved, changes[::-1], strict=True):
            self.rule.by(moving, torch.from_numpy(change))


def _placed(parameter: torch.Tensor) -> torch.Tensor:
    """A copy, in memory with a kernel's pixels first."""
    if parameter.dim() == 1:
        return parameter.clone()
    pixels_first = parameter.permute(2, 3, 1, 0).clone(memory_format=torch.contiguous_format)
    return pixels_first.permute(3, 2, 0, 1)


def patched(x: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As `fourier.forward`, and the patches (k k C, H W n), which lie so that copies of them are long."""
    (height, width, images, channels), k = x.shape, len(w)
    wide = np.zeros((channels, height + k - 1, width + k - 1, images), x.dtype)
    wide[:, k // 2 : k // 2 + height, k // 2 : k // 2 + width] = x.transpose(3, 0, 1, 2)
    windows = np.lib.stride_tricks.sliding_window_view(wide, (height, width), (1, 2))
    patches = windows.transpose(1, 2, 0, 4, 5, 3).reshape(k * k * channels, -1)
    y = np.matmul(patches.T, w.reshape(len(patches), -1))
    return y.reshape(height, width, images, -1), patches


def pooled(z: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Maxima of 2 x 2 pixels of z (H, W, n, C), and where they are: in the right one of two, in the lower pair."""
    height, width, *rest = z.shape
    z = z.reshape(height // 2, 2, width // 2, 2, *rest)
    left, right = z[:, :, :, 0], z[:, :, :, 1]
    pairs = np.maximum(left, right)
    upper, lower = pairs[:, 0], pairs[:, 1]
    return np.maximum(upper, lower), (right > left, lower > upper)


def unpooled(delta: np.ndarray, right: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """The derivative by z from that by its maxima; of equal pixels the first one has it, as in torch."""
    height, _, width, *rest = right.shape
    by_pairs = np.empty((height, 2, width, *rest), delta.dtype)
    by_z = np.empty((height, 2, width, 2, *rest), delta.dtype)
    np.multiply(delta, lower, out=by_pairs[:, 1])
    np.subtract(delta, by_pairs[:, 1], out=by_pairs[:, 0])
    np.multiply(by_pairs, right, out=by_z[:, :, :, 1])
    np.subtract(by_pairs, by_z[:, :, :, 1], out=by_z[:, :, :, 0])
    return by_z.reshape(2 * height, 2 * width, *rest)
