"""Convolutional networks without shortcuts. Rows are images (channels, height, width)."""

from __future__ import annotations

from typing import Literal

from fewbits.lazy import torch
from fewbits.models.nets.kinds import Groups, Norm


def cnn(shape, classes):
    """The CNN of McMahan et al. (AISTATS 2017, arXiv 1602.05629, section 3).

    5x5 convolutions of 32 and 64 channels, each with ReLU and 2x2 max pooling, then 512 ReLUs. "Same"
    padding, without which the paper's 1,663,370 parameters (28 x 28, ten classes) do not come out.
    """
    return _two_convolutions(shape, classes, channels=(32, 64), kernel=5, pools=2, hidden=512)


def qsfl_cnn(shape, classes):
    """QSFL's network for FEMNIST (Yi, Wang, Liu, ICML 2022, published code).

    5x5 convolutions of 16 and 32 channels, each with ReLU and 2x2 max pooling, then the classes: 110,526
    parameters with 62 classes.
    """
    return _two_convolutions(shape, classes, channels=(16, 32), kernel=5, pools=2, hidden=None)


def digits_cnn(shape, classes, bias: bool = True, norm: Norm = "none", groups: Groups = 2):
    """A small network of ours for 8 x 8 digits: 38,282 parameters.

    3x3 convolutions of 16 and 32 channels with ReLU, one 2x2 max pooling, then 64 ReLUs; its layers of
    32x16x3x3 and 64x512 are large enough for low-rank compressors to matter. `bias=False` leaves all biases out;
    `norm`: "none", "batch" or "group" (`groups` groups) after every convolution.
    """
    normed = {"norm": norm, "groups": groups}
    return _two_convolutions(shape, classes, (16, 32), 3, 1, hidden=64, bias=bias, **normed)


def _two_convolutions(
    shape, classes, channels, kernel, pools, hidden, bias=True, norm="none", groups=2
):
    """Two convolutions with "same" padding and ReLU, `pools` of them (the last ones) followed by pooling."""
    from fewbits.models.nets.layers import Classifier, normalised

    nn, layer_norm = torch.nn, normalised(norm, groups)
    inputs, height, width = shape
    layers = []
    for i, outputs in enumerate(channels):
        layers.append(nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=bias))
        layers += [] if norm == "none" else [layer_norm(outputs)]
        layers.append(nn.ReLU())
        if i >= len(channels) - pools:
            layers.append(nn.MaxPool2d(2))
            height, width = height // 2, width // 2
        inputs = outputs
    layers.append(nn.Flatten())
    flat = inputs * height * width
    if hidden:
        layers += [nn.Linear(flat, hidden, bias), nn.ReLU()]
    return Classifier(nn.Sequential(*layers), nn.Linear(hidden or flat, classes, bias))


def all_cnn_c(shape, classes):
    """All-CNN-C (Springenberg et al., ICLR workshop 2015, arXiv 1412.6806, table 1): 1,369,738 parameters.

    Nine convolutions; two of stride 2 take the place of pooling; the last 3x3 one is not padded, so that
    32 x 32 ends as 6 x 6. The class layer is written as averaging, then a linear layer, which is the same map as the
    paper's 1x1 convolution, then averaging, but for the paper's ReLU on the class scores, which most code
    leaves out and so do we. No dropout: Konecny et al. (2016), who train it federated, do not mention any.
    """
    from fewbits.models.nets.layers import Classifier, Pooled

    nn = torch.nn
    plan = [(96, 3, 1, 1), (96, 3, 1, 1), (96, 3, 2, 1), (192, 3, 1, 1), (192, 3, 1, 1)]
    plan += [(192, 3, 2, 1), (192, 3, 1, 0), (192, 1, 1, 0)]
    layers, inputs = [], shape[0]
    for outputs, kernel, stride, padding in plan:
        layers += [nn.Conv2d(inputs, outputs, kernel, stride, padding), nn.ReLU()]
        inputs = outputs
    return Classifier(nn.Sequential(*layers, Pooled()), nn.Linear(inputs, classes))


def vgg11(
    shape,
    classes,
    norm: Norm = "none",
    groups: Groups = 2,
    head: Literal["linear", "imagenet"] = "linear",
):
    """VGG11 (Simonyan and Zisserman 2015, arXiv 1409.1556, table 1, column A), 3x3 convolutions.

    `head`: "linear", averaging and one linear layer, as used on CIFAR (9,225,610 parameters with ten classes);
    "imagenet", 7 x 7 pixels and two layers of 4,096 as torchvision's `vgg11` that EF21 trains (132,863,336 with
    1,000 classes). No dropout. `norm`: "none", "batch" or "group" (`groups` groups) after every convolution.
    """
    from fewbits.models.nets.layers import Classifier, Pooled, normalised

    nn, layer_norm = torch.nn, normalised(norm, groups)
    layers, inputs = [], shape[0]
    for outputs, pool in zip(
        (64, 128, 256, 256, 512, 512, 512, 512), (1, 1, 0, 1, 0, 1, 0, 1), strict=True
    ):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), layer_norm(outputs), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if pool else []
        inputs = outputs
    if head == "linear":
        return Classifier(nn.Sequential(*layers, Pooled()), nn.Linear(512, classes))
    layers += [nn.AdaptiveAvgPool2d(7), nn.Flatten()]
    layers += [nn.Linear(512 * 49, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU()]
    return Classifier(nn.Sequential(*layers), nn.Linear(4096, classes))
