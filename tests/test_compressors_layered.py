"""Networks as one vector with a layout: real bytes of a whole update, bits, constants, names in errors."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
import torch

from fewbits import registry, rng
from fewbits.compressors.identity import Identity
from fewbits.compressors.layered import layered
from fewbits.compressors.message import Bits, MessageError

LAYERS = (
    ("conv1.weight", (8, 3, 3, 3)),
    ("conv1.bias", (8,)),
    ("norm.weight", (8,)),
    ("fc1.weight", (20, 32)),
    ("fc1.bias", (20,)),
    ("fc2.weight", (10, 20)),
    ("scale", ()),
)
D = sum(prod(shape) for _, shape in LAYERS)
BLOCKS = [
    pytest.param({"name": name, **plugin.examples(30)[-1]}, id=name)
    for name, plugin in registry.plugins("compressor").items()
]


def vectors(n: int, dtype=torch.float64) -> torch.Tensor:
    """Gradient-like rows: layers of very different scale, one of them zero in the last row."""
    g = np.random.default_rng(1)
    scale = np.concatenate([np.full(prod(s), 10.0 ** (i - 3)) for i, (_, s) in enumerate(LAYERS)])
    x = g.standard_normal((n, D)) * scale
    x[-1, :216] = 0
    return torch.from_numpy(x).to(dtype)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize(
    "options", [{}, {"small": 21}, {"per": "whole"}, {"per": "whole", "small": 9}], ids=str
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_batched_equals_the_bytes_of_the_update(block, options, dtype):
    """Values bit for bit and bits by kind, alone or in company, for every family."""
    compressor = layered(block, LAYERS, **options)
    x = vectors(6, dtype).reshape(2, 3, D)
    keys = rng.fold(rng.stream("layers"), np.arange(6)).reshape(2, 3)
    batched = compressor.compress(x, (D,), keys)
    assert batched.value.dtype == dtype and batched.value.shape == x.shape
    for i in (0, 4, 5):
        row, key = x.reshape(-1, D)[i], keys.reshape(-1)[i]
        message = compressor.encode(row, key=int(key))
        payload = message.to_bytes()
        read = compressor.from_bytes(payload, (D,))
        assert torch.equal(compressor.decode(read, (D,), dtype), batched.value.reshape(-1, D)[i])
        assert read.bits == message.bits == bits_of(batched.bits, i)
        assert 8 * len(payload) == message.bits.total
        alone = compressor.compress(row[None], (D,), keys.reshape(-1)[i : i + 1])
        assert torch.equal(alone.value[0], batched.value.reshape(-1, D)[i])
    said = compressor.payload((D,))
    assert said is None or said == bits_of(batched.bits, 0)


def bits_of(bits: Bits, i: int) -> Bits:
    parts = (bits.values, bits.indices, bits.metadata)
    return Bits(*(p.reshape(-1)[i].item() if torch.is_tensor(p) else p for p in parts))


def test_senders_keep_something_of_every_layer():
    """As each layer's compressor alone would; the bytes of a sender with a past are those of the batched form."""
    block = {"name": "powersgd", "rank": 2, "start": "warm"}
    compressor, x = layered(block, LAYERS, small=21), vectors(4).reshape(2, 2, D)
    keys = rng.fold(rng.stream("past"), np.arange(4)).reshape(2, 2)
    width = compressor.keeps((D,))
    assert width == sum(part.compressor.keeps(part.shape) for part in compressor.parts) > 0
    first, kept = compressor.compress_on(x, (D,), x.new_zeros(2, 2, width), keys)
    assert torch.equal(first.value, compressor.compress(x, (D,), keys).value)
    second, now = compressor.compress_on(x, (D,), kept, keys)
    message, held = compressor.encode_on(x[1, 0], kept[1, 0], key=int(keys[1, 0]))
    read = compressor.from_bytes(message.to_bytes(), (D,))
    assert torch.equal(compressor.decode(read, (D,), x.dtype), second.value[1, 0])
    assert torch.equal(held, now[1, 0])
    errors = [squared(sent.value - x) for sent in (first, second)]
    assert errors[1] < errors[0]
    fc1, key = x[..., 232:872].reshape(2, 2, 20, 32), rng.fold(keys, 3)
    own = registry.make("compressor", block)
    alone = own.compress_on(fc1, (20, 32), kept[..., 54 : 54 + 64], key)[0].value
    assert torch.equal(alone.flatten(2), second.value[..., 232:872])


def squared(x: torch.Tensor) -> float:
    return float((x * x).sum())


def test_layers_are_what_the_compressor_alone_makes_of_them():
    block, x = {"name": "topk", "k": 3}, vectors(2)
    value = layered(block, LAYERS).compress(x, (D,)).value
    start = 0
    for _, shape in LAYERS:
        own = slice(start, start + prod(shape))
        alone = (
            registry.make("compressor", block).compress(x[:, own].reshape(2, *shape), shape).value
        )
        assert torch.equal(value[:, own], alone.reshape(2, -1))
        start = own.stop
    whole = layered(block, LAYERS, per="whole").compress(x, (D,)).value
    assert (whole != 0).sum(dim=1).tolist() == [3, 3]


