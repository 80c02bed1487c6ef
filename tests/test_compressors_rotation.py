"""Rotations, what is quantised after them, sketches and large selections: beyond test_compressors.py."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from helpers import inputs
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, special, stats

from fewbits import registry, rng
from fewbits.compressors import eden, hadamard, lloyd_max, select, subsample, walsh
from fewbits.compressors.message import MessageError

LARGEST = hadamard.LARGEST_BLOCK


def make(name: str, **parameters):
    return registry.make("compressor", {"name": name, **parameters})


def errors(compressor, x: torch.Tensor, keys: int, name: str = "errors") -> torch.Tensor:
    """|C(x) - x|^2 / |x|^2 for many streams."""
    streams = rng.fold(rng.stream(name), np.arange(keys))
    rows = x.expand(keys, len(x)).contiguous()
    values = compressor.compress(rows, tuple(x.shape), streams).value
    return ((values - x) ** 2).sum(dim=1) / (x @ x)


# The transform


@pytest.mark.parametrize("size", [1, 2, 8, 32, 128, 1024])
@pytest.mark.parametrize("width", [1, 3, 40])
@pytest.mark.parametrize("by_products", [False, True])
def test_transform_is_the_hadamard_matrix(size, width, by_products):
    x = torch.from_numpy(np.random.default_rng(size).standard_normal((size, width)))
    expected = scipy.linalg.hadamard(size) @ x.numpy()
    found, free = walsh.transform(x.clone(), torch.empty_like(x), by_products)
    assert found is not free
    np.testing.assert_allclose(found, expected, atol=1e-12 * size)


@given(d=st.integers(1, 10**7), log=st.integers(0, 17))
def test_pieces_cover_every_entry_with_little_padding(d, log):
    block, cut = 1 << log, hadamard.pieces(d, 1 << log)
    assert [p.start for p in cut] == np.cumsum([0] + [p.length for p in cut[:-1]]).tolist()
    assert sum(p.length for p in cut) == d
    assert sum(p.entries for p in cut) == hadamard.padded(d, block) <= 1.25 * d + 63
    assert all(p.size & (p.size - 1) == 0 and p.size <= block for p in cut)


def test_a_convolution_kernel_needs_no_padding():
    """3 x 3 x 96 x 96 numbers; a power of two for all would add 58 %."""
    assert [p.size for p in hadamard.pieces(82944, LARGEST)] == [65536, 16384, 1024]


@pytest.mark.parametrize("d, block", [(1, 8), (100, 16), (5000, 4096), (300_000, 1024)])
def test_rotation_keeps_norms_and_turns_back(d, block):
    x = torch.from_numpy(np.random.default_rng(d).standard_normal((2, d)))
    seeds = np.array([3, 4], np.uint64)
    y = hadamard.rotate(x, seeds, block)
    assert y.shape[1] == hadamard.padded(d, block)
    torch.testing.assert_close(y.norm(dim=1), x.norm(dim=1))
    torch.testing.assert_close(hadamard.rotate_back(y, seeds, d, block), x)
    alone = hadamard.rotate(x[1:], seeds[1:], block)
    assert torch.equal(alone[0], y[1])


# The table of centroids


def derive(bits: int) -> np.ndarray:
    """Positive centroids: Newton's method on "centroid = mean of its cell", SciPy and Gauss-Legendre."""
    nodes, weights = np.polynomial.legendre.leggauss(40)

    def excess(c):
        edges = np.append(0, (c[1:] + c[:-1]) / 2)
        half = np.diff(edges)[:, None] / 2
        t = edges[:-1, None] + half * (1 + nodes)
        density = np.exp(-t * t / 2) * weights
        last = np.sqrt(2 / np.pi) / special.erfcx(edges[-1] / np.sqrt(2))
        return np.append((density * t).sum(axis=1) / density.sum(axis=1), last) - c

    half = 2 ** (bits - 1)
    start = np.sqrt(3) * stats.norm.ppf(0.5 + (np.arange(half) + 0.5) / (2 * half))
    found = optimize.root(excess, start, tol=1e-15)
    assert np.abs(excess(found.x)).max() < 1e-13
    return found.x


