"""Low-rank compressors on the shapes that networks have, against TensorLy and SciPy, and their constants after rounding."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
import scipy.linalg
import tensorly as tl
import torch
from tensorly.decomposition import partial_tucker, tensor_train, tucker

from fewbits import registry, rng
from fewbits.compressors import factors, hosvd, leading, reshaping
from fewbits.compressors import tucker as tucker_form
from fewbits.compressors.lowrank import DENSE, FACTORS, LowRank
from fewbits.compressors.message import MessageError

NAMES = sorted(
    name for name, cls in registry.plugins("compressor").items() if issubclass(cls, LowRank)
)
KINDS = ("float64", "float32", "float16", "natural", "int8")
SHAPES = [
    (112,),
    (1, 300),
    (40, 30),
    (17, 90),
    (90, 17),
    (12, 8, 3, 3),
    (9, 20, 5),
    (24, 1, 3, 3),
    (4, 5, 2, 3, 3),
    (2, 2, 2),
]


def make(name: str, **parameters):
    if name != "hosvd_energy":
        parameters.setdefault("rank", 2)
    return registry.make("compressor", {"name": name, **parameters})


def tensors(shape: tuple[int, ...], seed: int = 0) -> dict[str, torch.Tensor]:
    """What breaks a careless factorisation."""
    g = np.random.default_rng(seed)
    first, rest = shape[0], prod(shape[1:])
    low = g.standard_normal((first, 2)) @ g.standard_normal((2, rest))
    flat = scipy.linalg.orth(g.standard_normal((max(first, rest), min(first, rest))))
    flat = flat.T if first < rest else flat
    outer = np.ones(1)
    for n in shape:
        outer = np.multiply.outer(outer, g.standard_normal(n))
    falling = low + 0.3 * g.standard_normal((first, rest)) * 0.5 ** np.arange(rest)
    found = {
        "normal": g.standard_normal(shape),
        "heavy tailed": g.standard_cauchy(shape),
        "rank two": low,
        "rank one": outer,
        "flat": flat,
        "falling": falling,
        "constant": np.full(shape, -0.7),
        "one entry": np.eye(1, prod(shape), prod(shape) // 2),
        "signs": g.choice([-1.0, 1.0], size=shape),
        "tiny": 1e-30 * g.standard_normal(shape),
        "large": 1e30 * g.standard_normal(shape),
        "zero": np.zeros(shape),
    }
    return {
        name: torch.from_numpy(np.ascontiguousarray(x.reshape(shape))) for name, x in found.items()
    }


def squared(x: torch.Tensor) -> float:
    """|x|^2, of x scaled to 1e30 at most."""
    return float((x.double() ** 2).sum())


def share(compressor, x: torch.Tensor, key: int = 0) -> float:
    """Relative squared error of what the receiver gets from real bytes."""
    shape = tuple(x.shape)
    payload = compressor.encode(x, key=key).to_bytes()
    got = compressor.decode(compressor.from_bytes(payload, shape), shape, x.dtype)
    return squared(got - x) / squared(x)


# Shapes


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_any_shape_batched_equals_bytes(name, shape):
    """Values and bits, float32 and float64, whatever the other rows are, contiguous or not."""
    for dtype in (torch.float64, torch.float32):
        rows = torch.stack([x.to(dtype) for x in tensors(shape).values()])
        keys = rng.fold(rng.stream("shapes"), np.arange(len(rows)))
        compressor = make(name)
        batched = compressor.compress(rows, shape, keys)
        assert batched.value.dtype == dtype and torch.isfinite(batched.value).all()
        for i, row in enumerate(rows):
            strided = torch.stack([row, row], dim=-1)[..., 0]
            message = compressor.encode(strided, key=int(keys[i]))
            payload = message.to_bytes()
            got = compressor.decode(compressor.from_bytes(payload, shape), shape, dtype)
            assert torch.equal(got, batched.value[i])
            total = batched.bits.total
            assert 8 * len(payload) == (total[i] if torch.is_tensor(total) else total)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_a_row_does_not_depend_on_the_others(name, kind):
    """Also where matrices are multiplied one by one (large), at any offset in memory, and in any order."""
    for shape in [(7, 5, 3), (257, 301)]:
        g = torch.Generator().manual_seed(3)
        for dtype in (torch.float64, torch.float32):
            x = torch.randn(5, *shape, generator=g, dtype=dtype)
            x[:3] *= 0.7 ** torch.arange(shape[0]).reshape(-1, *[1] * (len(shape) - 1))
            keys = rng.fold(rng.stream("rows"), np.arange(5))
            compressor = make(name, factors=kind)
            together = compressor.compress(x, shape, keys).value
            backwards = compressor.compress(x.flip(0), shape, keys[::-1].copy()).value.flip(0)
            assert torch.equal(together, backwards)
            for i in (0, 3):
                shifted = torch.empty(x[i].numel() + 3, dtype=dtype)[3:].reshape(1, *shape)
                shifted.copy_(x[i : i + 1])
                alone = compressor.compress(shifted, shape, keys[i : i + 1]).value[0]
                assert torch.equal(alone, together[i])


@pytest.mark.parametrize("name", ["powersgd", "svd", "tt"])
def test_products_with_vectors_do_not_depend_on_where_a_row_lies(name):
    """Rank 1, large enough for float32, whatever the row's offset in memory is."""
    shape, keys = (128, 576), rng.fold(rng.stream("vectors"), np.arange(4))
    x = torch.randn(4, *shape, generator=torch.Generator().manual_seed(5))
    compressor = make(name, rank=1)
    together = compressor.compress(x, shape, keys).value
    for offset in range(1, 17, 3):
        shifted = torch.empty(x[3].numel() + offset)[offset:].reshape(1, *shape)
        shifted.copy_(x[3:])
        alone = compressor.compress(shifted, shape, keys[3:]).value[0]
        assert torch.equal(alone, together[3])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(), (1,), (2,), (3, 1), (1, 1, 3, 3), (5, 2)], ids=str)
