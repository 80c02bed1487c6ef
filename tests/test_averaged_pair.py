"""Figure 1 of McMahan et al.: the points of the line are what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import digits_run, run, vary

from fewbits import registry
from fewbits.federation import assemble


@pytest.fixture
def pair():
    return digits_run(
        study="pair",
        partition={"name": "iid", "clients": 10},
        algorithm={"name": "averaged_pair", "start": "shared", "low": 0.0, "spacing": 0.5},
        local={"name": "sgd", "step": 0.1, "steps": 30, "batch": 10},
        seed=3,
        rounds=2,
    )


@pytest.mark.parametrize("start", ["shared", "own"])
def test_ends_are_trained_on_their_own_rows_and_the_rest_lies_between(pair, start):
    from fewbits.federation import engine

    spec = vary(pair, algorithm={"start": start})
    data = registry.make("dataset", spec["dataset"]).load()
    parts = registry.make("partition", spec["partition"]).split(data.y, 3)
    shared = assemble.problem(spec, data, parts)
    setting, x = shared.setting(), shared.objective.start("digits", 3)[None]
    batch = engine.start(["a"], assemble.lane_keys([spec]), x, np.array([1.0]), setting)
    points = [setting.model(batch.state)]
    for number in (1, 2):
        batch.round = number
        batch.state = setting.algorithm.round(batch.state, setting.open(batch, None))
        points.append(setting.model(batch.state))
    batch.round = 0
    keys = setting.open(batch, None).keys
    who = torch.tensor([[0, 1]])
    wanted = (
        torch.from_numpy(x)[:, None]
        - shared.local.updates(shared.objective, torch.from_numpy(x), who, keys)[0]
    )[0]
    torch.testing.assert_close(points[0][0], wanted[0])
    torch.testing.assert_close(points[1], (points[0] + points[2]) / 2)
    same = torch.allclose(points[2][0], wanted[1])
    assert same == (start == "shared")


def test_nothing_is_sent_and_theta_is_recorded(pair, tmp_path):
    table = run(tmp_path, run=pair)["run"]
    assert table.mixing.tolist() == [0.0, 0.5, 1.0]
    assert table.bits_up.tolist() == table.bits_down.tolist() == [0, 0, 0]
    assert table.loss.min() < table.loss.iloc[0] * 1.5