def test_small_layers_are_dense_in_one_message_and_counted():
    x = vectors(1)
    compressor = layered({"name": "topk", "k": 3}, LAYERS, small=21)
    value = compressor.compress(x, (D,)).value
    few = 8 + 8 + 20 + 1
    assert torch.equal(value[:, 216:232], x[:, 216:232].float().double())
    message = compressor.encode(x[0])
    assert len(message.inner) == 4 and message.inner[-1].count == few
    dense = Identity().payload((few,))
    parts = [
        registry.make("compressor", {"name": "topk", "k": 3}).payload((d,)) for d in (216, 640, 200)
    ]
    assert message.bits.total == dense.total + sum(p.total for p in parts) + 24
    everything = layered({"name": "topk", "k": 3}, LAYERS, small=10**6)
    assert torch.equal(everything.compress(x, (D,)).value, x.float().double())


def test_streams_of_layers_differ_and_do_not_depend_on_other_layers():
    block = {"name": "randk", "k": 10}
    two = (("a", (50,)), ("b", (50,)))
    x, keys = torch.ones(1, 100), rng.fold(rng.stream("s"), np.arange(1))
    first, second = layered(block, two).compress(x, (100,), keys).value.reshape(2, 50)
    assert not torch.equal(first, second)
    three = (*two, ("c", (7,)))
    more = layered(block, three).compress(torch.ones(1, 107), (107,), keys).value
    assert torch.equal(more[0, :100], torch.cat([first, second]))


@pytest.mark.parametrize(
    "block", [{"name": "topk", "k": 5}, {"name": "st_hosvd", "rank": 2}, {"name": "sign"}], ids=str
)
@pytest.mark.parametrize("per", ["layer", "whole"])
def test_contraction_is_the_least_and_holds(block, per):
    compressor = layered(block, LAYERS, per=per, small=9)
    alpha = compressor.contraction((D,))
    own = registry.make("compressor", block)
    if per == "layer":
        assert alpha == min(own.contraction(s) for _, s in LAYERS if prod(s) >= 9)
    x = vectors(5)
    error = ((compressor.compress(x, (D,)).value - x) ** 2).sum(dim=1)
    assert (error <= (1 - alpha) * (x * x).sum(dim=1) * (1 + 1e-6)).all()


def test_variance_is_the_largest_and_none_where_one_has_none():
    compressor = layered({"name": "qsgd", "levels": 3}, LAYERS)
    qsgd = registry.make("compressor", {"name": "qsgd", "levels": 3})
    assert compressor.variance((D,)) == max(qsgd.variance(s) for _, s in LAYERS)
    assert compressor.contraction((D,)) is None
    assert layered({"name": "hosvd", "rank": 1}, LAYERS, small=300).contraction((D,)) is None
    assert layered({"name": "topk", "k": 1}, LAYERS).variance((D,)) is None


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("options", [{}, {"small": 21}, {"per": "whole"}])
def test_errors_name_the_layer(bad, options):
    compressor = layered({"name": "st_hosvd", "rank": 1}, LAYERS, **options)
    x = vectors(3)
    x[1, 230] = bad
    with pytest.raises(ValueError, match=r"client 3, layer norm\.weight: NaN or infinity"):
        compressor.encode(x[1], "client 3")
    value = compressor.compress(x, (D,)).value
    assert torch.isnan(value[1]).all() and torch.isfinite(value[[0, 2]]).all()


@pytest.mark.parametrize("block", BLOCKS)
def test_damaged_updates_give_one_clear_error(block):
    compressor = layered(block, LAYERS, small=9)
    payload = compressor.encode(vectors(1)[0], key=3).to_bytes()
    g = np.random.default_rng(2)
    for _ in range(60):
        damaged = bytearray(payload)
        for _ in range(int(g.integers(1, 4))):
            damaged[g.integers(len(damaged))] ^= 1 << int(g.integers(8))
        damaged = damaged[: g.integers(len(damaged))] if g.uniform() < 0.2 else damaged
        try:
            got = compressor.decode(
                compressor.from_bytes(bytes(damaged), (D,)), (D,), torch.float64
            )
        except MessageError as error:
            assert str(error) and "\n" not in str(error)
        else:
            assert got.shape == (D,) and torch.isfinite(got).all()
    with pytest.raises(MessageError, match=r"layer conv1\.weight"):
        compressor.from_bytes(payload[:3] + b"\xff" * 40, (D,))
    with pytest.raises(MessageError, match="take"):
        compressor.from_bytes(payload + b"\0", (D,))


def test_a_budget_for_each_layer_or_one_for_all():
    total = 32 * D
    each = layered({"name": "topk", "budget": 0.2}, LAYERS, small=21)
    assert 0.97 < each.achieved <= 1 and layered({"name": "topk", "k": 2}, LAYERS).achieved is None
    for part in each.parts[:-1]:
        assert part.compressor.payload(part.shape).total <= 0.2 * 32 * prod(part.shape)
    block = {"name": "topk", "budget": {"share": 0.2, "over": "all"}}
    shared = layered(block, LAYERS, small=21)
    x = vectors(1)[0]
    assert shared.achieved == 8 * len(shared.encode(x).to_bytes()) / (0.2 * total)
    assert 0.97 * 0.2 * total <= 8 * len(shared.encode(x).to_bytes()) <= 0.2 * total
    impossible = layered(block | {"budget": {"share": 1e-6, "over": "all"}}, LAYERS, small=21)
    assert [part.compressor.k for part in impossible.parts[:-1]] == [1, 1, 1]


def test_a_vector_of_another_length_is_refused():
    compressor = layered({"name": "topk", "k": 3}, LAYERS)
    with pytest.raises(ValueError, match=f"expected a vector of {D} numbers"):
        compressor.compress(torch.zeros(1, 7), (7,))
    with pytest.raises(ValueError, match="layer, whole"):
        layered({"name": "topk", "k": 3}, LAYERS, per="block")