def test_dense_where_factors_are_not_shorter(name, shape):
    compressor = make(name, rank=50) if name != "hosvd_energy" else make(name, eps=1e-9)
    x = torch.from_numpy(np.random.default_rng(1).standard_normal(shape))
    message = compressor.encode(x)
    assert message.form == DENSE
    assert torch.equal(compressor.decode(message, shape, x.dtype), x.float().double())
    if name != "hosvd_energy":
        assert compressor.contraction(shape) == 1.0


def test_depthwise_kernels_are_compressed_where_that_is_shorter():
    x = torch.from_numpy(np.outer(np.arange(1.0, 25), np.arange(1.0, 10)).reshape(24, 1, 3, 3))
    message = make("svd", rank=1).encode(x)
    assert message.form == FACTORS and message.count == 24 + 9
    assert make("svd", rank=9).encode(x).form == DENSE


@pytest.mark.parametrize(
    "shape, how, expected",
    [
        ((112,), "matrix", (14, 8)),
        ((112,), "tensor", (7, 4, 4)),
        ((123,), "tensor", (5, 5, 5)),
        ((300,), "tensor", (10, 6, 5)),
        ((300,), "matrix", (20, 15)),
        ((68,), "matrix", (10, 7)),
        ((7,), "matrix", (7,)),
        ((1,), "tensor", (1,)),
        ((), "matrix", (1,)),
        ((64, 512), "tensor", (64, 512)),
        ((128, 64), "order4", (16, 8, 8, 8)),
        ((16, 8, 3, 3), "matrix", (16, 72)),
        ((16, 8, 3, 3), "order3", (16, 8, 9)),
        ((16, 8, 3, 3), "tensor", (16, 8, 3, 3)),
        ((16, 1, 3, 3), "tensor", (16, 3, 3)),
        ((16, 8, 1, 1), "tensor", (16, 8)),
        ((4, 5, 2, 3, 3), "order4", (4, 5, 2, 9)),
        ((112,), "7x2x2x2x2", (7, 2, 2, 2, 2)),
        ((110,), "7x2x2x2x2", (7, 2, 2, 2, 2)),
    ],
)
def test_layout(shape, how, expected):
    assert reshaping.sides(shape, how) == expected


def test_every_vector_fits_with_little_padding():
    for d in range(1, 700):
        for how in ("matrix", "tensor", "order4"):
            assert d <= prod(reshaping.sides((d,), how)) <= d + d // reshaping.PADDING


def test_a_fold_or_rank_that_does_not_fit_is_named():
    assert "holds 8 numbers" in make("svd", fold="4x2").check(features=9)
    assert "names 2 ranks" in make("st_hosvd", rank="1x2").check(features=112)
    assert make("st_hosvd", rank="1x1x2x1x1", fold="7x2x2x2x2").check(features=112) is None
    with pytest.raises(ValueError, match="pattern"):
        make("svd", fold="seven")


