"""A device that is none, for machines without a GPU: its tensors are the processor's in a wrapper.

torch takes them for tensors of another device. What mixes them with the processor's, or asks NumPy for them, fails as it would with
a GPU's; what stays on the device gives the processor's numbers.
"""

from __future__ import annotations

import torch
from torch.utils._pytree import tree_map_only
from torch.utils.backend_registration import (
    _DummyBackendModule,
    _setup_privateuseone_for_python_backend,
)

NAME = "stand_in"
aten = torch.ops.aten
# Operators that take tensors of the processor beside those of a device: copies, and numbers of rows.
MIXED = {
    aten._copy_from.default, aten.copy_.default, aten._to_copy.default, aten.index.Tensor,
    aten.index_put_.default, aten._index_put_impl_.default, aten.index_put.default,
}  # fmt: skip


class StandIn(torch.Tensor):
    """The tensor `own` of the processor, as one of the device."""

    @staticmethod
    def __new__(cls, own: torch.Tensor):
        facts = {"dtype": own.dtype, "strides": own.stride()}
        facts["storage_offset"] = own.storage_offset()
        return torch.Tensor._make_wrapper_subclass(cls, own.shape, device=f"{NAME}:0", **facts)

    def __init__(self, own: torch.Tensor) -> None:
        self.own = own

    @classmethod
    def __torch_dispatch__(cls, op, types, args=(), kwargs=None):
        return run(op, *args, **(kwargs or {}))


def run(op, *args, **kwargs):
    """The operator on what the wrappers hold; results are wrapped where it runs on the device."""
    wrappers: dict[int, StandIn] = {}

    def unwrapped(x: torch.Tensor) -> torch.Tensor:
        if isinstance(x, StandIn):
            wrappers[id(x.own)] = x
            return x.own
        if x.dim() and op not in MIXED:
            raise RuntimeError(
                f"{op}: found a tensor {tuple(x.shape)} of the processor among those of {NAME}"
            )
        return x

    def wrapped(x: torch.Tensor) -> StandIn:
        """In place, the wrapper that was given."""
        return wrappers[id(x)] if id(x) in wrappers else StandIn(x)

    wanted = kwargs.get("device")
    here = wanted is None or torch.device(wanted).type == NAME
    if wanted is not None:
        kwargs = kwargs | {"device": torch.device("cpu")}
    args, kwargs = tree_map_only(torch.Tensor, unwrapped, (args, kwargs))
    found = OTHERS.get(op, op)(*args, **kwargs)
    if op is aten._copy_from.default:
        return None
    if not here:
        return found
    return tree_map_only(torch.Tensor, wrapped, found)


def _copy_from(source, target, non_blocking=False):
    return target.copy_(source)


def _convolution_backward(grad, x, w, stride, padding, dilation, transposed, pad, groups, mask):
    of = None, stride, padding, dilation, transposed, pad, groups, mask
    return aten.convolution_backward(grad, x, w, *of)


OTHERS = {
    aten._copy_from.default: _copy_from,
    aten.convolution_overrideable.default: aten.convolution.default,
    aten.convolution_backward_overrideable.default: _convolution_backward,
}


class Module(_DummyBackendModule):
    """torch.stand_in; it counts no devices, so that nothing else in the process looks for their random states."""

    def device_count(self) -> int:
        return 0


_setup_privateuseone_for_python_backend(NAME, backend_module=Module())
_fallback = torch.library.Library("_", "IMPL")
_fallback.fallback(run, "PrivateUse1")
