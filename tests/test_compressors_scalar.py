"""The sparsifiers and scalar quantisers: constants where they are tight, real bytes, hostile payloads, edges."""

from __future__ import annotations

from math import ceil, log2

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fewbits import registry, rng
from fewbits.compressors import dither, elias, packing
from fewbits.compressors.arrays import columns_at_once, norms, peaks
from fewbits.compressors.message import MessageError

FAMILIES = [
    "topk",
    "topk_ties",
    "fixed",
    "identity",
    "subsample",
    "adaptive",
    "bernoulli",
    "dithering",
    "natural",
    "qsgd",
    "randk",
    "rounding",
    "sign",
    "ternary",
    "threshold",
    "topk_quantised",
    "topk_sampled",
    "uniform",
]


def make(name: str, **parameters):
    return registry.make("compressor", {"name": name, **parameters})


def keys(n: int, *names) -> np.ndarray:
    return rng.fold(rng.stream("scalar test", *names), np.arange(n))


def draws(compressor, x: np.ndarray, n: int) -> np.ndarray:
    """C(x) for n keys: (n, d)."""
    rows = torch.from_numpy(np.broadcast_to(x, (n, len(x))).copy())
    return compressor.compress(rows, (len(x),), keys(n, compressor.name)).value.numpy()


def errors(compressor, x: np.ndarray, n: int) -> np.ndarray:
    """|C(x) - x|^2 / |x|^2 for n keys."""
    return ((draws(compressor, x, n) - x) ** 2).sum(axis=1) / (x @ x)


# Constants that some input attains: they are not only bounds, they cannot be improved ----------------------

D = 100
FLAT = np.ones(D)
ONE = np.eye(1, D, 3).ravel()
ENDS = np.zeros(D)
ENDS[[4, 50]] = 1, -1
TERNARY = np.full(D, 1 / (1 + D**0.5))
TERNARY[7] = 1
DISTINCT = 1 + np.linspace(0, 1e-4, D)
TIGHT = [
    ("randk", {"k": 20}, FLAT),
    ("randk", {"k": 20}, ONE),
    ("randk", {"k": 20, "scaled": False}, ONE),
    ("bernoulli", {"p": 0.3}, FLAT),
    ("bernoulli", {"p": 0.3, "unit": "entry"}, ONE),
    ("bernoulli", {"p": 0.3, "scaled": False}, ONE),
    ("adaptive", {}, FLAT),
    ("sign", {}, ONE),
    ("natural", {}, FLAT * 4 / 3),
    ("rounding", {"ratio": 2.0}, FLAT * 1.5),
    ("rounding", {"ratio": 4.0}, FLAT * 2.5),
    ("ternary", {}, TERNARY),
    ("uniform", {"bits": 1}, ENDS),
    ("uniform", {"bits": 3}, ENDS),
    ("topk_sampled", {"k": 20, "least": 30}, DISTINCT),
    ("topk_sampled", {"k": 5, "least": 10}, DISTINCT),
]


@pytest.mark.parametrize("name, parameters, x", TIGHT)
def test_constant_is_attained(name, parameters, x):
    """Within 5 standard errors (two in a million, were the keys not fixed) and a part in a thousand."""
    compressor = make(name, **parameters, wire="float64")
    found = errors(compressor, x, 20_000)
    alpha, omega = compressor.contraction((D,)), compressor.variance((D,))
    declared = omega if alpha is None else 1 - alpha
    assert abs(found.mean() - declared) <= 5 * found.std() / 20_000**0.5 + 1e-3 * declared


@pytest.mark.parametrize("levels", [1, 2, 3, 7, 64, 1000])
@pytest.mark.parametrize("d", [1, 3, 100, 2000])
def test_qsgd_variance_is_that_of_its_levels(levels, d):
    """Second moment by the formula N^2/s^2 sum p (1 - p), and below the declared omega on hard inputs."""
    compressor = make("qsgd", levels=levels)
    for i, x in enumerate([np.ones(d), np.linspace(-1, 2, d), np.eye(1, d)[0] + 0.0123]):
        norm = np.linalg.norm(x)
        share = np.abs(x) / norm * levels % 1
        exact = (norm / levels) ** 2 * (share * (1 - share)).sum() / (x @ x)
        found = errors(compressor, x, 500)
        assert exact <= compressor.variance((d,)) * (1 + 1e-12)
        assert abs(found.mean() - exact) <= 6 * found.std() / 500**0.5 + 1e-6 / levels, i