# Sizes


def test_payloads_by_hand():
    kernel = torch.randn(16, 8, 3, 3)
    assert make("svd").encode(kernel).count == 2 * (16 + 72)
    assert make("powersgd").encode(kernel).count == 2 * (16 + 72)
    assert make("tucker2").encode(kernel).count == 2 * 2 * 9 + 2 * 16 + 2 * 8
    assert make("st_hosvd", rank="2x2x3x3").encode(kernel).count == 2 * 2 * 9 + 2 * 16 + 2 * 8
    assert make("st_hosvd").encode(kernel).count == 16 + 2 * (16 + 8 + 3 + 3)
    assert make("cp").encode(kernel).count == 2 * (16 + 8 + 3 + 3)
    assert make("tt").encode(kernel).count == 2 * 16 + 2 * 8 * 2 + 2 * 3 * 2 + 2 * 3
    assert make("tt", rank=5).encode(kernel).count == 5 * 16 + 5 * 8 * 5 + 5 * 9  # last bond uncut
    assert make("tensor_ring").encode(kernel).count == 4 * 16 + 2 * 2 * (8 + 3 + 3)
    talk = make("st_hosvd", rank="1x1x2x1x1", fold="7x2x2x2x2").encode(torch.randn(112))
    assert talk.count == 2 + 7 + 2 + 2 + 2  # the factor of full rank is in the core


def test_bits_a_number():
    x = torch.randn(40, 30)
    values = {kind: make("svd", rank=2, factors=kind).encode(x).bits for kind in KINDS}
    assert [values[k].values / (2 * 70) for k in KINDS] == [64, 32, 16, 9, 8]
    assert (
        values["int8"].metadata == 8 * 4 + 16 * 3
    )  # header, and scales of 30 + 30, 80 in runs of 64
    assert values["float16"].metadata == 8 * 4 + 32 * 2


# Against TensorLy and SciPy


def kernel(shape=(20, 12, 3, 3), seed=5) -> np.ndarray:
    g = np.random.default_rng(seed)
    x = sum(
        0.6**j * np.einsum("a,b,c,d->abcd", *(g.standard_normal(s) for s in shape))
        for j in range(12)
    )
    return x + 0.05 * g.standard_normal(shape)


def error(name: str, x: np.ndarray, **parameters) -> float:
    return share(make(name, factors="float64", **parameters), torch.from_numpy(x))


def relative(found, x) -> float:
    return float(((np.asarray(found) - x) ** 2).sum() / (x**2).sum())


@pytest.mark.parametrize("shape", [(30, 20), (20, 30), (200, 260), (260, 200), (400, 900)], ids=str)
@pytest.mark.parametrize("rank", [1, 3, 8])
def test_svd_is_scipys(shape, rank):
    """Exactly, by Gram matrix or block Lanczos: falling singular values, flat ones, far apart ones."""
    g = np.random.default_rng(rank)
    u, _, v = np.linalg.svd(g.standard_normal(shape), full_matrices=False)
    n = min(shape)
    for s in (0.8 ** np.arange(n), 1 - 1e-3 * np.arange(n) / n, 10.0 ** -np.arange(n)):
        x = u * s @ v
        tail = float((scipy.linalg.svdvals(x)[rank:] ** 2).sum() / (x**2).sum())
        assert error("svd", x, rank=rank) == pytest.approx(tail, rel=1e-9, abs=1e-13)
        single = share(make("svd", rank=rank), torch.from_numpy(x).float())
        assert single == pytest.approx(tail, rel=1e-3, abs=1e-13)


def test_lanczos_is_taken_where_it_converges_and_only_there():
    g = np.random.default_rng(0)
    flat = g.standard_normal((256, 400))
    falling = scipy.linalg.orth(flat.T).T * 0.7 ** np.arange(256)[:, None]
    assert leading.lanczos(flat, 4) is None
    for rank_deficient in (falling, falling[:3].T.repeat(1, 0) @ g.standard_normal((3, 500))):
        a = np.ascontiguousarray(rank_deficient)
        found = leading.lanczos(a, 4)
        best = (scipy.linalg.svdvals(a)[:4] ** 2).sum()
        assert ((found @ a) ** 2).sum() == pytest.approx(best, rel=1e-12)
        assert np.allclose(found @ found.T, np.eye(4), atol=1e-10)


