"""Networks: the published parameter counts, other people's implementations, the parts later methods need."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch.nn import functional

from fewbits.models import nets
from fewbits.vision import torchvision

STREAM = ("start", "test", 0)
DIGITS, MNIST, CIFAR, TINY = (1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 64)

COUNTS = [  # name, shape, classes, parameters of the network, its number of parameters
    ("logistic", MNIST, 10, {}, 7_850),
    ("mlp", DIGITS, 10, {}, 9_610),
    ("mlp", DIGITS, 10, {"hidden": (128, 64), "activation": "tanh"}, 17_226),
    ("mlp", MNIST, 10, {"hidden": (512, 512), "projection": (512, 256)}, 1_061_130),  # MOON's code
    ("two_nn", MNIST, 10, {}, 199_210),  # McMahan et al., section 3
    ("cnn", MNIST, 10, {}, 1_663_370),  # McMahan et al., section 3
    ("digits_cnn", DIGITS, 10, {}, 38_282),
    ("qsfl_cnn", MNIST, 62, {}, 110_526),  # QSFL's published code
    ("all_cnn_c", CIFAR, 10, {}, 1_369_738),
    ("vgg11", CIFAR, 10, {}, 9_225_610),
    ("vgg11", CIFAR, 10, {"norm": "batch"}, 9_231_114),
    ("resnet8", CIFAR, 10, {}, 75_290),
    ("resnet20", CIFAR, 10, {"norm": "batch"}, 269_722),  # He et al.: 0.27 M
    ("resnet18", CIFAR, 10, {}, 11_173_962),
    ("resnet18", TINY, 200, {"norm": "batch"}, 11_271_432),
    ("resnet18", CIFAR, 1000, {"stem": "imagenet"}, 11_689_512),
    ("resnet18", CIFAR, 10, {"projection": (512, 256)}, 11_565_386),
    ("mobilenet_v2", CIFAR, 10, {"variant": "feddecorr"}, 2_296_922),
    ("mobilenet_v2", CIFAR, 100, {"variant": "feddecorr"}, 2_412_212),
    ("mobilenet_v2", CIFAR, 10, {"variant": "feddecorr", "projection": (640, 256)}, 3_270_618),
    ("mobilenet_v2", TINY, 200, {"variant": "feddecorr"}, 2_540_312),
    ("mobilenet_v2", CIFAR, 10, {}, 2_236_682),
    ("mobilenet_v2", CIFAR, 10, {"width": 0.25, "norm": "batch"}, 250_922),
    ("char_lstm", (80,), 65, {}, 815_945),
    ("char_lstm", (80,), 258, {"peepholes": True}, 866_578),  # McMahan et al., section 3
]


@pytest.mark.parametrize("name, shape, classes, parameters, count", COUNTS)
def test_parameter_counts_and_representations(name, shape, classes, parameters, count):
    net = nets.build(name, shape, classes, STREAM, **parameters).eval()
    assert sum(p.numel() for p in net.parameters()) == count
    x = torch.rand(3, *shape) if len(shape) == 3 else torch.randint(classes, (3, *shape))
    features = net.features(x)
    assert features.shape == (3, *shape[: len(shape) % 3], net.head.in_features)
    logits = net(x)
    assert logits.shape == ((3, classes) if len(shape) == 3 else (3, classes, *shape))
    direct = net.head(features)
    assert torch.equal(logits, direct if len(shape) == 3 else direct.transpose(1, 2))
    y = torch.zeros(3, *logits.shape[2:], dtype=torch.long)
    functional.cross_entropy(logits, y).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def copied(theirs, ours):
    """`ours` with the parameters and statistics of `theirs`, in order."""
    entries = zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True)
    for own, other in entries:
        own.copy_(other)
    return ours.eval()


def test_resnet18_is_torchvision_s():
    with torch.random.fork_rng():
        theirs = torchvision().models.resnet18(weights=None, num_classes=12).eval()
    parameters = {"stem": "imagenet", "norm": "batch"}
    ours = copied(theirs, nets.build("resnet18", (3, 64, 64), 12, STREAM, **parameters))
    x = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-6)


def test_vgg11_has_torchvision_s_convolutions():
    vgg = torchvision().models.vgg
    with torch.random.fork_rng():
        theirs = vgg.make_layers(vgg.cfgs["A"], batch_norm=True).eval()
    ours = copied(theirs, nets.build("vgg11", CIFAR, 12, STREAM, norm="batch").features)
    x = torch.rand(2, *CIFAR)
    torch.testing.assert_close(ours(x), theirs(x)[:, :, 0, 0], rtol=1e-5, atol=1e-6)


def test_mobilenet_is_torchvision_s_but_for_two_strides():
    with torch.random.fork_rng():
        theirs = torchvision().models.mobilenet_v2(weights=None, num_classes=12).eval()
    for layer in (theirs.features[0][0], theirs.features[2].conv[1][0]):
        layer.stride = (1, 1)
    ours = copied(theirs, nets.build("mobilenet_v2", CIFAR, 12, STREAM, norm="batch"))
    x = torch.rand(2, *CIFAR)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-6)


def test_peephole_lstm_without_peepholes_is_torch_s():
    ours = nets.build("char_lstm", (7,), 5, STREAM, embed=3, width=6, peepholes=True)
    theirs = nets.build("char_lstm", (7,), 5, STREAM, embed=3, width=6)
    tokens = torch.randint(5, (4, 7))
    with torch.no_grad():
        theirs.head.load_state_dict(ours.head.state_dict())
        theirs.features[0].load_state_dict(ours.features[0].state_dict())
        for own, other in zip(ours.features[1:], theirs.features[1:], strict=True):
            own.peepholes.zero_()
            inputs = own.gates.in_features - 6
            other.cell.weight_ih_l0.copy_(own.gates.weight[:, :inputs])
            other.cell.weight_hh_l0.copy_(own.gates.weight[:, inputs:])
            other.cell.bias_ih_l0.copy_(own.gates.bias)
            other.cell.bias_hh_l0.zero_()
    # torch orders its gates input, forget, cell, output, as ours
    torch.testing.assert_close(ours(tokens), theirs(tokens))


def test_an_lstm_is_as_in_training_while_the_network_is_evaluated():
    """cuDNN takes no gradients otherwise, and those of records are of evaluated networks (no GPU here to show it)."""
    net = nets.build("char_lstm", (7,), 5, STREAM, embed=3, width=6).eval()
    cells = [part for part in net.modules() if isinstance(part, torch.nn.LSTM)]
    assert len(cells) == 2 and all(cell.training for cell in cells) and not net.training


def test_peepholes_look_at_the_cell():
    net = nets.build("char_lstm", (7,), 5, STREAM, embed=3, width=6, peepholes=True)
    tokens = torch.randint(5, (4, 7))
    before = net(tokens)
    with torch.no_grad():
        net.features[1].peepholes += 1
    assert not torch.allclose(before, net(tokens))


def test_a_start_depends_on_its_stream_alone():
    def start(*stream):
        net = nets.build("digits_cnn", DIGITS, 10, stream)
        return torch.cat([p.flatten() for p in net.parameters()])

    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = start("start", "digits", 0)
    assert torch.equal(torch.rand(1), expected)  # the global generator is as it was
    assert torch.equal(first, start("start", "digits", 0))
    assert not torch.equal(first, start("start", "digits", 1))


@pytest.mark.parametrize("name", ["digits_cnn", "resnet8", "resnet18", "mobilenet_v2", "vgg11"])
def test_group_norm_keeps_rows_apart(name):
    """No running statistics, and a row's output does not depend on its batch."""
    net = nets.build(name, CIFAR, 10, STREAM, norm="group")
    assert not list(net.buffers())
    x = torch.rand(3, *CIFAR)
    torch.testing.assert_close(net(x)[:1], net(x[:1]), rtol=1e-4, atol=1e-5)
    assert list(nets.build(name, CIFAR, 10, STREAM, norm="batch").buffers())