@pytest.mark.parametrize(
    "kind, bits, d, published",
    [
        ("gauss", 1, 8192, 12.8),
        ("lognormal", 1, 8192, 10.5),
        ("lognormal", 2, 8192, 2.86),
        ("sparse", 1, 8192, 617),
        ("sparse", 1, 131_072, 1354),
    ],
)
def test_error_of_the_uniform_quantiser_without_rotation(kind, bits, d, published):
    """vNMSE as measured for the notes on Konecny et al., section 5: within 25 %, the mean of 20 vectors."""
    found = []
    for seed in range(20):
        random = np.random.default_rng(seed)
        x = random.standard_normal(d)
        if kind == "lognormal":
            x = np.exp(x)  # one-sided: with random signs the error is twenty times that
        if kind == "sparse":
            x *= random.uniform(size=d) < 0.01
        found.append(errors(make("uniform", bits=bits), x, 1)[0])
    assert np.mean(found) == pytest.approx(published, rel=0.25)


def test_rounding_to_powers_of_two_has_less_error_than_random_rounding():
    x = np.random.default_rng(0).standard_normal(4000)
    assert errors(make("rounding"), x, 1)[0] < errors(make("natural"), x, 20).min()


def test_rounding_with_few_exponents_keeps_its_constant():
    """Entries below the lowest power that can be said become 0: the constant accounts for them."""
    for bits, ratio in ((1, 2.0), (2, 1.5), (3, 1.2)):
        compressor = make("rounding", bits=bits, ratio=ratio)
        for low in np.geomspace(1e-4, 1, 60):
            x = np.full(50, low)
            x[0] = 1.0
            assert errors(compressor, x, 1)[0] <= 1 - compressor.contraction((50,)) + 1e-12


def test_threshold_has_no_contraction_and_an_absolute_bound():
    compressor = make("threshold", threshold=0.5)
    assert compressor.contraction((9,)) is None and compressor.variance((9,)) is None
    x = np.random.default_rng(0).standard_normal(300)
    kept = draws(compressor, x, 1)[0]
    assert ((kept != 0) == (np.abs(x) >= 0.5)).all()
    assert ((x - kept) ** 2).sum() < 300 * 0.25


def test_topk_quantised_declares_what_follows_from_its_parts():
    d, k = 1000, 50
    assert make("topk_quantised", k=k).contraction((d,)) == pytest.approx(8 / 9 * k / d)
    assert make("topk_quantised", k=k, values="natural").contraction((d,)) == 7 / 8 * k / d
    coarse = {"k": k, "values": "uniform", "bits": 1}  # omega = 24
    assert make("topk_quantised", **coarse).contraction((d,)) is None
    assert make("topk_quantised", **coarse, shrunk=True).contraction((d,)) == pytest.approx(
        k / d / 25
    )


# Operators by their definition ------------------------------------------------------------------------------


def test_natural_goes_to_the_neighbouring_powers_and_keeps_zero_powers_and_denormals():
    near = np.array([1.0, 3.0, 0.3, -5.0, 0.0])
    values = draws(make("natural"), near, 4000)
    assert [set(column) for column in values.T] == [
        {1.0},
        {2.0, 4.0},
        {0.25, 0.5},
        {-4.0, -8.0},
        {0.0},
    ]
    tiny = np.array([5e-324, 1e-310, -3e-320])
    values = draws(make("natural", wire="float64"), tiny, 4000)
    assert (np.abs(values.mean(axis=0) - tiny) <= 0.05 * np.abs(tiny)).all()
    assert (np.frexp(values)[0] ** 2 == 0.25).all()  # all are powers of two