def test_single_precision_is_taken_where_it_is_exact_enough_and_only_there():
    """What is kept is the best to rounding errors; not where nearly all is kept, or nearly no more than a constant promises."""
    g = np.random.default_rng(0)
    flat = scipy.linalg.orth(g.standard_normal((400, 256))).T.astype(np.float32)
    for shape in ((100, 300), (256, 400)):
        noise = g.standard_normal(shape)
        falling = scipy.linalg.orth(noise.T).T * 0.9 ** np.arange(len(noise))[:, None]
        for x in (noise, falling, 1e-10 * falling):
            a = x.astype(np.float32)
            found = leading.in_single(a, 4)
            best = (scipy.linalg.svdvals(a.astype(float))[:4] ** 2).sum()
            assert ((found @ a) ** 2).sum() == pytest.approx(best, rel=1e-6)
        steep = scipy.linalg.orth(noise.T).T * 0.4 ** np.arange(len(noise))[:, None]
        assert leading.in_single(steep.astype(np.float32), 4) is None
    assert leading.in_single(flat, 4) is None
    assert leading.in_single(np.zeros((100, 300), np.float32), 4) is None


def test_hooi_reaches_tensorlys_tucker():
    x = kernel()
    for ranks in ([4, 4, 2, 2], [3, 5, 3, 3], [1, 1, 1, 1]):
        theirs = relative(tl.tucker_to_tensor(tucker(x, ranks, n_iter_max=200, tol=1e-12)), x)
        listed = "x".join(map(str, ranks))
        sequential, improved = (
            error("st_hosvd", x, rank=listed),
            error("hooi", x, rank=listed, sweeps=60),
        )
        assert improved == pytest.approx(theirs, rel=1e-3)
        assert improved <= sequential * (1 + 1e-12) <= 4 * theirs * (1 + 1e-9)


def test_st_hosvd_is_successive_svds():
    """Written out with SciPy, in the order of the largest constant."""
    x, ranks = kernel(), (3, 3, 2, 2)
    order = tucker_form.truncated(x.shape, ranks)
    assert order[-1] == 0  # the largest side meets the fewest columns
    core = x
    for mode, r in ((m, ranks[m]) for m in order):
        a = np.moveaxis(core, mode, 0)
        u = scipy.linalg.svd(a.reshape(len(a), -1), full_matrices=False)[0][:, :r]
        core = tl.tenalg.mode_dot(core, u @ u.T, mode)
    assert error("st_hosvd", x, rank="3x3x2x2") == pytest.approx(relative(core, x), rel=1e-9)


def test_hosvd_is_parallel_svds():
    x = kernel()
    bases = []
    for mode, r in enumerate((3, 3, 2, 2)):
        a = np.moveaxis(x, mode, 0)
        bases.append(scipy.linalg.svd(a.reshape(len(a), -1), full_matrices=False)[0][:, :r])
    found = tl.tenalg.multi_mode_dot(x, [u @ u.T for u in bases])
    assert error("hosvd", x, rank="3x3x2x2") == pytest.approx(relative(found, x), rel=1e-9)


def test_tucker2_is_at_most_a_little_worse_than_tensorlys_iterated_one():
    x = kernel()
    core, bases = partial_tucker(x, rank=[4, 3], modes=[0, 1], n_iter_max=200, tol=1e-12)[0]
    theirs = relative(tl.tenalg.multi_mode_dot(core, bases, modes=[0, 1]), x)
    assert theirs * (1 - 1e-9) <= error("tucker2", x, rank="4x3") <= 1.1 * theirs


@pytest.mark.parametrize("ranks", [(4, 5, 2), (1, 1, 1), (20, 9, 3), (3, 9, 3)])
def test_tt_is_tensorlys(ranks):
    x = kernel()
    theirs = relative(tl.tt_to_tensor(tensor_train(x, [1, *ranks, 1])), x)
    mine = error("tt", x, rank="x".join(map(str, ranks)))
    assert mine == pytest.approx(theirs, rel=1e-9, abs=1e-13)


def test_tensor_ring_with_bond_one_is_a_train():
    x = kernel()
    assert error("tensor_ring", x, rank=1) == pytest.approx(error("tt", x, rank=1), rel=1e-9)
    assert error("tensor_ring", x, rank=3) < error("tensor_ring", x, rank=2)


