"""Networks of the replicated papers as plain torch modules, made by name.

    net = build("cnn", shape=(1, 28, 28), classes=10, stream=("start", "mnist", 0))

Every network is a `Classifier`: `net(x) == net.head(net.features(x))`, where `features` gives the
representation that FedDecorr and MOON work on. A network is a function (shape, classes, parameters) in one
of the modules below, entered in NETS; importing them imports no torch. All but those of sequences also take `projection`, the
widths of a projection head (layers.projected).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_type_hints

from pydantic import TypeAdapter, ValidationError

from fewbits import rng
from fewbits.lazy import torch
from fewbits.models.nets import convolutional, dense, mobilenet, recurrent, residual
from fewbits.models.nets.kinds import Width

if TYPE_CHECKING:
    from fewbits.models.nets.layers import Classifier


@dataclass(frozen=True)
class Net:
    """How a network is made, and what rows it takes: "any", "image" of at least `least` pixels a side, or
    "sequence". seconds: about how long a row's gradient takes on one core, for the planner."""

    make: Callable[..., Classifier]
    takes: str = "image"
    least: int = 4
    seconds: float = 1e-5


NETS = {
    "logistic": Net(dense.logistic, "any", seconds=1e-6),
    "mlp": Net(dense.mlp, "any", seconds=2e-6),
    "two_nn": Net(dense.two_nn, "any"),
    "cnn": Net(convolutional.cnn, seconds=1e-3),
    "digits_cnn": Net(convolutional.digits_cnn, least=2, seconds=8e-5),
    "qsfl_cnn": Net(convolutional.qsfl_cnn, seconds=5e-4),
    "all_cnn_c": Net(convolutional.all_cnn_c, least=9, seconds=2e-2),
    "vgg11": Net(convolutional.vgg11, least=32, seconds=2e-2),
    "resnet8": Net(residual.resnet8, seconds=2e-3),
    "resnet20": Net(residual.resnet20, seconds=6e-3),
    "resnet18": Net(residual.resnet18, least=8, seconds=5e-2),
    "mobilenet_v2": Net(mobilenet.mobilenet_v2, least=8, seconds=1e-2),
    "char_lstm": Net(recurrent.char_lstm, "sequence", seconds=5e-3),
}


def build(
    name: str,
    shape: tuple[int, ...],
    classes: int,
    stream: tuple[str | int | float, ...],
    **parameters,
) -> Classifier:
    """The network called `name` for rows of `shape` and so many classes, float32 on the CPU.

    `stream` names the random counter (rng.py) of the starting point; the law is PyTorch's default for each
    layer unless the network's docstring says otherwise. The global generator is as before afterwards.

    Raises ValueError, one line, if `check` finds something wrong.
    """
    reason = check(name, shape, **parameters)
    if reason:
        raise ValueError(reason)
    from fewbits.models.nets.layers import projected

    widths = parameters.pop("projection", ())
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(rng.stream(*stream)))
        net = NETS[name].make(shape, classes, **parameters)
        return projected(net, widths) if widths else net


def check(name: str, shape: tuple[int, ...], **parameters) -> str | None:
    """Why the network cannot be made for rows of this shape, or None. Imports no torch."""
    if name not in NETS:
        return f"no network is called {name!r}; known: {', '.join(NETS)}"
    net = NETS[name]
    known = list(inspect.signature(net.make).parameters)[2:]
    types = get_type_hints(net.make, include_extras=True)
    if net.takes != "sequence":
        known, types = [*known, "projection"], types | {"projection": Sequence[Width]}
    for key, value in parameters.items():
        if key not in known:
            return f"{name} has no parameter {key!r}; known: {', '.join(known)}"
        reason = _misfit(value, types[key])
        if reason:
            return f"{name}: {key}: found {value!r}; {reason}"
    if net.takes == "image" and (len(shape) != 3 or min(shape[1:]) < net.least):
        return f"{name} needs images of {net.least} x {net.least} or more, rows here have shape {shape}"
    if net.takes == "sequence" and len(shape) != 1:
        return f"{name} needs sequences, rows here have shape {shape}"
    return None


def _misfit(value, annotation) -> str | None:
    """Why a value is not of the annotated type, or None."""
    try:
        TypeAdapter(annotation).validate_python(value, strict=True)
    except ValidationError as error:
        return error.errors()[0]["msg"].lower()
    return None
