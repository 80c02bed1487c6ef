"""Convolutions by hand: against torch's, their derivatives against automatic differentiation, and whole local steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fewbits import registry, rng
from fewbits.datasets.base import Arrays
from fewbits.federation.sampling import schedule
from fewbits.models import nets
from fewbits.models.objectives import convolved, fourier
from fewbits.models.objectives.automatic import Automatic
from fewbits.models.objectives.dense import tail

SIZES = st.integers(1, 9)
FEW = st.integers(1, 4)


def first(x: torch.Tensor) -> np.ndarray:
    """Pixels first: images (n, C, H, W) to (H, W, n, C), kernels (O, C, k, k) to (k, k, C, O)."""
    return x.detach().permute(2, 3, 0, 1).numpy()


def kernel_first(w: torch.Tensor) -> np.ndarray:
    return w.detach().permute(2, 3, 1, 0).numpy()


def convolution(height, width, k, n, channels, outputs, dtype):
    """Random images and kernel, torch's convolution of them, what its derivative is taken of, and its derivatives."""
    random = torch.Generator().manual_seed(height + 10 * width)
    x = torch.randn(n, channels, height, width, generator=random, dtype=dtype, requires_grad=True)
    w = torch.randn(outputs, channels, k, k, generator=random, dtype=dtype, requires_grad=True)
    y = torch.nn.functional.conv2d(x, w, padding=k // 2)
    delta = torch.randn(y.shape, generator=random, dtype=dtype)
    by_x, by_w = torch.autograd.grad(y, (x, w), delta)
    return first(x), kernel_first(w), first(y), first(delta), first(by_x), kernel_first(by_w)


def ours(x, w, delta):
    y, seen = fourier.forward(x, w)
    return y, *fourier.derivatives(delta, len(w), seen)


@given(SIZES, SIZES, st.sampled_from([1, 3, 5, 7]), FEW, FEW, FEW)
def test_fourier_is_torch_s_convolution(height, width, k, n, channels, outputs):
    sizes = height, width, k, n, channels, outputs
    x, w, y, delta, *derivatives = convolution(*sizes, torch.float64)
    for mine, theirs in zip(ours(x, w, delta), (y, *derivatives), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-12 * max(1, abs(theirs).max()))


def test_in_single_precision_its_errors_are_those_of_the_definition():
    """McMahan's second convolution; errors of both against float64, relative in the Euclidean norm."""
    sizes = 14, 14, 5, 10, 32, 64
    x, w, _, delta, *_ = exact = convolution(*sizes, torch.float32)
    again = (torch.from_numpy(each.astype(np.float64)) for each in (x, w, delta))
    x_, w_, delta_ = again
    x_, w_ = x_.permute(2, 3, 0, 1).requires_grad_(), w_.permute(3, 2, 0, 1).requires_grad_()
    y_ = torch.nn.functional.conv2d(x_, w_, padding=2)
    by_x, by_w = torch.autograd.grad(y_, (x_, w_), delta_.permute(2, 3, 0, 1))
    wanted = first(y_), first(by_x), kernel_first(by_w)
    for mine, theirs, right in zip(ours(x, w, delta), (exact[2], *exact[4:]), wanted, strict=True):
        errors = [np.linalg.norm(each - right) / np.linalg.norm(right) for each in (mine, theirs)]
        assert errors[0] < 5e-7 and errors[0] < 2 * errors[1]


@given(SIZES, SIZES, st.sampled_from([1, 3, 5]), FEW, FEW, FEW)
def test_patches_give_the_same(height, width, k, n, channels, outputs):
    x, w, y, delta, _, by_w = convolution(height, width, k, n, channels, outputs, torch.float64)
    mine, patches = convolved.patched(x, w)
    np.testing.assert_allclose(mine, y, rtol=0, atol=1e-11)
    product = patches @ delta.reshape(-1, outputs)
    np.testing.assert_allclose(product.reshape(by_w.shape), by_w, rtol=0, atol=1e-11)


@given(st.integers(1, 4), st.integers(1, 4), FEW, FEW, st.integers(0, 99))
def test_pooling_and_its_derivative_are_torch_s_also_where_pixels_are_equal(h, w, n, c, seed):
    random = torch.Generator().manual_seed(seed)
    z = torch.randint(0, 3, (n, c, 2 * h, 2 * w), generator=random).float().requires_grad_()
    delta = torch.randn(n, c, h, w, generator=random)
    top = torch.nn.functional.max_pool2d(z, 2)
    mine, maxima = convolved.pooled(np.ascontiguousarray(first(z)))
    np.testing.assert_array_equal(mine, first(top))
    by_z = convolved.unpooled(first(delta), *maxima)
    np.testing.assert_array_equal(by_z, first(torch.autograd.grad(top, z, delta)[0]))


CASES = {
    "cnn": ("cnn", "mnist", {}),
    "three channels": ("cnn", "cifar10", {}),
    "the head alone is dense": ("qsfl_cnn", "mnist", {}),
    "first convolution not pooled": ("digits_cnn", "digits", {}),
    "without biases": ("digits_cnn", "digits", {"bias": False}),
}


def problem(case: str, precision: str):
    """An objective of three clients with 10, 7 and 5 rows of noise."""
    net, dataset, parameters = CASES[case]
    source, random = registry.find("dataset", dataset), np.random.default_rng(0)
    images = random.integers(0, 256, (22, source.features), np.uint8)
    data = Arrays(images, random.integers(0, source.classes, 22))
    spec = {"name": "network", "net": net, "precision": precision, "parameters": parameters}
    made = registry.make("model", {**spec, "weight_decay": 0.1})
    return made.objective(data, np.split(np.arange(22), [10, 17]), source)


def ends(f, who: list[int], momentum: float = 0.0, by_hand: bool = True) -> torch.Tensor:
    """Where two epochs in steps of 5 rows take each client from a start of its own."""
    stages, f.walk.stages = f.walk.stages, f.walk.stages if by_hand else None
    found = []
    for i in who:
        plan = schedule(rng.fold(rng.stream("convolved"), i), int(f.sizes[i]), 5, 2, None)
        x = torch.from_numpy(f.start("mnist", i))[None]
        found.append(f.walk.ends(x, np.array([i]), [plan], 0.05, momentum))
    f.walk.stages = stages
    return torch.cat(found)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("case", CASES)
def test_local_steps_end_where_automatic_differentiation_does(case, momentum):
    f = problem(case, "float64")
    assert f.walk.stages is not None
    mine, theirs = (ends(f, [0, 2], momentum, by_hand) for by_hand in (True, False))
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)