def test_cp_finds_components_and_is_as_good_as_tensorlys():
    g = np.random.default_rng(2)
    exact = np.einsum("ar,br,cr->abc", *(g.standard_normal((n, 3)) for n in (9, 8, 7)))
    assert error("cp", exact, rank=3, sweeps=300) < 1e-6
    from tensorly.decomposition import parafac

    x = kernel()
    theirs = relative(tl.cp_to_tensor(parafac(x, 4, n_iter_max=100, init="svd", tol=1e-10)), x)
    assert error("cp", x, rank=4, sweeps=100) <= 1.1 * theirs


def test_cp_beyond_every_side_and_degenerate():
    """More components than directions, and a tensor without a best approximation of rank 2 (de Silva, Lim 2008)."""
    a, b = np.eye(2)
    w = sum(np.einsum("a,b,c->abc", *p) for p in ((a, a, b), (a, b, a), (b, a, a)))
    big = np.zeros((6, 6, 6))
    big[:2, :2, :2] = w
    assert error("cp", big, rank=2, sweeps=200) < 0.05
    many = make("cp", rank=9, sweeps=3).encode(torch.randn(16, 8, 3, 3))
    assert np.abs(np.concatenate(many.sections)).max() < 1e4


def test_powersgd_is_the_papers_pass():
    x = kernel().reshape(20, -1)
    key = np.array([77], np.uint64)
    w = rng.normals(key, 108 * 3).reshape(108, 3)
    q, _ = scipy.linalg.qr(x @ w, mode="economic")
    compressor = make("powersgd", rank=3, factors="float64")
    got = compressor.compress(torch.from_numpy(x)[None], (20, 108), key).value[0]
    np.testing.assert_allclose(got, q @ (q.T @ x), atol=1e-12)
    passes = [error("powersgd", x, rank=3, passes=n) for n in (1, 2, 20)]
    assert passes[0] > passes[1] > passes[2] == pytest.approx(error("svd", x, rank=3), rel=1e-4)


def test_powersgd_warm_is_subspace_iteration():
    """Messages of the same X become its best approximation of rank r: W is Q of the message before, whatever its size."""
    x = torch.from_numpy(kernel().reshape(1, 20, 108))
    compressor, key = make("powersgd", rank=3, start="warm"), np.array([5], np.uint64)
    kept = torch.zeros(1, compressor.keeps((20, 108)), dtype=torch.float64)
    first = compressor.compress(x, (20, 108), key).value
    assert torch.equal(first, make("powersgd", rank=3).compress(x, (20, 108), key).value)
    errors = []
    for _ in range(8):
        found, kept = compressor.compress_on(x, (20, 108), kept * 1e-20, key)
        errors.append(squared(found.value - x) / squared(x))
    assert (np.diff(errors) <= 1e-6).all() and errors[7] < 0.9 * errors[0]
    assert errors[7] == pytest.approx(error("svd", x[0].numpy(), rank=3), rel=0.02)
    q = kept.numpy().reshape(108, 3)
    p, _ = np.linalg.qr(x[0].numpy() @ q)
    sent, now = compressor.compress_on(x, (20, 108), kept, key)
    np.testing.assert_allclose(sent.value[0], p @ (p.T @ x[0].numpy()), atol=1e-6)
    np.testing.assert_allclose(p.T @ x[0].numpy(), now.numpy().reshape(108, 3).T, atol=1e-6)


