"""The benchmarks that no pipeline runs still run, and the plain loop they compare with still agrees."""

from __future__ import annotations

from benchmarks import engine, federated


def test_the_engine_computes_what_a_plain_loop_does():
    assert "breast_cancer" in engine.measure("breast_cancer", lanes=5, rounds=6)


def test_contestants_of_a_round_run(monkeypatch, capsys):
    """Those that need nothing else; simulators that are not installed are left out with a line that says how to have them."""
    monkeypatch.setattr(federated, "ROWS", 20)
    monkeypatch.setattr(federated, "MANY", 200)
    racers = federated.contestants("two_nn")
    assert {"plain loop", "engine", "engine, 200 clients", "passes alone"} <= set(racers)
    found = federated.race(dict(list(racers.items())[:4]), 1, turns=1)
    assert all(seconds > 0 for seconds in found.values())
    said = capsys.readouterr().out
    assert all("FedJAX" in racers or "fedjax: left out" in line for line in said.splitlines()[:1])