@given(st.lists(st.floats(-(2.0**99), 2.0**99, width=32), min_size=3, max_size=40))
def test_rounding_is_the_nearest_level(numbers):
    x = np.array(numbers)
    value = draws(make("rounding", ratio=3.0), x, 1)[0]
    levels = 3.0 ** np.arange(-200, 70)
    for entry, got in zip(np.abs(x), np.abs(value), strict=True):
        if entry > 1e-20 * np.abs(x).max() > 0:
            best = levels[np.argmin(np.abs(levels - entry))]
            assert abs(got - entry) <= abs(best - entry) * (1 + 1e-9)


def test_sign_of_zero_is_plus_and_scale_is_the_mean():
    assert draws(make("sign"), np.array([0.0, -3.0, 1.0] * 20), 1)[0][:3] == pytest.approx(
        [4 / 3, -4 / 3, 4 / 3]
    )


def test_ternary_values_and_packing():
    x = np.random.default_rng(0).standard_normal(53)
    values = draws(make("ternary", wire="float64"), x, 50)
    top = np.abs(x).max()
    assert set(np.unique(values)) <= {-top, 0.0, top}
    bits = make("ternary").encode(torch.from_numpy(x)).bits
    assert bits.values == 8 * 11  # five to a byte


def test_randk_and_bernoulli_send_a_key_and_not_indices():
    x = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    for compressor in (make("randk", k=100), make("bernoulli", p=0.1, unit="entry")):
        message = compressor.encode(x, key=2**64 - 3)
        assert message.bits.indices == 0
        assert message.bits.values == 32 * message.count
        assert int(message.sections[0][0]) == 2**64 - 3
        back = compressor.decode(
            compressor.from_bytes(message.to_bytes(), (1000,)), (1000,), x.dtype
        )
        assert (back != 0).sum() == message.count
    few = make("randk", k=2).encode(x)  # two indices are shorter than a key
    assert few.bits.indices == 20


def test_randk_takes_every_set_equally_often():
    """All 10 pairs of 5 entries; chi-square with 9 degrees of freedom, below its 1 - 1e-6 quantile."""
    values = draws(make("randk", k=2), np.ones(5), 20_000) > 0
    codes = values @ (1 << np.arange(5))
    counts = np.unique(codes, return_counts=True)[1]
    assert len(counts) == 10
    assert ((counts - 2000) ** 2 / 2000).sum() < 45


def test_adaptive_draws_in_proportion_to_magnitude():
    x = np.array([0.0, 1.0, -2.0, 0.0, 7.0])
    values = draws(make("adaptive", wire="float64"), x, 20_000)
    assert ((values != 0).sum(axis=1) == 1).all()
    assert np.abs((values != 0).mean(axis=0) - np.abs(x) / 10).max() < 5 * 0.5 / 20_000**0.5


def test_sampled_topk_sends_the_largest_and_never_more_than_k():
    x = np.random.default_rng(1).standard_cauchy(5000)
    order = np.argsort(-np.abs(x))
    for row in draws(make("topk_sampled", k=100), x, 50):
        kept = np.flatnonzero(row)
        assert 1 <= len(kept) <= 100
        assert set(kept) == set(order[: len(kept)])


# Sizes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [1, 2, 3, 4, 7, 8, 15, 16, 255, 256])
def test_levels_cost_their_logarithm(levels):
    d = 1000
    x = torch.randn(d, generator=torch.Generator().manual_seed(1))
    for name in ("qsgd", "dithering"):
        if name == "qsgd" or levels <= 126:
            bits = make(name, levels=levels).encode(x).bits
            assert bits.values == d * (1 + ceil(log2(levels + 1)))


