"""What every compressor must satisfy, tried on whatever compressors there are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import inputs
from hypothesis import given
from hypothesis import strategies as st

from fewbits import registry, rng
from fewbits.compressors.message import Bits, MessageError
from fewbits.compressors.topk import largest

DIMENSIONS = (1, 2, 7, 30, 112, 257)
CASES = [
    pytest.param(plugin(**parameters), d, id=f"{name}-{parameters}-{d}")
    for name, plugin in registry.plugins("compressor").items()
    for d in DIMENSIONS
    for parameters in plugin.examples(d)
]


def fits_the_wire(x: torch.Tensor) -> bool:
    """Whether squares of all entries are normal float32 numbers."""
    low = x[x != 0].abs().min() if (x != 0).any() else 1.0
    return bool(low > 1e-18 and x.abs().max() < 1e15)


@pytest.mark.parametrize("compressor, d", CASES)
def test_batched_form_equals_decoded_bytes(compressor, d):
    """Bit for bit, with the same number of bits, whatever the other rows are."""
    x = torch.from_numpy(np.stack(list(inputs(np.random.default_rng(d), d).values())))
    keys = rng.fold(rng.stream("test", d), np.arange(len(x)))
    batched = compressor.compress(x, (d,), keys)
    for i, (row, expected) in enumerate(zip(x, batched.value, strict=True)):
        if not torch.isfinite(row.to(torch.float32)).all():
            continue  # above the largest number of the wire's format
        message = compressor.encode(row, key=int(keys[i]))
        payload = message.to_bytes()
        read = compressor.from_bytes(payload, (d,))
        assert torch.equal(compressor.decode(read, (d,), x.dtype), expected), i
        assert read.bits == message.bits == bits_of(batched, i)
        assert 8 * len(payload) == message.bits.total
        alone = compressor.compress(row[None], (d,), keys[i : i + 1])
        assert torch.equal(alone.value[0], expected)


def bits_of(batched, i: int) -> Bits:
    """Bits of one message of a batch."""
    b = batched.bits
    return Bits(
        *(v[i].item() if torch.is_tensor(v) else v for v in (b.values, b.indices, b.metadata))
    )


@pytest.mark.parametrize("compressor, d", CASES)
def test_declared_constant_holds(compressor, d):
    """The mean squared error over many streams is within the declared bound, on hard inputs."""
    alpha, omega = compressor.contraction((d,)), compressor.variance((d,))
    if alpha is None and omega is None:
        pytest.skip("declares no constant")
    assert alpha is None or 0 < alpha <= 1
    assert omega is None or omega >= 0
    share = min(1 - alpha if alpha is not None else np.inf, omega if omega is not None else np.inf)
    for name, vector in inputs(np.random.default_rng(d + 1), d).items():
        x = torch.from_numpy(vector)
        if not fits_the_wire(x):
            continue
        keys = rng.fold(rng.stream("constant", name), np.arange(200))
        repeated = x.expand(200, d).contiguous()
        errors = ((compressor.compress(repeated, (d,), keys).value - x) ** 2).sum(dim=-1)
        slack = 5 * errors.std() / 200**0.5 + 1e-12 * (x @ x)
        assert errors.mean() <= share * (x @ x) + slack, name


@pytest.mark.parametrize("compressor, d", CASES)
def test_unbiased_where_it_says_so(compressor, d):
    if compressor.variance((d,)) is None:
        pytest.skip("not of the unbiased class")
    for name, vector in inputs(np.random.default_rng(d + 2), d).items():
        x = torch.from_numpy(vector)
        if not fits_the_wire(x):
            continue
        keys = rng.fold(rng.stream("unbiased", name), np.arange(2000))
        values = compressor.compress(x.expand(2000, d).contiguous(), (d,), keys).value
        off = (values.mean(dim=0) - x).abs()
        # The sample's deviation says nothing of entries that 2000 draws hardly ever hit: a bound for those.
        rare = 20 * (values - x).abs().max() / 2000
        assert (off <= 6 * values.std(dim=0) / 2000**0.5 + rare + 1e-7 * x.abs().max()).all(), name


@pytest.mark.parametrize("compressor, d", CASES)
def test_zero_stays_zero(compressor, d):
    zero = torch.zeros(3, d, dtype=torch.float64)
    keys = rng.fold(rng.stream("zero"), np.arange(3))
    assert torch.equal(compressor.compress(zero, (d,), keys).value, zero)


@pytest.mark.parametrize("compressor, d", CASES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite_is_refused_by_name(compressor, d, bad):
    x = torch.zeros(d, dtype=torch.float64)
    x[-1] = bad
    with pytest.raises(ValueError, match=r"layer3\.weight"):
        compressor.encode(x, "layer3.weight")


@pytest.mark.parametrize("compressor, d", CASES)
def test_numbers_beyond_the_wire_are_sent_or_refused_by_name(compressor, d):
    x = 1e300 * torch.from_numpy(np.random.default_rng(d).uniform(1, 2, d))
    try:
        message = compressor.encode(x, "layer3.weight")
    except ValueError as error:
        assert "layer3.weight" in str(error) and "float32" in str(error)
        return
    back = compressor.decode(compressor.from_bytes(message.to_bytes(), (d,)), (d,), x.dtype)
    assert torch.isfinite(back).all() and (back.abs().max() > 1e290 or not back.any())


def test_topk_by_threshold_keeps_ties_and_counts_them():
    x = torch.tensor([[3.0, -2.0, 2.0, 2.0, 1.0, 0.0], [0.0, 5.0, 0.0, 0.0, 0.0, 0.0]])
    kept = registry.make("compressor", {"name": "topk_ties", "k": 2}).compress(x, (6,))
    assert kept.value.tolist() == [[3, -2, 2, 2, 0, 0], [0, 5, 0, 0, 0, 0]]
    assert kept.bits.values.tolist() == [4 * 32, 32]
    plain = registry.make("compressor", {"name": "topk", "k": 2}).compress(x, (6,))
    assert plain.value.tolist() == [[3, -2, 0, 0, 0, 0], [0, 5, 0, 0, 0, 0]]


@given(data=st.data())
def test_mutated_payloads_decode_or_give_one_clear_error(data):
    case = data.draw(st.sampled_from(CASES))
    compressor, d = case.values
    x = torch.from_numpy(np.random.default_rng(3).standard_normal(d))
    payload = bytearray(compressor.encode(x).to_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        match data.draw(st.sampled_from(["flip", "cut", "grow"])):
            case "flip" if payload:
                bit = data.draw(st.integers(0, 8 * len(payload) - 1))
                payload[bit // 8] ^= 1 << bit % 8
            case "cut" if payload:
                del payload[data.draw(st.integers(0, len(payload) - 1)) :]
            case "grow":
                payload += data.draw(st.binary(min_size=1, max_size=9))
    try:
        decoded = compressor.decode(compressor.from_bytes(bytes(payload), (d,)), (d,), x.dtype)
    except MessageError as error:
        assert str(error) and "\n" not in str(error)
    else:
        assert decoded.shape == (d,) and torch.isfinite(decoded).all()


@given(data=st.binary(max_size=80))
def test_random_bytes_never_crash(data):
    for case in CASES[:6]:
        compressor, d = case.values
        try:
            compressor.from_bytes(data, (d,))
        except MessageError as error:
            assert "\n" not in str(error)


def test_huge_claimed_count_allocates_nothing():
    compressor = registry.make("compressor", {"name": "topk", "k": 3})
    payload = bytes([1 << 5, 1]) + b"\xff\xff\xff\xff\xff\xff\xff\x7f"
    with pytest.raises(MessageError, match="claims"):
        compressor.from_bytes(payload, (30,))


def test_topk_keeps_the_largest_and_lowest_index_of_ties():
    x = torch.tensor([[1.0, -3.0, 3.0, 0.5, 3.0], [2.0, 2.0, 2.0, 2.0, 2.0]])
    assert largest(x, 2).tolist() == [
        [False, True, True, False, False],
        [True, True, False, False, False],
    ]


@given(
    values=st.lists(st.integers(-4, 4), min_size=1, max_size=40),
    k=st.integers(1, 40),
)
def test_topk_equals_a_stable_sort(values, k):
    x = torch.tensor(values, dtype=torch.float64)
    k = min(k, len(values))
    order = np.argsort(-np.abs(values), kind="stable")[:k]
    expected = np.isin(np.arange(len(values)), order)
    assert largest(x, k).numpy().tolist() == expected.tolist()


def test_dense_is_sent_where_it_is_not_longer():
    sparse = registry.make("compressor", {"name": "topk", "k": 2})
    dense = registry.make("compressor", {"name": "topk", "k": 29})
    x = torch.from_numpy(np.random.default_rng(0).standard_normal(30))
    assert sparse.encode(x).bits.indices == 2 * 5
    assert dense.encode(x).bits.indices == 0
    assert dense.encode(x).bits.values == 30 * 32
    assert (dense.compress(x, (30,)).value == 0).sum() == 1


def test_topk_bits_by_hand():
    """d = 112: 7 bits an index, 32 a value; header 2 bytes and 1 of count; padding to whole bytes."""
    bits = registry.make("compressor", {"name": "topk", "k": 3}).encode(torch.randn(112)).bits
    assert (bits.values, bits.indices, bits.metadata) == (96, 21, 24 + 3)
