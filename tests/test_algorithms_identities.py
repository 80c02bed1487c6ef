"""Where two methods are the same method: iterate by iterate, on real data, with exact messages."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from helpers import small_problem, trajectory, vary
from hypothesis import given, settings
from hypothesis import strategies as st

from fewbits import registry
from fewbits.federation.local.base import Local

TOPK = {"name": "topk", "k": 3, "wire": "float64"}
RANDK = {"name": "randk", "k": 6, "wire": "float64"}
CONTRACTIVE = [TOPK, RANDK | {"scaled": False}, {"name": "sign"}, {"name": "st_hosvd", "rank": 2}]
EXACT = {"name": "identity", "wire": "float64"}
SAMPLE = {"name": "gradient", "batch": 4}


def method(spec, name, compressor=EXACT, **slots):
    """A problem: `slots` are other keys of a spec, and `parameters` the algorithm's."""
    algorithm = {"name": name, **slots.pop("parameters", {})}
    return small_problem(vary(spec, algorithm=algorithm, compressor=compressor) | slots)


def same(ours, theirs, step=0.2, rounds=40, seeds=(0, 1), keys=("x",), tolerance=1e-11):
    one, other = (trajectory(p, step, rounds, seeds) for p in (ours, theirs))
    for a, b in zip(one, other, strict=True):
        for key in keys:
            torch.testing.assert_close(a[key], b[key], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("compressor", CONTRACTIVE, ids=lambda c: c["name"])
@pytest.mark.parametrize("slots", [{}, {"local": SAMPLE}], ids=["all rows", "samples"])
def test_variants_of_ef21_are_ef21_at_the_end_of_their_range(spec, compressor, slots):
    """SGDM with eta = 1 and HB with eta = 0, on all rows and on samples; BC with an identity downlink."""
    plain = method(spec, "ef21", compressor, **slots)
    same(method(spec, "ef21_sgdm", compressor, parameters={"eta": 1.0}, **slots), plain)
    same(method(spec, "ef21_hb", compressor, parameters={"eta": 0.0}, **slots), plain)
    same(method(spec, "ef21_bc", compressor, downlink=EXACT, **slots), plain, tolerance=1e-9)


@pytest.mark.parametrize("start", ["gradient", "compressed"])
@pytest.mark.parametrize("p", [1.0, 0.2])
def test_page_is_ef21_where_every_row_is_in_every_sample(spec, p, start):
    """p = 1 with samples; any p without."""
    local = {"local": SAMPLE} if p == 1 else {}
    ours = method(spec, "ef21_page", TOPK, parameters={"p": p, "start": start}, **local)
    same(ours, method(spec, "ef21", TOPK, parameters={"start": start}), tolerance=1e-9)


@pytest.mark.parametrize("start", ["gradient", "compressed"])
def test_partial_participation_of_everyone_is_ef21(spec, start):
    everyone = {"selection": {"name": "uniform", "fraction": 1.0}}
    ours = method(spec, "ef21", TOPK, parameters={"start": start}, **everyone)
    same(ours, method(spec, "ef21", TOPK, parameters={"start": start}), tolerance=0)


def test_partial_participation_is_a_compressor_that_may_send_nothing(spec):
    """EF21-PP: whoever sits out behaves as if its C had returned zero, and g is the mean of all g_i at any time."""
    half = {"selection": {"name": "uniform", "fraction": 0.5}}
    path = trajectory(method(spec, "ef21", TOPK, **half), 0.2, 40)
    for old, new in pairwise(path):
        moved = (old["g_i"] != new["g_i"]).flatten(2).any(dim=-1).sum(dim=1)
        assert (moved == 10).all()
        torch.testing.assert_close(new["g"], new["g_i"].mean(dim=1), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", ["dcgd", "ef21_sgdm", "ef21_hb", "ef21_bc", "diana", "marina"])
def test_without_compression_all_are_gradient_descent(spec, name):
    parameters = {"ef21_sgdm": {"eta": 1.0}, "ef21_hb": {"eta": 0.0}, "marina": {"wire": "float64"}}
    ours = method(spec, name, EXACT, parameters=parameters.get(name, {}), downlink=EXACT)
    same(ours, method(spec, "gd"), tolerance=1e-10)


@pytest.mark.parametrize("compressor", [RANDK, {"name": "natural"}], ids=lambda c: c["name"])
def test_marina_with_p_1_is_gradient_descent(spec, compressor):
    ours = method(spec, "marina", compressor, parameters={"p": 1.0, "wire": "float64"})
    same(ours, method(spec, "gd"), tolerance=1e-13)


def test_marina_s_coin_is_a_lane_s_own_and_common_to_its_clients(spec):
    """What a round costs tells the coin: 64-bit key and 6 values, or all 30 values."""
    path = trajectory(method(spec, "marina", RANDK, parameters={"p": 0.4}), 0.05, 300, (0, 1, 2))
    sent = np.diff([p["bits"][:, :3].sum(dim=1).numpy() for p in path], axis=0)
    problem = method(spec, "marina", RANDK)
    costs = [problem.compressor.payload((30,)).total, 32 * 30 + 24]
    assert set(sent.flatten()) == set(costs)
    whole = sent == costs[1]
    assert (abs(whole.mean(axis=0) - 0.4) < 5 * (0.24 / 300) ** 0.5).all()
    assert (whole[:, 0] != whole[:, 1]).any()


def test_diana_with_memory_off_is_compressed_gradient_descent(spec):
    """The limit a -> 0: nothing is learnt."""
    ours = method(spec, "diana", RANDK, parameters={"memory": 1e-300})
    same(ours, method(spec, "dcgd", RANDK), tolerance=1e-12)


def test_diana_with_memory_one_and_a_contractive_compressor_is_ef21_delayed(spec):
    """a = 1: h_i is EF21's Markov estimate, and x moves against it; EF21 from g_i^0 = 0 has x^1 = x^0 first."""
    ours = trajectory(method(spec, "diana", TOPK, parameters={"memory": 1.0}), 0.2, 40)
    theirs = trajectory(method(spec, "ef21", TOPK, parameters={"start": "zero"}), 0.2, 41)
    for t in range(40):
        torch.testing.assert_close(ours[t]["x"], theirs[t + 1]["x"], rtol=1e-11, atol=1e-12)
        torch.testing.assert_close(ours[t]["h_i"], theirs[t]["g_i"], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("slots", [{}, {"local": SAMPLE}], ids=["all rows", "samples"])
def test_dgc_without_momentum_is_classical_error_feedback(spec, slots):
    """For a homogeneous C it does not matter whether the step stands inside the message."""
    ours = method(spec, "dgc", TOPK, parameters={"momentum": 0.0, "masking": False}, **slots)
    same(ours, method(spec, "ef14", TOPK, **slots), tolerance=1e-9)


def test_dgc_without_compression_is_the_heavy_ball(spec):
    """Momentum correction: nothing waits, so that u_i is plain local momentum."""
    problem = method(spec, "dgc", EXACT, parameters={"momentum": 0.7, "masking": False})
    path = trajectory(problem, 0.05, 40)
    x, u = path[0]["x"], torch.zeros_like(path[0]["x"])
    for state in path[1:]:
        u = 0.7 * u + problem.objective.gradients(x).mean(dim=1)
        x = x - 0.05 * u
        torch.testing.assert_close(state["x"], x, rtol=1e-10, atol=1e-12)


class GradientOfAnother(Local):
    """A local solver of no paper: the gradient, scaled."""

    exact = True

    def __init__(self, scale):
        self.scale = scale

    def updates(self, objective, x, cohort, keys, *others):
        return self.scale * objective.gradients(x, cohort)


@settings(max_examples=12)
@given(k=st.integers(1, 30), step=st.floats(0.01, 0.5), eta=st.floats(0, 0.9))
def test_momentum_with_an_additive_compressor_sees_linear_messages(k, step, eta):
    """EF21-HB with additive C is the heavy ball on the compressed gradients from its first round on."""
    spec = {
        "study": "x",
        "dataset": {"name": "breast_cancer"},
        "model": {"name": "logistic"},
        "partition": {"name": "contiguous", "clients": 5},
    }
    fixed = {"name": "fixed", "k": k, "wire": "float64"}
    ours = method(spec, "ef21_hb", fixed, parameters={"eta": eta, "start": "compressed"})
    path = trajectory(ours, step, 15)
    x, v = path[0]["x"], torch.zeros_like(path[0]["x"])
    for state in path[1:]:
        gradient = ours.objective.gradients(x).mean(dim=1)
        v = eta * v + gradient * (torch.arange(30) < k)
        x = x - step * v
        torch.testing.assert_close(state["x"], x, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", ["ef21_sgdm", "ef21_hb", "ef21_bc", "diana", "dgc"])
def test_methods_know_nothing_of_how_an_update_is_made(spec, name):
    """Any local solver: twice the update with half the step is the same, for a homogeneous C."""
    compressor = RANDK if name == "diana" else TOPK
    plain = method(spec, name, compressor, downlink=TOPK)
    twice = replace(plain, local=GradientOfAnother(2.0))
    one, other = trajectory(plain, 0.2, 30), trajectory(twice, 0.1, 30)
    torch.testing.assert_close(one[-1]["x"], other[-1]["x"], rtol=1e-9, atol=1e-11)


MIRRORED = {
    "ef21_sgdm": ("g_i", lambda s, old, G: s["v_i"] - old["g_i"]),
    "ef21_hb": ("g_i", lambda s, old, G: G - old["g_i"]),
    "ef21_bc": ("g_i", lambda s, old, G: G - old["g_i"]),
    "ef21_page": ("g_i", lambda s, old, G: s["v_i"] - old["g_i"]),
}


@pytest.mark.parametrize("name", MIRRORED)
@pytest.mark.parametrize("compressor", [{"name": "topk", "k": 2}, {"name": "sign"}, {"name": "svd", "rank": 1}],
                         ids=lambda c: c["name"])  # fmt: skip
def test_mirrors_of_real_bytes_are_equal_bit_for_bit(spec, name, compressor):
    """What the server holds from real payloads is what the client holds, and the simulation; all bits are counted."""
    key, wanted = MIRRORED[name]
    problem = method(spec, name, compressor, downlink=compressor)
    c = problem.compressor
    path = trajectory(problem, 0.3, 25)
    server, sent = path[0][key][0].clone(), 0
    for old, new in pairwise(path):
        message = wanted(new, old, problem.objective.gradients(new["x"]))[0]
        for i, row in enumerate(message):
            payload = c.encode(row).to_bytes()
            sent += 8 * len(payload)
            server[i] += c.decode(c.from_bytes(payload, (30,)), (30,), torch.float64)
        assert torch.equal(server, new[key][0])
    counted = path[-1]["bits"][0, :3].sum() - path[0]["bits"][0, :3].sum()
    assert counted.item() * len(server) == pytest.approx(sent)


def test_the_downlink_of_bc_is_what_real_bytes_say(spec):
    """Clients that hold x^0 and g^0 and receive b^t only, end with the server's model."""
    down = {"name": "topk", "k": 4}
    problem = method(spec, "ef21_bc", {"name": "topk", "k": 2}, downlink=down)
    path = trajectory(problem, 0.3, 25)
    c = registry.make("compressor", down)
    x, g, sent = path[0]["x"][0].clone(), path[0]["g"][0].clone(), 0
    for old, new in pairwise(path):
        x = x - 0.3 * g
        payload = c.encode(new["w"][0] - old["g"][0]).to_bytes()
        sent += 8 * len(payload)
        g = g + c.decode(c.from_bytes(payload, (30,)), (30,), torch.float64)
        assert torch.equal(x, new["x"][0]) and torch.equal(g, new["g"][0])
    assert (path[-1]["bits"] - path[0]["bits"])[0, 3].item() == sent


def test_sums_of_messages_are_the_server_s_states(spec):
    """g = mean g_i, h = mean h_i, w = mean w_i, whatever the cohorts and compressors."""
    half = {"selection": {"name": "uniform", "fraction": 0.3}}
    for name, kept, key in (
        ("ef21_sgdm", "g_i", "g"), ("ef21_hb", "g_i", "g"), ("diana", "h_i", "h"), ("ef21_bc", "g_i", "w"),
    ):  # fmt: skip
        slots = {} if name == "ef21_bc" else half
        compressor = RANDK if name == "diana" else TOPK
        last = trajectory(method(spec, name, compressor, downlink=TOPK, **slots), 0.05, 60, (0, 1))[
            -1
        ]
        torch.testing.assert_close(last[key], last[kept].mean(dim=1), rtol=1e-10, atol=1e-12)


WHOLE = 64 * 30 + 24


@pytest.mark.parametrize(("name", "up", "down"), [
    ("ef21_sgdm", "topk", WHOLE), ("ef21_hb", "topk", WHOLE), ("ef21_page", "topk", WHOLE), ("dgc", "topk", WHOLE),
    ("diana", "randk", WHOLE), ("marina", "randk", WHOLE), ("ef21_bc", "topk", None),
])  # fmt: skip
def test_bits_of_a_round_by_hand(spec, name, up, down):
    """One message up a round, and the whole model down in float64; EF21-BC sends a Top-3 message down instead."""
    compressor = {"topk": {"name": "topk", "k": 3}, "randk": {"name": "randk", "k": 6}}[up]
    parameters = {"marina": {"p": 1e-9}}.get(name, {})
    problem = method(
        spec, name, compressor, parameters=parameters, downlink={"name": "topk", "k": 3}
    )
    path = trajectory(problem, 0.05, 2)
    values, indices, metadata, sent_down = (path[2]["bits"] - path[1]["bits"])[0].tolist()
    header = 24
    if up == "topk":
        assert (values, indices) == (96, 15) and metadata == header + 1  # 111 bits fill 14 bytes
    else:
        assert values == 192 and 0 < indices + metadata - header <= 64
    assert sent_down == (down or 96 + 15 + header + 1)