@pytest.mark.parametrize("bits", range(1, 9))
def test_centroids_can_be_derived_again(bits):
    np.testing.assert_allclose(lloyd_max.positive(bits), derive(bits), atol=1e-10)


@pytest.mark.parametrize(
    "bits, distortion", [(1, 0.3634), (2, 0.1175), (3, 0.03454), (4, 0.009497)]
)
def test_distortion_of_the_table(bits, distortion):
    """Max 1960, table I; for 1 bit 1 - 2/pi."""
    c, edges = lloyd_max.positive(bits), np.append(lloyd_max.thresholds(bits), np.inf)
    mass = 2 * np.diff(np.append(0.5, stats.norm.cdf(edges)))
    assert 1 - (mass * c**2).sum() == pytest.approx(distortion, rel=5e-4)


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nearest_is_the_nearest(bits, dtype):
    """But for numbers so near to a threshold that their squares may be rounded to its own."""
    edges = lloyd_max.thresholds(bits)
    around = [edges * (1 - 4 * np.finfo(dtype).eps), edges * (1 + 4 * np.finfo(dtype).eps)]
    many = np.abs(np.random.default_rng(bits).standard_normal(20000))
    z = np.concatenate([*around, many, [0, 7, 300]]).astype(dtype)[:, None]
    expected = (z > edges).sum(axis=1)
    assert lloyd_max.nearest(z**2, bits, hadamard.Scratch())[:, 0].tolist() == expected.tolist()


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("count", [1, 6, 4096])
def test_codes_mean_centroids(bits, dtype, count):
    codes = np.random.default_rng(count).integers(0, 2**bits, count).astype(np.uint8)
    found = torch.empty(1, count, dtype=dtype)
    lloyd_max.look_up(codes, bits, found, hadamard.Scratch())
    expected = torch.from_numpy(lloyd_max.centroids(bits)[codes]).to(dtype)
    assert torch.equal(found[0], expected)


# DRIVE and EDEN


@pytest.mark.parametrize("bits", range(1, 9))
def test_bounds_of_eden_follow_from_khintchine(bits):
    """A polynomial above the quantiser's error, with coefficients of the right signs, bounds its mean.

    For z = sum +-a_j with |a| = 1: E z^2 = 1, E|z| >= 1/sqrt(2), E z^2k <= (2k-1)!!.
    """
    c, declared = lloyd_max.positive(bits), eden.WORST[bits - 1]
    if bits == 1:  # sharper, for the best multiple of the sign: 1 - (E|z|)^2
        assert declared == 0.5
        return

    def powers(z):
        even = [z ** (2 * k) / special.factorial2(2 * k - 1) for k in range(2, 7)]
        return np.stack([np.ones_like(z), z**2, z, *even], axis=1)

    def error(z):
        return ((z[:, None] - c) ** 2).min(axis=1)

    z = np.append(np.linspace(0, 12, 8001), lloyd_max.thresholds(bits))
    unit = (
        c[0] ** 2
    )  # the error at 0; rows are scaled to be of one size, for the solver's tolerance
    scale = np.maximum(error(z), unit)
    limits = [(None, None), (None, None), (None, 0)] + [(0, None)] * 5
    means = [1, 1, 2**-0.5] + [1] * 5
    solved = optimize.linprog(
        means,
        -powers(z) * unit / scale[:, None],
        -error(z) / scale,
        bounds=limits,
        options={"primal_feasibility_tolerance": 1e-10},
    )
    coefficients = solved.x * unit
    slack = declared - unit * solved.fun
    assert 0 < slack < 0.05 * declared
    fine = np.linspace(0, 12, 300_007)
    # raised by the slack the polynomial is above everywhere, and its mean is the declared bound
    assert (powers(fine) @ coefficients + slack >= error(fine)).all()
    assert (powers(np.array([12.0])) @ coefficients)[0] > 12**2  # and above z^2 from there on


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("scale", ["mse", "norm"])
@pytest.mark.parametrize("block", [2, 8, 4096])
def test_eden_is_contractive_on_hard_inputs(bits, scale, block):
    """Few equal entries are the worst: their sums take few values."""
    compressor = make("eden", bits=bits, scale=scale, block=block, wire="float64")
    vectors = [np.r_[np.ones(n), np.zeros(64 - n)] for n in (1, 2, 3, 4, 7, 14, 64)]
    for vector in [*vectors, *inputs(np.random.default_rng(0), 64).values()]:
        x = torch.from_numpy(vector)
        if x.abs().max() < 1e-30:
            continue
        found = errors(compressor, x, 200)
        alpha = compressor.contraction((64,))
        assert found.mean() <= 1 - alpha + 5 * found.std() / 200**0.5 + 1e-12