def test_in_single_precision_they_end_as_near_to_the_truth():
    """The network of McMahan et al.; distances to what comes out in float64, of how far the steps lead."""
    single, double = problem("cnn", "float32"), problem("cnn", "float64")
    wanted, start = ends(double, [0]), torch.from_numpy(double.start("mnist", 0))
    found = (ends(single, [0], by_hand=by_hand) for by_hand in (True, False))
    errors = [float((x - wanted).norm() / (wanted - start).norm()) for x in found]
    assert errors[0] < 1e-5 and errors[0] < 2 * errors[1]


@pytest.mark.parametrize("case", ["cnn", "first convolution not pooled"])
def test_their_bytes_are_the_same_in_any_company_and_anywhere_in_memory(case):
    f = problem(case, "float32")
    together = ends(f, [0, 1, 2])
    for number in (0, 1, 2):
        elsewhere = [np.empty(997 * (number + i)) for i in range(5)]
        assert torch.equal(ends(f, [number])[0], together[number])
        del elsewhere


@pytest.mark.parametrize(
    "net, shape, parameters",
    [("digits_cnn", (1, 8, 8), {"norm": "group"}), ("digits_cnn", (1, 8, 8), {"norm": "batch"}),
     ("all_cnn_c", (3, 32, 32), {}), ("resnet8", (3, 32, 32), {}), ("mlp", (1, 8, 8), {"hidden": [4]}),
     ("cnn", (1, 6, 8), {})],
)  # fmt: skip
def test_other_networks_go_by_automatic_differentiation(net, shape, parameters):
    features = nets.build(net, shape, 10, ("layout",), **parameters).features
    front = features[: len(features) - tail(features, normalised=True)[0]]
    assert convolved.stages(front, shape) is None


@pytest.mark.parametrize("changed", [{"stride": 2}, {"padding": 0}, {"dilation": 2}, {"kernel_size": 4},
                                     {"groups": 2}, {"padding_mode": "circular"}], ids=str)  # fmt: skip
def test_other_convolutions_too(changed):
    """Nothing but what has been derived."""
    plain = {"kernel_size": 5, "padding": 2}
    front = [torch.nn.Conv2d(2, 4, **plain), torch.nn.ReLU(), torch.nn.MaxPool2d(2)]
    assert convolved.stages(torch.nn.Sequential(*front, torch.nn.Flatten()), (2, 8, 8)) == [
        convolved.Stage(biased=True, pooled=True)
    ]
    front[0] = torch.nn.Conv2d(2, 4, **{**plain, **changed})
    assert convolved.stages(torch.nn.Sequential(*front, torch.nn.Flatten()), (2, 8, 8)) is None


@pytest.mark.parametrize("rows, form", [(convolved.FEWEST - 1, Automatic), (convolved.FEWEST, convolved.Convolved)])  # fmt: skip
def test_steps_of_few_rows_go_by_automatic_differentiation(rows, form, monkeypatch):
    """There a kernel's transform costs more than it saves."""
    f, made = problem("cnn", "float32"), []
    monkeypatch.setattr(form, "forward", lambda self, rows: made.append(len(rows)) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        plan = schedule(rng.stream("few"), 10, rows, 1, None)
        f.walk.ends(torch.from_numpy(f.start("mnist", 0))[None], np.array([0]), [plan], 0.05)
    assert made == [rows]