def test_sizes_by_hand():
    """d = 1000, header 2 + 2 bytes, scales of 32 bits where there are some."""
    x = torch.randn(1000, generator=torch.Generator().manual_seed(1))

    def total(name, **parameters):
        return make(name, **parameters).encode(x).bits.total

    assert total("sign") == 32 + 32 + 1000
    assert total("natural") == total("rounding") == 32 + 16 + 9000
    assert total("uniform", bits=4) == 32 + 64 + 4000
    assert total("ternary") == 32 + 32 + 1600
    assert total("qsgd", levels=7, bucket=100) == 32 + 320 + 4000
    assert total("adaptive") == 24 + 32 + 16
    assert total("topk_quantised", k=50) == 24 + 504 + 16 + 456  # 500 and 450, in whole bytes
    sends, nothing = make("bernoulli", p=1.0), make("bernoulli", p=1e-9)
    assert sends.encode(x).bits.total == 32 + 32_000
    assert nothing.encode(x).bits.total == 24


def test_elias_code_is_short_where_levels_are_few_and_the_same_operator():
    x = torch.randn(40_000, generator=torch.Generator().manual_seed(2))
    dense, sparse = make("qsgd", levels=1), make("qsgd", levels=1, code="elias")
    a, b = dense.encode(x, key=5), sparse.encode(x, key=5)
    assert torch.equal(dense.decode(a, x.shape, x.dtype), sparse.decode(b, x.shape, x.dtype))
    assert b.bits.total < 0.1 * a.bits.total
    read = sparse.from_bytes(b.to_bytes(), x.shape)
    assert torch.equal(sparse.decode(read, x.shape, x.dtype), dense.decode(a, x.shape, x.dtype))
    many = make("qsgd", levels=1000, code="elias").encode(x[:100])
    assert many.form < 2  # the dense code is shorter


@given(st.lists(st.integers(1, 2**40), max_size=50))
def test_elias_streams_have_the_length_of_the_gamma_code(numbers):
    n = np.array(numbers, np.int64)
    unary, rest = elias.encode(n)
    assert len(unary) + len(rest) == sum(2 * (i.bit_length() - 1) + 1 for i in numbers)
    assert elias.decode(unary, rest, len(n)).tolist() == numbers


# Parts -----------------------------------------------------------------------------------------------------


@given(st.integers(1, 64), st.integers(0, 300), st.integers(0, 2**32))
def test_packing_gives_the_bytes_of_the_wire_format(width, count, seed):
    codes = np.random.default_rng(seed).integers(0, 2**width, count, dtype=np.uint64)
    data = packing.pack(codes, width)
    bits = codes[:, None] >> np.arange(width, dtype=np.uint64) & np.uint64(1)
    assert data == np.packbits(bits.astype(np.uint8), bitorder="little").tobytes()
    assert (packing.unpack(data, width, count) == codes).all()


@pytest.mark.parametrize("width", [2, 3, 4, 5, 6, 7, 9, 12])
def test_packing_of_several_blocks(width):
    count = 2 * packing.BLOCK + 77
    codes = np.random.default_rng(width).integers(0, 2**width, count, dtype=np.uint16)
    data = packing.pack(codes, width)
    bits = codes[:, None] >> np.arange(width, dtype=np.uint16) & np.uint16(1)
    assert data == np.packbits(bits.astype(np.uint8), bitorder="little").tobytes()
    assert (packing.unpack(data, width, count) == codes).all()


def test_unpacking_refuses_what_is_not_packed():
    with pytest.raises(ValueError, match="hold"):
        packing.unpack(b"abcd", 4, 5)
    with pytest.raises(ValueError, match="padding"):
        packing.unpack(b"\xff", 3, 2)


@pytest.mark.parametrize("wire", ["float32", "float64"])
@pytest.mark.parametrize("scale", [1.0, 1e-30])
def test_norms_of_buckets_are_those_of_the_paper_and_no_entry_is_above_one(wire, scale):
    """Of a bucket with one entry that is not zero the norm is that entry, to the last digit."""
    g = np.random.default_rng(0)
    x = scale * g.standard_normal((2000, 8)) * np.array([1, 0, 0, 0, 0, 0, 0, 0])
    x[1000:] = scale * g.standard_normal((1000, 8))
    x = np.append(x.astype(wire).reshape(-1), scale)  # and a shorter bucket
    q = registry.make("compressor", {"name": "qsgd", "levels": 3, "bucket": 8, "wire": wire})
    sent = q.encode(torch.from_numpy(x.astype(wire))).sections[0]
    largest = np.abs(np.append(x, np.zeros(7)).reshape(-1, 8)).max(axis=1)
    exact = np.sqrt((np.append(x, np.zeros(7)).reshape(-1, 8) ** 2).sum(axis=1))
    np.testing.assert_array_equal(sent[:1000], largest[:1000].astype(wire))
    assert (sent >= largest.astype(wire)).all()
    np.testing.assert_allclose(sent, exact, rtol=1e-6)