def test_half_is_tight_for_drive():
    found = errors(make("drive", scale="mse", block=2), torch.ones(4, dtype=torch.float64), 20)
    assert found.numpy() == pytest.approx(0.5, rel=1e-6)


def test_the_unbiased_scale_is_biased_on_two_entries():
    """Whatever the signs of the rotation: why no omega is declared."""
    x = torch.tensor(
        [[2.0, 2.0, 1.0, 1.0]] * 50, dtype=torch.float64
    )  # two blocks, (2, 1) and (2, 1)
    expected = torch.tensor([[2.5, 2.5, 0.0, 0.0]] * 50, dtype=torch.float64)
    for compressor in (make("drive", block=2), make("eden", bits=1, block=2)):
        value = compressor.compress(x, (4,), np.arange(50, dtype=np.uint64)).value
        torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_scales_do_what_their_names_say(bits):
    x = torch.from_numpy(np.random.default_rng(0).standard_cauchy(512))
    key = np.array([7], np.uint64)

    def value(scale):
        return (
            make("eden", bits=bits, scale=scale, wire="float64")
            .compress(x[None], (512,), key)
            .value[0]
        )

    assert float(value("unbiased") @ x) == pytest.approx(float(x @ x))
    assert float(value("norm").norm()) == pytest.approx(float(x.norm()))
    best = value("mse")
    assert float(best @ (x - best)) == pytest.approx(0, abs=1e-10 * float(x @ x))
    drive = make("drive", scale="mse", wire="float64").compress(x[None], (512,), key).value[0]
    if bits == 1:
        torch.testing.assert_close(best, drive)


def test_bits_of_a_message_by_hand():
    """8192 numbers: 2 blocks, 32 bits of seed, a float each, b bits an entry, 2 + 2 bytes of header."""
    x = torch.randn(8192)
    for compressor, values, metadata in (
        (make("drive"), 8192, 32 * 3 + 32),
        (make("eden", bits=3), 3 * 8192, 32 * 3 + 32),
        (make("rotated", bits=2), 2 * 8192, 32 * 5 + 32),
        (make("rotated", bits=2, fraction=1 / 16), 2 * 512, 32 * 5 + 32),
        (make("subsample", fraction=1 / 16), 32 * 512, 32 + 32),
        (make("count_sketch", rows=3, columns=100, seed=1), 32 * 300, 32),
        (make("hadamard", of={"name": "subsample", "fraction": 1 / 16}), 32 * 512, 2 * (32 + 32)),
    ):
        message = compressor.encode(x)
        assert (message.bits.values, message.bits.metadata) == (values, metadata)
        assert len(message.to_bytes()) * 8 == values + metadata


# Measured errors that others found (shared notes on Konecny et al., section 5)


def vector(kind: str, d: int) -> torch.Tensor:
    g = np.random.default_rng(d)
    x = g.standard_normal(d)
    if kind == "lognormal":
        x = np.exp(x)
    if kind == "sparse_1pct":
        x = np.where(g.uniform(size=d) < 0.01, x, 0)
    return torch.from_numpy(x.astype(np.float32))