@pytest.mark.parametrize("name", ["logistic", "mlp", "digits_cnn"])
def test_a_projection_head_lies_between_the_features_and_the_last_layer(name):
    """As MOON's published model: linear, ReLU, linear; nothing below it changes, nor does where that starts."""
    plain = nets.build(name, DIGITS, 10, STREAM)
    net = nets.build(name, DIGITS, 10, STREAM, projection=(9, 5))
    x, count = torch.rand(3, *DIGITS), len(plain.features)
    assert torch.equal(net.features[:count](x), plain.features(x))
    first, activation, second = net.features[count:]
    assert isinstance(activation, torch.nn.ReLU) and net.head.in_features == 5
    wanted = second(torch.relu(first(plain.features(x))))
    logits, z = net(x, True)
    assert torch.equal(z, wanted) and torch.equal(logits, net.head(wanted)) and (wanted < 0).any()


MISTAKES = [
    ("lenet", CIFAR, {}, "no network is called 'lenet'; known: logistic"),
    ("cnn", MNIST, {"widht": 2}, "cnn has no parameter 'widht'; known: projection"),
    ("vgg11", MNIST, {}, "needs images of 32 x 32 or more, rows here have shape (1, 28, 28)"),
    ("cnn", (30,), {}, "needs images"),
    ("char_lstm", MNIST, {}, "needs sequences"),
    ("resnet8", CIFAR, {"norm": "layer"}, "norm: found 'layer'; input should be 'group', 'batch'"),
    ("resnet8", CIFAR, {"groups": 3}, "groups: found 3; input should be 1, 2, 4 or 8"),
    ("mlp", MNIST, {"activation": "gelu"}, "activation: found 'gelu'; input should be 'relu'"),
    ("mlp", MNIST, {"hidden": [20, 0]}, "hidden: found [20, 0]; input should be greater than"),
    ("mobilenet_v2", CIFAR, {"width": "wide"}, "width: found 'wide'; input should be a valid num"),
    ("vgg11", CIFAR, {"head": 3}, "head: found 3"),
    ("char_lstm", (80,), {"layers": 0}, "layers: found 0"),
    (
        "char_lstm",
        (80,),
        {"projection": [9]},
        "char_lstm has no parameter 'projection'; known: emb",
    ),
    (
        "cnn",
        MNIST,
        {"projection": 256},
        "projection: found 256; input should be an instance of seq",
    ),
    ("cnn", MNIST, {"projection": [0]}, "projection: found [0]; input should be greater than"),
]


@pytest.mark.parametrize("name, shape, parameters, text", MISTAKES)
def test_a_mistake_gives_one_line(name, shape, parameters, text):
    with pytest.raises(ValueError) as error:
        nets.build(name, shape, 10, STREAM, **parameters)
    assert text in str(error.value) and "\n" not in str(error.value)


def test_checking_imports_no_torch():
    code = "import sys; from fewbits.models import nets; nets.check('cnn', (1, 28, 28)); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
