"""What of its numbers a client sends: segments that slide through the model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import result_bytes, run, small_problem, trajectory, vary
from hypothesis import given
from hypothesis import strategies as st

from fewbits import registry, rng

SIZES = {"d": st.integers(1, 60), "count": st.integers(1, 12), "clients": st.integers(1, 20)}


def segments(count):
    return registry.make("sending", {"name": "segments", "count": count})


def about(count, clients, d, round, lanes=1):
    """Which numbers are sent in a round: (lanes, clients, d) bool."""
    who = np.broadcast_to(np.arange(clients), (lanes, clients))
    every = torch.ones(lanes, clients, d)
    rule = segments(count)
    return rule.put(rule.take(every, who, round), who, round, (d,)) != 0


@given(**SIZES, first=st.integers(1, 30))
def test_a_client_sends_every_number_once_in_a_cycle(d, count, clients, first):
    count = min(count, d)
    seen = sum(about(count, clients, d, first + t).int() for t in range(count))
    assert (seen == 1).all()


@given(length=st.integers(1, 5), count=st.integers(1, 8), each=st.integers(1, 4))
def test_every_segment_has_as_many_owners_where_it_comes_out_even(length, count, each):
    owners = about(count, count * each, count * length, round=3).sum(dim=1)
    assert (owners == each).all()


def test_the_schedule_is_the_published_one():
    """Client k = 1, 2, .. has segment (k + t) mod NS in round t = 0, 1, .."""
    for t in range(9):
        sent = about(6, 36, 12, round=t + 1)[0]
        for k in range(1, 37):
            first = 2 * ((k + t) % 6)
            assert sent[k - 1].nonzero().flatten().tolist() == [first, first + 1]


@given(**SIZES, seed=st.integers(0, 99))
def test_what_is_put_back_is_what_was_taken(d, count, clients, seed):
    count = min(count, d)
    x = torch.from_numpy(np.random.default_rng(seed).standard_normal((2, clients, d)))
    who = np.broadcast_to(np.arange(clients), (2, clients))
    rule = segments(count)
    back = rule.put(rule.take(x, who, 4), who, 4, (d,))
    assert torch.equal(back, torch.where(about(count, clients, d, 4, lanes=2), x, 0.0))


@pytest.mark.parametrize("algorithm", ["fedavg", "ef21", "scaffold", "ef14"])
def test_one_segment_is_everything(spec, algorithm):
    one = vary(spec, algorithm={"name": algorithm}, compressor={"name": "topk", "k": 4})
    ours, theirs = (
        trajectory(small_problem(s), 0.1, 20)[-1]
        for s in (one | {"sending": {"name": "segments", "count": 1}}, one)
    )
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


@pytest.mark.parametrize(
    "block",
    [
        {"name": "top_share", "share": 0.4},
        {"name": "top_share", "share": 0.4, "positions": "int32"},
        {"name": "qsgd", "levels": 4},
        {"name": "identity"},
        {"name": "st_hosvd", "rank": 2},
    ],
    ids=lambda block: block["name"],
)
def test_a_message_is_that_of_the_segment_alone(spec, block):
    """Bits and values are those of real bytes of ceil(d / count) numbers: 30 numbers in 7 segments of 5 or 4."""
    made = small_problem(
        vary(spec, algorithm={"name": "fedavg"}, compressor=block)
        | {"sending": {"name": "segments", "count": 7}}
    )
    network, keys = made.network(), rng.fold(rng.stream("segments"), np.arange(2))
    counters = torch.zeros(2, 4, dtype=torch.float64)
    network.open_round(counters, keys, 5)
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 20, 30)))
    message = network.compress(x)
    arrived = network.up(message)
    own = rng.fold(rng.fold(rng.fold(keys, 5), 0)[:, None], np.arange(20))
    part = segments(7).take(x, np.broadcast_to(np.arange(20), (2, 20)), 5)
    total = 0
    for lane, k in np.ndindex(2, 20):
        payload = made.compressor.encode(part[lane, k], key=int(own[lane, k])).to_bytes()
        total += 8 * len(payload)
        decoded = made.compressor.decode(
            made.compressor.from_bytes(payload, (5,)), (5,), torch.float64
        )
        mask = about(7, 20, 30, 5)[0, k]
        assert torch.equal(arrived[lane, k][mask], decoded[: mask.sum()])
        assert not arrived[lane, k][~mask].any()
    assert counters[:, :3].sum() * 20 == pytest.approx(total)


def test_upload_of_the_paper_s_setting(spec):
    """p/NS of the values, twice that with indices of 32 bits, (32 p + 1)/(32 NS) with a bitmap, beside headers."""
    d, dense = 110_526, 32 * 110_526
    shares = {}
    for positions in ("int32", "packed", "bitmap"):
        made = registry.make(
            "compressor", {"name": "top_share", "share": 0.4, "positions": positions}
        )
        shares[positions] = made.payload((d // 6,))
    assert shares["bitmap"].values / dense == pytest.approx(0.4 / 6, rel=1e-4)
    assert shares["int32"].total / dense == pytest.approx(0.8 / 6, rel=1e-4)
    assert shares["bitmap"].total / dense == pytest.approx((32 * 0.4 + 1) / 192, rel=1e-4)
    assert shares["packed"].indices == round(0.4 * 18_421) * 15


@pytest.mark.parametrize("algorithm", ["fedavg", "ef21", "dgc"])
def test_alone_and_in_company_the_bytes_are_the_same(spec, tmp_path, algorithm):
    one = vary(spec, algorithm={"name": algorithm}, rounds=30, record_every=10)
    one |= {"sending": {"name": "segments", "count": 4}, "step": {"value": 0.1}}
    two = one | {"seed": 1, "selection": {"name": "uniform", "fraction": 0.5}}
    run(tmp_path / "together", a=one, b=one | {"seed": 1}, c=two)
    run(tmp_path / "alone", b=one | {"seed": 1})
    alone, company = result_bytes(tmp_path / "alone"), result_bytes(tmp_path / "together")
    assert alone and all(company[path] == content for path, content in alone.items())


def test_error_feedback_with_segments_descends_and_keeps_its_mean(spec):
    made = small_problem(spec | {"sending": {"name": "segments", "count": 5}})
    path = trajectory(made, 0.05, 200)
    loss = [float(made.objective.loss(path[t]["x"])) for t in (0, 200)]
    assert loss[1] < 0.8 * loss[0]
    torch.testing.assert_close(path[-1]["g"], path[-1]["g_i"].mean(dim=1))