TARGETS = [
    ("gauss", 8192, {"name": "rotated", "bits": 1}, 13.9, 0.25),
    ("lognormal", 8192, {"name": "rotated", "bits": 1}, 13.7, 0.25),
    ("lognormal", 8192, {"name": "rotated", "bits": 2}, 1.10, 0.25),
    ("sparse_1pct", 8192, {"name": "rotated", "bits": 1}, 13.0, 0.25),
    ("sparse_1pct", 131072, {"name": "rotated", "bits": 1}, 18.8, 0.25),
    ("sparse_1pct", 131072, {"name": "rotated", "bits": 2}, 1.64, 0.25),
    *[(x, 131072, {"name": "rotated", "bits": 4}, 0.057, 0.25) for x in ("gauss", "lognormal")],
    *[
        (x, 131072, {"name": "eden", "bits": bits}, target, 0.05)
        for x in ("gauss", "lognormal", "sparse_1pct")
        for bits, target in ((1, 0.571), (2, 0.133), (3, 0.0358), (4, 0.0096))
    ],
    *[(x, 131072, {"name": "drive"}, 0.571, 0.05) for x in ("gauss", "lognormal", "sparse_1pct")],
    *[
        (x, 131072, {"name": "drive", "scale": "mse"}, 0.364, 0.05)
        for x in ("gauss", "lognormal", "sparse_1pct")
    ],
    ("gauss", 131072, {"name": "rotated", "bits": 2, "fraction": 0.0625}, 31.4, 0.25),
    ("gauss", 131072, {"name": "rotated", "bits": 1, "fraction": 0.0625}, 230, 0.25),
    ("gauss", 131072, {"name": "rotated", "bits": 2, "fraction": 0.1}, 21.7, 0.25),
    ("gauss", 131072, {"name": "rotated", "bits": 2, "fraction": 0.25}, 8.2, 0.25),
    ("gauss", 131072, {"name": "hadamard", "of": {"name": "subsample", "fraction": 0.0625}}, 15, 0.05),
]  # fmt: skip


@pytest.mark.parametrize("kind, d, spec, target, tolerance", TARGETS)
def test_error_is_as_measured_by_others(kind, d, spec, target, tolerance):
    compressor = registry.make("compressor", {**spec, "block": LARGEST})
    found = errors(compressor, vector(kind, d), 8 if d < 10**5 else 3)
    assert found.mean() == pytest.approx(target, rel=tolerance)


def test_means_over_clients():
    """Of 200: the unbiased scale's error falls as 1/n, the other's stays near (1 - 2/pi)^2."""
    x = vector("gauss", 8192)
    for name, scale, target in (("eden", "unbiased", 0.0028), ("drive", "mse", 0.133)):
        compressor = make(name, scale=scale, **({"bits": 1} if name == "eden" else {}), block=8192)
        keys = rng.fold(rng.stream("clients"), np.arange(200))
        mean = compressor.compress(x.expand(200, 8192).contiguous(), (8192,), keys).value.mean(
            dim=0
        )
        assert ((mean - x) ** 2).sum() / (x @ x) == pytest.approx(target, rel=0.05)


def test_rotation_before_the_plain_quantiser():
    """Nothing for normal vectors, worth 50 times and more for sparse ones."""
    plain = {"name": "uniform", "bits": 1}
    for kind, least, most in (("gauss", 0.7, 1.4), ("sparse_1pct", 30, 80)):
        x = vector(kind, 8192)
        bare = errors(registry.make("compressor", plain), x, 10).mean()
        rotated = errors(make("hadamard", of=plain, block=8192), x, 10).mean()
        assert least < bare / rotated < most


# Large vectors, other types, extremes


LARGE = [
    {"name": "drive"},
    {"name": "eden", "bits": 5, "block": 1024},
    {"name": "rotated", "bits": 3, "fraction": 0.5},
    {"name": "hadamard", "of": {"name": "identity"}},
    {"name": "count_sketch", "rows": 3, "columns": 1000, "k": 50},
    {"name": "subsample", "fraction": 0.01},
]


