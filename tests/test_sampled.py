"""Grids whose points are drawn together."""

from __future__ import annotations

import pytest
from scipy.stats import qmc
from study_text import GOOD, STUDY, project

from fewbits.studies import check_files, load_study

HOLE = "compressor: {name: topk, k: [1, 2]}"


def sampled(text: str) -> str:
    return GOOD.replace(
        "        seed: [0, 1]\n        rounds: 400", f"        sample: {text}\n        rounds: 400"
    ).replace(HOLE, "compressor: {name: top_share}")


def shares(runs, count):
    return [run.spec["compressor"]["share"] for run in runs][:count]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def good(here, text):
    """The study's runs of its sampled grid."""
    changed = sampled(text).replace(
        "select: {algorithm: ef21, algorithm.start: gradient, compressor.k: 1, step.factor: 4}, ",
        "over: min, ",
    )
    project(
        here,
        changed.replace(
            "algorithm: [dcgd, {name: ef21, start: [gradient, compressed]}]", "algorithm: ef21"
        ).replace("factor: [1, 4]", "factor: 4"),
    )
    return [run for run in load_study(STUDY).runs("default") if "sweep" in run.grids]


def test_points_are_those_of_the_sequence_and_whole_bounds_give_whole_numbers(here):
    runs = good(here, "{points: 8, of: {compressor.share: [0.1, 0.5], partition.clients: [2, 5]}}")
    wanted = qmc.Halton(2, scramble=False).random(9)[1:]
    found = [(r.spec["compressor"]["share"], r.spec["partition"]["clients"]) for r in runs]
    assert [f[0] for f in found] == [float(f"{0.1 + 0.4 * u:.3g}") for u, _ in wanted]
    assert [f[1] for f in found] == [2 + int(4 * u) for _, u in wanted]
    assert {f[1] for f in found} == {2, 3, 4, 5}
    again = good(here, "{points: 8, of: {compressor.share: [0.1, 0.5], partition.clients: [2, 5]}}")
    assert [r.id for r in again] == [r.id for r in runs]


@pytest.mark.parametrize(
    "text, found, allowed",
    [
        ("{points: 0, of: {compressor.share: [0.1, 0.5]}}", "points: found 0", "at least 1"),
        ("{points: 4}", "of: found nothing", "required"),
        ("{points: 4, of: {share: [0.1, 0.5]}}", "'share'", "a parameter of a block"),
        ("{points: 4, of: {server.beta: [0.1, 0.5]}}", "'server.beta'", "a parameter of a block"),
        ("{points: 4, of: {compressor.share: [0.5, 0.1]}}", "[0.5, 0.1]", "low < high"),
        ("{points: 4, of: {compressor.shares: [0.1, 0.5]}}", "unknown key 'shares'", "share"),
        ("{points: 4, of: {compressor.share: [0.1, 5.0]}}", "compressor.share: found", "at most 1"),
        ("{points: 4, of: {compressor.share: [a, b]}}", "found", "number"),
    ],
)
def test_a_mistake_is_one_line(here, text, found, allowed):
    project(here, sampled(text))
    lines = check_files([STUDY])
    assert len(lines) == 1 and found in lines[0] and allowed in lines[0], lines