@pytest.mark.parametrize("start", ["warm", "insured"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_a_sender_with_a_past_sends_the_same_bytes_batched_and_alone(start, dtype, kind):
    """Bit for bit: values and bits, what is kept, whatever the other rows are; the receiver has no past."""
    compressor = make("powersgd", rank=2, start=start, factors=kind)
    for shape in SHAPES:
        many = tensors(shape)
        x = torch.stack([many[name].to(dtype) for name in ("normal", "rank one", "tiny", "zero")])
        kept = torch.zeros(len(x), compressor.keeps(shape), dtype=dtype)
        for message in range(3):
            keys = rng.fold(rng.stream("past", message), np.arange(len(x)))
            sent, now = compressor.compress_on(x, shape, kept, keys)
            for i, row in enumerate(x):
                alone, held = compressor.encode_on(row, kept[i], key=int(keys[i]))
                read = compressor.from_bytes(alone.to_bytes(), shape)
                assert torch.equal(compressor.decode(read, shape, dtype), sent.value[i])
                assert torch.equal(held, now[i]) and held.dtype == dtype
                assert 8 * len(alone.to_bytes()) == sent.bits.total
            assert now.shape == kept.shape and torch.isfinite(now).all()
            kept = now


def test_numbers_at_some_places_are_those_of_the_whole_stream():
    """A sender with a past draws only the columns it lacks."""
    keys, places = rng.fold(rng.stream("places"), np.arange(3)), np.array([7, 0, 4])
    np.testing.assert_array_equal(rng.normals(keys, places), rng.normals(keys, 9)[:, places])


@pytest.mark.parametrize("shape", SHAPES)
def test_insurance_holds_whatever_the_past(shape):
    """alpha_C of "insured" over many keys, when the past points where X has nothing or its least; without, nothing arrives."""
    compressor, warm = (make("powersgd", rank=2, start=s) for s in ("insured", "warm"))
    alpha, count = compressor.contraction(shape), 200
    assert warm.contraction(shape) is None or warm.keeps(shape) == 0
    if not compressor.keeps(shape):
        pytest.skip("sent dense")
    m, n = reshaping.sides(shape, "matrix")
    assert alpha == pytest.approx(1 / min(m, n))
    for name in ("normal", "flat", "falling", "constant", "signs", "one entry"):
        x = tensors(shape)[name].double()
        rows = reshaping.fold(x.reshape(1, -1).numpy(), (m, n))[0]
        lost = np.linalg.svd(rows)[2][-2:].T  # least right singular directions
        kept = torch.from_numpy(np.ascontiguousarray(lost)).reshape(1, -1).expand(count, -1)
        keys = rng.fold(rng.stream("insured", name), np.arange(count))
        sent, _ = compressor.compress_on(x.expand(count, *shape).contiguous(), shape, kept, keys)
        errors = ((sent.value - x) ** 2).flatten(1).sum(dim=1) / squared(x)
        assert errors.mean() <= 1 - alpha + 5 * errors.std() / count**0.5 + 1e-6, name
    found, _ = warm.compress_on(x[None], shape, kept[:1], keys[:1])  # one entry: X W = 0
    assert torch.isfinite(found.value).all()


# Constants, after rounding


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [n for n in NAMES if n != "powersgd"])
def test_constant_survives_rounding(name, kind):
    """Real bytes, on flat and adversarial tensors of every kind of shape."""
    for shape in SHAPES:
        for rank in (1, 2, 5):
            compressor = make(
                name, factors=kind, **({} if name == "hosvd_energy" else {"rank": rank})
            )
            alpha = compressor.contraction(shape)
            if alpha is None:
                continue
            assert 0 < alpha <= 1
            for label, x in tensors(shape, rank).items():
                if label != "zero":
                    assert share(compressor, x) <= 1 - alpha + 1e-12, (shape, rank, label)


def test_constants_by_hand():
    kernel_shape = (16, 8, 3, 3)
    assert make("svd").contraction((40, 30)) == pytest.approx(2 / 30)
    assert make("st_hosvd", rank="2x2x3x3").contraction(kernel_shape) == pytest.approx(
        2 / 16 * 2 / 8
    )
    assert make("tt").contraction(kernel_shape) == pytest.approx(2 / 16 * 2 / 9 * 2 / 3)
    assert make("cp", rank=1).contraction(kernel_shape) == pytest.approx(
        1 / 3 / 3 / 8
    )  # the last mode, 16, meets one column
    assert make("cp").contraction(kernel_shape) is None
    assert make("tensor_ring").contraction(kernel_shape) is None
    assert make("hosvd_energy", eps=0.3).contraction(kernel_shape) == pytest.approx(0.7)
    assert make("powersgd").contraction((40, 30)) == pytest.approx(2 / 30)
    coarse = make("st_hosvd", rank=1, factors="int8").contraction((7, 4, 4))
    exact = make("st_hosvd", rank=1).contraction((7, 4, 4))
    assert 0.97 * exact < coarse < exact
    assert make("powersgd", factors="int8").contraction((40, 30)) is None


def test_svd_constant_is_tight():
    x = torch.from_numpy(scipy.linalg.hadamard(16) / 4.0)
    assert share(make("svd", rank=3), x) == pytest.approx(1 - 3 / 16, abs=1e-13)


@pytest.mark.parametrize("rank", [1, 2, 4])
@pytest.mark.parametrize("shape", [(20, 30), (30, 20)], ids=str)
def test_powersgd_constant_in_expectation(shape, rank):
    """Over 1000 keys, within five standard errors; equality holds for orthogonal matrices."""
    compressor = make("powersgd", rank=rank)
    alpha = compressor.contraction(shape)
    keys = rng.fold(rng.stream("powersgd"), np.arange(1000))
    for label in ("normal", "heavy tailed", "flat", "falling", "one entry", "constant", "rank two"):
        x = tensors(shape)[label]
        got = compressor.compress(x.expand(1000, *shape).contiguous(), shape, keys).value
        errors = ((got - x) ** 2).sum(dim=(1, 2)) / squared(x)
        assert errors.mean() <= 1 - alpha + 5 * errors.std() / 1000**0.5 + 1e-12, label


def test_parallel_hosvd_is_not_contractive_and_the_others_are():
    """ef21.md section 0: ones at (0,0,1), (0,1,0), (1,0,0), rank 1, is mapped to zero; so is an identity matrix nearly."""
    x = torch.zeros(2, 2, 2, dtype=torch.float64)
    x[0, 0, 1] = x[0, 1, 0] = x[1, 0, 0] = 1
    for kind in ("float64", "float32"):
        parallel = make("hosvd", rank=1, factors=kind)
        message = parallel.encode(x)
        assert message.form == FACTORS and parallel.contraction((2, 2, 2)) is None
        assert squared(parallel.decode(message, (2, 2, 2), x.dtype)) < 1e-30
        for name in ("st_hosvd", "hooi", "cp", "tt"):
            compressor = make(name, rank=1, factors=kind)
            assert compressor.contraction((2, 2, 2)) >= 1 / 8 - 1e-9
            assert share(compressor, x) <= 1 - compressor.contraction((2, 2, 2)) + 1e-12
    assert share(make("hosvd_energy", eps=0.1), x) <= 0.1
    identity = torch.eye(12, dtype=torch.float64).roll(1, 0)
    assert share(make("hosvd", rank=2), identity) > 1 - 2 / 12
    assert make("hosvd", rank="2x12").contraction((12, 12)) == pytest.approx(2 / 12)


def test_energy_drops_at_most_eps_and_needs_less_for_low_rank():
    x = torch.from_numpy(kernel())
    sizes = []
    for eps in (1e-6, 0.01, 0.1, 0.5, 0.95):
        compressor = make("hosvd_energy", eps=eps)
        assert share(compressor, x) <= eps + 1e-12
        sizes.append(compressor.encode(x).bits.total)
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > 5 * sizes[-1]
    assert hosvd.kept_ranks([np.array([1.0, 2, 7]), np.array([0.5, 9.5])], 0.1) == [3, 1]
    assert hosvd.kept_ranks([np.array([0.0, 0, 0]), np.array([0.0, 0])], 0.5) == [1, 1]


def test_ranks_in_the_count():
    dims = (7, 4, 4)
    for ranks in ((1, 1, 1), (7, 4, 4), (3, 1, 4)):
        assert hosvd.ranks_of(hosvd.count_of(ranks, dims), dims) == ranks
    with pytest.raises(ValueError, match="above"):
        hosvd.ranks_of(7 * 4 * 4, dims)


# Rounding


@pytest.mark.parametrize("kind", KINDS)
def test_rounding_is_within_its_declared_loss(kind):
    g = np.random.default_rng(0)
    for n in (1, 3, 64, 65, 500):
        rows = [g.standard_normal(n), g.standard_cauchy(n), np.full(n, 1.5), np.zeros(n)]
        rows += [np.eye(1, n, n // 2).ravel(), g.standard_normal(n) * 10.0 ** g.integers(-6, 6, n)]
        a = np.stack(rows)
        got = factors.read(kind, factors.write(kind, a))
        assert (((got - a) ** 2).sum(axis=1) <= factors.loss(kind, n) * (a**2).sum(axis=1)).all()
        assert np.array_equal(got, factors.read(kind, factors.write(kind, got))) or kind == "int8"
    huge = factors.read(kind, factors.write(kind, np.array([[1e300, -1e300, 1e-300]])))
    assert np.isfinite(huge).all()


def test_codes_that_no_number_has_are_refused():
    x = torch.randn(40, 30)
    for kind, name in (("natural", "exponent"), ("int8", "level")):
        compressor = make("svd", factors=kind)
        payload = bytearray(compressor.encode(x).to_bytes())
        payload[-2:] = b"\xff\xff"
        with pytest.raises(MessageError, match=name):
            compressor.from_bytes(bytes(payload), (40, 30))


def test_finer_factors_are_nearer():
    x = torch.from_numpy(kernel())
    for name in NAMES:
        errors = [
            share(make(name, factors=kind), x) for kind in ("float64", "float32", "float16", "int8")
        ]
        assert errors == pytest.approx([errors[0]] * 4, rel=0.1), name


# Numerics


@pytest.mark.parametrize("name", NAMES)
def test_powers_of_two_pass_through(name):
    """C(2^k x) = 2^k C(x), bit for bit: late gradients are as good as early ones."""
    x = torch.from_numpy(kernel())
    for dtype in (torch.float64, torch.float32):
        compressor = make(name)
        got = [
            compressor.compress(x.to(dtype)[None] * 2.0**k, tuple(x.shape)).value
            for k in (0, -20, -90, 30)
        ]
        for k, value in zip((-20, -90, 30), got[1:], strict=True):
            if dtype == torch.float64 or abs(k) < 40:
                assert torch.equal(value, got[0] * 2.0**k)
            else:
                assert torch.allclose(value, got[0] * 2.0**k, rtol=1e-4, atol=1e-5 * 2.0**k)


@pytest.mark.parametrize("name", NAMES)
def test_tiny_zero_and_exact_rank(name):
    shape = (12, 8, 3, 3)
    compressor = make(name, factors="float64", **({} if name == "hosvd_energy" else {"rank": 1}))
    exact = tensors(shape)["rank one"]
    assert share(compressor, exact) < 1e-20
    wider = make(name, factors="float64", **({} if name == "hosvd_energy" else {"rank": 3}))
    assert share(wider, exact) < 1e-10  # more directions than there are
    assert share(make(name), 1e-30 * exact) < 1e-10
    zero = compressor.compress(torch.zeros(2, *shape), shape)
    assert torch.equal(zero.value, torch.zeros(2, *shape))
    broken = torch.stack([torch.full(shape, torch.nan, dtype=torch.float64), exact])
    rows = compressor.compress(broken, shape).value
    assert torch.equal(rows[1], compressor.compress(exact[None], shape).value[0])
    assert not rows[0].isfinite().all() or not rows[0].any()


@pytest.mark.parametrize("name", NAMES)
def test_projections_are_idempotent_and_bytes_reproducible(name):
    """What was decoded is sent again without loss; the signs of factors are fixed."""
    x = torch.from_numpy(kernel())
    compressor = make(name)
    payload = compressor.encode(x, key=3).to_bytes()
    assert payload == compressor.encode(x.clone(), key=3).to_bytes()
    if name in ("svd", "st_hosvd", "tucker2", "tt", "hooi"):
        once = compressor.decode(
            compressor.from_bytes(payload, tuple(x.shape)), tuple(x.shape), x.dtype
        )
        assert share(compressor, once) < 1e-12
        sections = compressor.encode(x).sections
        ranks = compressor.plan(tuple(x.shape)).parts[0]
        basis = sections[0].reshape(ranks[0], -1)
        assert (np.take_along_axis(basis, np.abs(basis).argmax(1)[:, None], 1) > 0).all()


def test_mutated_payloads_decode_to_finite_numbers():
    """Any float the bytes may spell, on every family, also where products overflow."""
    g = np.random.default_rng(0)
    for name in NAMES:
        for kind in KINDS:
            for shape in ((30,), (6, 5, 3, 3)):
                compressor = make(name, factors=kind)
                payload = compressor.encode(torch.randn(shape)).to_bytes()
                for _ in range(40):
                    bad = bytearray(payload)
                    for at in g.integers(0, len(bad), size=g.integers(1, 12)):
                        bad[at] = g.integers(0, 256)
                    try:
                        message = compressor.from_bytes(bytes(bad), shape)
                    except MessageError as problem:
                        assert "\n" not in str(problem)
                    else:
                        for dtype in (torch.float32, torch.float64):
                            got = compressor.decode(message, shape, dtype)
                            assert got.shape == shape and got.isfinite().all()