@pytest.mark.parametrize("spec", LARGE, ids=lambda s: s["name"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_large_vectors_decode_to_what_was_simulated(spec, dtype):
    """Long enough for the transform by matrix products, with blocks left over."""
    compressor, d = registry.make("compressor", spec), 270_001
    x = (
        torch.from_numpy(np.random.default_rng(1).standard_normal((d, 2))).to(dtype).T
    )  # not contiguous
    keys = np.array([5, 2**64 - 1], np.uint64)
    batched = compressor.compress(x, (d,), keys).value
    for i in range(2):
        payload = compressor.encode(x[i], key=int(keys[i])).to_bytes()
        decoded = compressor.decode(compressor.from_bytes(payload, (d,)), (d,), dtype)
        assert decoded.dtype == dtype and torch.equal(decoded, batched[i])
        assert torch.equal(
            compressor.compress(x[i : i + 1], (d,), keys[i : i + 1]).value[0], decoded
        )


@pytest.mark.parametrize("spec", LARGE, ids=lambda s: s["name"])
def test_extreme_float32_and_shapes(spec):
    compressor = registry.make("compressor", spec)
    shape = (5, 3, 8)
    x = torch.from_numpy(np.random.default_rng(2).standard_normal(shape)).float()
    reference = compressor.decode(compressor.encode(x, key=9), shape, x.dtype)
    for power in (-100, -60, 60, 100):
        scaled = compressor.decode(compressor.encode(x * 2.0**power, key=9), shape, x.dtype)
        torch.testing.assert_close(scaled * 2.0**-power, reference, rtol=1e-5, atol=1e-6)
    batch = compressor.compress(x[None], shape, np.array([9], np.uint64)).value[0]
    assert torch.equal(batch, reference)


@pytest.mark.parametrize(
    "name, parameters", [("drive", {}), ("eden", {"bits": 2}), ("rotated", {"bits": 2})]
)
def test_what_the_wire_cannot_hold_is_refused_by_name(name, parameters):
    x = torch.full((40,), 1e300, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"conv1\.weight: too large"):
        make(name, **parameters).encode(x, "conv1.weight")
    wide = make(name, **parameters, wire="float64")
    assert torch.isfinite(wide.decode(wide.encode(x), (40,), torch.float64)).all()


@pytest.mark.parametrize(
    "spec", [{"name": "drive"}, {"name": "eden", "bits": 4}, {"name": "rotated", "bits": 3}]
)
@pytest.mark.parametrize("wire", ["float32", "float64"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_hostile_floats_decode_to_finite_numbers(spec, wire, dtype):
    compressor = registry.make("compressor", {**spec, "wire": wire})
    message = compressor.encode(torch.randn(300))
    floats = np.resize([np.finfo(wire).max, np.finfo(wire).min], len(message.sections[1]))
    hostile = type(message)(
        message.codec, message.form, 300, message.layout,
        (message.sections[0], floats.astype(wire), message.sections[2]),
    )  # fmt: skip
    read = compressor.from_bytes(hostile.to_bytes(), (300,))
    assert torch.isfinite(compressor.decode(read, (300,), dtype)).all()


def test_sizes_of_blocks_are_checked():
    for bad in (0, 3, 2 * LARGEST):
        with pytest.raises(ValueError, match="power of two"):
            make("drive", block=bad)


def test_a_rotation_of_a_rotation_is_refused():
    with pytest.raises(ValueError, match="rotation of a rotation"):
        make("hadamard", of={"name": "hadamard", "of": {"name": "identity"}})


def test_wrapper_hands_errors_of_what_it_wraps_on():
    compressor = make("hadamard", of={"name": "topk", "k": 3})
    payload = compressor.encode(torch.randn(50)).to_bytes()
    for cut in range(len(payload)):
        with pytest.raises(MessageError):
            compressor.from_bytes(payload[:cut], (50,))


# Subsampling and sketches


def test_every_entry_is_chosen_equally_often():
    places = subsample.chosen(rng.fold(rng.stream("choice"), np.arange(6000)), 20, 5)
    assert (np.diff(places, axis=1) > 0).all()
    counts = np.bincount(places.ravel(), minlength=20)
    assert stats.chisquare(counts).pvalue > 0.001
    pairs = np.array(
        [np.isin(places, [i, j]).sum(axis=1).tolist().count(2) for i, j in ((0, 1), (3, 17))]
    )
    assert pairs / 6000 == pytest.approx(5 * 4 / (20 * 19), rel=0.1)


def test_subsampling_sends_values_only_and_the_seed_says_where():
    compressor = make("subsample", fraction=0.25, scaled=False)
    x = torch.arange(1.0, 41.0)
    message = compressor.encode(x, key=3)
    assert message.bits.indices == 0
    value = compressor.decode(message, (40,), x.dtype)
    assert (value != 0).sum() == 10 and torch.equal(value[value != 0], x[value != 0])
    other = compressor.decode(compressor.encode(x, key=4), (40,), x.dtype)
    assert not torch.equal(value, other)


def test_sketches_add():
    compressor = make("count_sketch", rows=5, columns=60, k=4, seed=11, wire="float64")
    g = np.random.default_rng(0)
    clients = torch.from_numpy(g.standard_normal((3, 500)) * 0.01)
    clients[:, [7, 70, 300, 499]] += torch.tensor([5.0, -4.0, 3.0, 2.0]).double()
    messages = [compressor.encode(x, key=i) for i, x in enumerate(clients)]
    total = compressor.add(messages)
    expected = compressor.encode(clients.sum(dim=0))
    np.testing.assert_allclose(total.sections[0], expected.sections[0], atol=1e-12)
    found = compressor.decode(
        compressor.from_bytes(total.to_bytes(), (500,)), (500,), torch.float64
    )
    assert found.nonzero().ravel().tolist() == [7, 70, 300, 499]
    assert found[7] == pytest.approx(15, abs=0.5)
    with pytest.raises(ValueError, match="share"):
        make("count_sketch", rows=5, columns=60).add(messages)


def test_heavy_hitters_are_found_among_noise():
    """Charikar et al.: an entry is read within a few |tail| / sqrt(columns), so these stand out."""
    g, d, hits = np.random.default_rng(4), 20_000, 20
    x = torch.from_numpy(g.standard_normal(d) * 0.01)
    places = g.choice(d, hits, replace=False)
    x[places] = torch.from_numpy(g.choice([-1.0, 1.0], hits))
    for estimate in ("median", "mean"):
        compressor = make("count_sketch", rows=7, columns=500, k=hits, seed=1, estimate=estimate)
        found = compressor.decode(compressor.encode(x), (d,), x.dtype).nonzero().ravel()
        recovered = np.isin(found, places).mean()
        assert recovered == 1 if estimate == "median" else recovered > 0.8


def test_a_sketch_of_a_flat_vector_is_worse_than_nothing():
    """Why none is declared: what k entries are read as is noise of the others."""
    x = torch.ones(2000, dtype=torch.float64)
    compressor = make("count_sketch", rows=3, columns=20, k=100, seed=0)
    value = compressor.decode(compressor.encode(x), (2000,), x.dtype)
    assert ((value - x) ** 2).sum() > 2 * (x @ x)
    assert compressor.contraction((2000,)) is None and compressor.variance((2000,)) is None


# Selection from many numbers


def stable(x: np.ndarray, k: int) -> list[int]:
    return np.sort(np.argsort(-np.abs(x), kind="stable")[:k]).tolist()


@given(values=st.lists(st.integers(-3, 3), min_size=1, max_size=60), k=st.integers(1, 60))
def test_selection_equals_a_stable_sort(values, k):
    x = np.array(values, np.float32)
    found = select.largest_of_many(torch.from_numpy(x), min(k, len(x)))
    assert found.tolist() == stable(x, k)


@pytest.mark.parametrize("d", [select.FEWEST, 200_001])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("share", [0.00002, 0.01, 0.25, 0.6])
def test_selection_from_many(d, dtype, share):
    g = np.random.default_rng(d)
    sample = select._sample(d)
    hidden = np.full(d, 9.0)  # what the sample sees is larger than all the rest
    hidden[sample] = 10.0 + np.arange(len(sample))
    small = np.where(np.isin(np.arange(d), sample), 0.0, g.standard_normal(d))
    cases = {
        "normal": g.standard_normal(d),
        "heavy tailed": g.standard_cauchy(d),
        "few values": g.integers(-3, 4, d),
        "mostly zero": g.standard_normal(d) * (g.uniform(size=d) < share / 2),
        "zero": np.zeros(d),
        "denormal": g.standard_normal(d) * 1e-42,
        "sample too large": hidden,
        "sample too small": small,
        "sorted": np.arange(d) - d / 3,
    }
    for name, values in cases.items():
        x = values.astype(dtype)
        k = max(1, int(share * d))
        assert select.largest_of_many(torch.from_numpy(x), k).tolist() == stable(x, k), name