def test_noise_is_that_of_the_project_and_does_not_depend_on_blocks():
    seeds = keys(3, "noise")
    d = 2 * columns_at_once(3, 10**9) + 5
    found = np.concatenate([random.copy() for _, random in dither.noise(seeds, d)], axis=1)
    expected = rng.integers(seeds, (d + 1) // 2).view("<u4")[:, :d]
    assert (found == expected).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("top", [1, 3, 7, 300, dither.MAX_TOP])
def test_random_rounding_is_unbiased_exactly(dtype, top):
    """Over 2^16 evenly spaced random numbers the mean is the share itself, to the resolution of the test."""
    random = (np.arange(2**16, dtype=np.uint64) << np.uint64(16)).astype(np.uint32)[None]
    for share in (0.0, 1.0, 0.5, 1 / 3, 0.123456, 1e-4, 1 / top):
        share = dtype(share)
        got = dither.Rounder(top, dtype)(np.full((1, 2**16), share), random.copy())
        exact = float(share) * top
        if dtype == np.float64:
            assert np.floor(exact) <= got.min() <= got.max() <= np.ceil(exact)
        slack = 2.0**-15 + top * 2.0 ** (-24 if dtype == np.float32 else -50)
        assert abs(got.mean() - exact) <= slack


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_norms_neither_overflow_nor_underflow(dtype):
    info = np.finfo(dtype)
    x = np.random.default_rng(0).standard_normal((1, 100_000)).astype(dtype)
    for scale in (1, info.max / 1e4, info.tiny * 10, info.smallest_subnormal * 1e3):
        rows = (x * dtype(scale)).astype(dtype)
        peak = peaks(rows)
        exact = np.linalg.norm(rows[0].astype(np.longdouble))
        assert norms(rows, peak, 2)[0] == pytest.approx(float(exact), rel=1e-6)
        assert norms(rows, peak, 1)[0] == pytest.approx(
            float(np.abs(rows[0].astype(np.longdouble)).sum()), rel=1e-6
        )


# Edges and hostile payloads, for all families ----------------------------------------------------------------

CASES = [
    pytest.param(name, parameters, id=f"{name}-{parameters}")
    for name in FAMILIES
    for parameters in registry.plugins("compressor")[name].examples(120)
]


@pytest.mark.parametrize("name, parameters", CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_any_layout_and_dtype(name, parameters, dtype):
    """A matrix, not contiguous, equals its contiguous copy; the batched form equals the bytes in every dtype."""
    compressor = make(name, **parameters)
    x = torch.randn(12, 10, generator=torch.Generator().manual_seed(3)).to(dtype).T
    assert not x.is_contiguous()
    message = compressor.encode(x, key=9)
    assert message.to_bytes() == compressor.encode(x.contiguous(), key=9).to_bytes()
    value = compressor.decode(compressor.from_bytes(message.to_bytes(), x.shape), x.shape, x.dtype)
    assert value.dtype == dtype and value.shape == x.shape
    batched = compressor.compress(x[None], x.shape, np.array([9], np.uint64))
    assert torch.equal(batched.value[0], value)


@pytest.mark.parametrize("name, parameters", CASES)
@pytest.mark.parametrize("scale", [1e-40, 1e-44, 1e37])
def test_ends_of_float32(name, parameters, scale):
    """Denormals and huge entries are decoded to finite numbers, or refused by name."""
    compressor = make(name, **parameters)
    x = torch.rand(120, generator=torch.Generator().manual_seed(4)) * scale
    try:
        message = compressor.encode(x, "layer")
    except ValueError as error:
        assert scale > 1 and "layer" in str(error)
    else:
        value = compressor.decode(
            compressor.from_bytes(message.to_bytes(), (120,)), (120,), x.dtype
        )
        assert torch.isfinite(value).all()


@pytest.mark.parametrize("name, parameters", CASES)
def test_bad_rows_leave_the_others_alone(name, parameters):
    compressor = make(name, **parameters)
    x = torch.randn(4, 120, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    good = compressor.compress(x, (120,), keys(4)).value
    x[1, 5], x[2, 0] = torch.nan, torch.inf
    value = compressor.compress(x, (120,), keys(4)).value
    assert torch.equal(value[[0, 3]], good[[0, 3]])
    assert not torch.isfinite(value[1:3]).all(dim=1).any()


@pytest.mark.parametrize("name, parameters", CASES)
def test_batches_are_shaped_and_need_no_keys(name, parameters):
    compressor = make(name, **parameters)
    x = torch.randn(2, 3, 12, 10, generator=torch.Generator().manual_seed(6))
    found = compressor.compress(x, (12, 10))
    assert found.value.shape == x.shape
    for part in (found.bits.values, found.bits.indices, found.bits.metadata):
        assert not torch.is_tensor(part) or part.shape == (2, 3)


@pytest.mark.parametrize("name, parameters", CASES)
def test_mutated_payloads(name, parameters):
    """400 payloads with a few bits, a cut or a tail wrong: a decoded tensor of finite numbers or one line."""
    compressor = make(name, **parameters)
    random = np.random.default_rng(7)
    for trial in range(400):
        x = torch.from_numpy(random.standard_normal(120) * (random.uniform(size=120) < 0.5))
        payload = bytearray(compressor.encode(x, key=trial).to_bytes())
        for _ in range(random.integers(1, 5)):
            at = (
                random.integers(0, 8 * len(payload))
                if random.uniform() < 0.5
                else random.integers(64)
            )
            if payload:
                payload[at // 8 % len(payload)] ^= 1 << at % 8
        if random.uniform() < 0.1:
            del payload[random.integers(0, len(payload)) :]
        if random.uniform() < 0.1:
            payload += random.bytes(3)
        for dtype in (torch.float32, torch.float64):
            try:
                read = compressor.from_bytes(bytes(payload), (120,))
                value = compressor.decode(read, (120,), dtype)
            except MessageError as error:
                assert str(error) and "\n" not in str(error)
            else:
                assert value.shape == (120,) and torch.isfinite(value).all()


def test_own_codec_numbers():
    codecs = [plugin.codec for plugin in registry.plugins("compressor").values()]
    assert len(set(codecs)) == len(codecs) and all(0 <= codec < 110 for codec in codecs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_topk_of_many_is_the_topk_of_few(dtype):
    """Long rows take another way: same places, ties included, in `compress` and in bytes; bad rows do not matter."""
    d = 40_000
    g = np.random.default_rng(3)
    rows = np.stack([g.standard_normal(d), g.integers(-5, 6, d), g.standard_cauchy(d), np.ones(d)])
    x = torch.from_numpy(rows).to(dtype)
    bad = torch.cat([x, x[:1].clone()])
    bad[-1, 7] = torch.nan
    for k in (1, 400, 15_000, d - 1):
        compressor = make("topk", k=k)
        value = compressor.compress(bad, (d,)).value
        order = np.argsort(-np.abs(rows.astype(dtype_of(dtype))), axis=1, kind="stable")[:, :k]
        for i, row in enumerate(x):
            assert set(np.flatnonzero(value[i].numpy())) <= set(order[i].tolist())
            sparse = compressor.encode(row)
            assert torch.equal(compressor.decode(sparse, (d,), dtype), value[i])
        assert (value[3] != 0).sum() == k and not torch.isfinite(value[-1]).any()


def dtype_of(dtype):
    return np.float32 if dtype == torch.float32 else np.float64
