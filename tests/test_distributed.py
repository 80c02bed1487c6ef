"""Runs over real processes: the simulator's results, the bytes that were sent, and processes that are killed.

Results over messages equal the simulator's bit for bit, of convex problems and networks alike: the server adds up the same
numbers in the same order. Over all-reduces they equal it to rounding, since those add up in an order of their own.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import processes
import pytest
import torch
from helpers import digits_run, methods, vary

from fewbits import registry, studies
from fewbits.compressors.base import Compressed
from fewbits.compressors.message import MessageError
from fewbits.distributed.drafts import Draft, Way
from fewbits.distributed.group import Group
from fewbits.distributed.messages import Messages
from fewbits.federation.network import choose
from fewbits.files import canonical, read_json, write_json
from fewbits.studies import read_run
from fewbits.train import train_one

WORKER = str(Path(__file__).with_name("distributed_worker.py"))
SLOTS = (
    "algorithm", "compressor", "downlink", "layers", "model", "local", "space", "selection", "sending", "server",
    "attack", "aggregation",
)  # fmt: skip


def silent(line):
    pass


def over_processes(folder: Path, size: int, messages: dict, all_reduce: dict | None = None) -> None:
    """Train specs over a group in these forms, each into folder/span/NAME."""
    jobs = {name: ("messages", spec) for name, spec in messages.items()}
    jobs |= {name: ("all_reduce", spec) for name, spec in (all_reduce or {}).items()}
    write_json(folder / "jobs.json", jobs)
    words = [str(folder / "jobs.json"), str(folder / "span"), "{init}", "{rank}", "{size}"]
    processes.run([WORKER, *words], size, folder)


def assert_like_the_simulator(
    folder: Path, specs: dict[str, dict], simulated: Path | None = None
) -> None:
    """Equal folders, and equal bytes: those sent and those reported. simulated: where the simulator trains what is not there."""
    simulated = simulated or folder / "alone"
    for name, spec in specs.items():
        train_one(spec, simulated / name, say=silent)
        assert files(folder / "span" / name) == files(simulated / name), name
        last = pd.read_csv(folder / "span" / name / "metrics.csv").iloc[-1]
        sent = read_json(folder / "span" / name / "traffic.json")
        if np.isfinite(last.values).all():
            clients = spec["partition"]["clients"]
            assert 8 * sent["up"] == pytest.approx(last["bits_up"] * clients, rel=1e-12), name
        if np.isfinite(last.values).all() and not spec.get("selection"):
            assert 8 * sent["down"] == last["bits_down"], name


def files(folder: Path) -> dict[str, bytes]:
    """What `fewbits train` leaves, but for times."""
    found = [p for p in folder.rglob("*") if p.suffix in (".json", ".csv", ".npz")]
    return {str(p.relative_to(folder)): p.read_bytes() for p in found if p.name != "traffic.json"}


def fillings_of_the_default_pipeline() -> dict[str, dict]:
    """A run for every filling of the slots in its studies that differs from others in more than numbers, with two rounds."""
    chosen = studies.load_config(Path("config/config.yaml"), {})
    found = {}
    for path in chosen.study_files:
        for run in studies.load_study(path).runs(chosen.scale):
            spec = {**run.spec, "rounds": 2, "record_every": 1}
            if "snapshots" in spec:
                spec["snapshots"] = {**spec["snapshots"], "rounds": [1, 2]}
            found.setdefault(canonical(but_for_numbers([spec.get(slot) for slot in SLOTS])), spec)
    return {f"run-{i}": spec for i, spec in enumerate(found.values())}


def but_for_numbers(block):
    """The same, with a mark in place of each number that is not zero, which often leaves something out."""
    if isinstance(block, dict):
        return {key: but_for_numbers(value) for key, value in block.items()}
    if isinstance(block, list):
        return [but_for_numbers(value) for value in block]
    counted = isinstance(block, int | float) and not isinstance(block, bool)
    return "number" if counted and block else block


def test_every_algorithm_gives_the_simulators_results(spec, tmp_path):
    """Over messages its bytes; over all-reduces of dense messages its numbers, to rounding."""
    small = {"rounds": 4, "partition": {"clients": 5}, "step": {"value": 0.3}}
    specs = {
        name: vary(spec, **small, **({"compressor": {"name": "topk", "k": 4}} | changes))
        for name, changes in methods().items()
    }
    half = {"selection": {"name": "uniform", "fraction": 0.5}}
    specs["cohort"] = vary(specs["ef21"], **half, compressor={"name": "qsgd", "levels": 2})
    specs["segments"] = vary(specs["ef21_plus"]) | {"sending": {"name": "segments", "count": 4}}
    judged = {"selection": {"name": "qualification", "keep": 0.5}}
    specs["judged"] = vary(specs["scaffold"]) | judged
    specs["judged segments"] = vary(specs["qsfl"]) | judged
    warm = {"name": "powersgd", "rank": 1, "start": "warm"}
    specs["warm"] = vary(specs["ef21"], **half, compressor=warm)
    specs["warm both ways"] = vary(specs["ef21_bc"], compressor=warm, downlink=warm)
    specs["clock"] = vary(specs["ef21"], clock={"name": "phones"})
    malice = {"attack": {"name": "gaussian", "share": 0.2}, "aggregation": {"name": "median"}}
    specs["attacked"] = vary(specs["gd"], **malice)
    specs["diverges"] = vary(specs["ef21"], step={"value": 1e200})
    specs["kept"] = vary(specs["ef21"], snapshots={"rounds": [2], "clients": 4})
    specs["statistics"] = batch_normalised()
    adamw = {"name": "adamw", "step": 0.01, "steps": 2, "batch": 16}
    specs["kept for work"] = batch_normalised() | {"local": adamw, "seed": 1}
    spaces = [{"name": "low_rank", "rank": 2}, {"name": "mask", "share": 0.1}]
    for space in spaces:
        coded = {"space": space, "compressor": {"name": "uniform", "bits": 4}}
        specs[space["name"]] = specs["statistics"] | coded
    specs |= personal()
    dense = {"rounds": 4, "partition": {"clients": 2}, "compressor": None, "step": {"value": 0.3}}
    summed = {
        f"sum-{name}": vary(spec, **dense, algorithm={"name": name})
        for name in ("gd", "fedavg", "powersgd")
    }
    over_processes(tmp_path, 2, specs, summed)
    assert_like_the_simulator(tmp_path, specs)
    for name, one in summed.items():
        train_one(one, tmp_path / "alone" / name, say=silent)
        alone, span = (pd.read_csv(tmp_path / p / name / "metrics.csv") for p in ("alone", "span"))
        np.testing.assert_allclose(span, alone, rtol=1e-6, atol=1e-9)
        sent = read_json(tmp_path / "span" / name / "traffic.json")
        assert 8 * sent["up"] == alone["bits_up_values"].iloc[-1]  # of process 0; no headers


def personal() -> dict[str, dict]:
    """Clients with models of their own, of which some are malicious, judged on test rows of their own."""
    plain = digits_run(
        model={"train_metrics": False, "client_tests": True, "precision": "float32"},
        partition={"clients": 5},
        local={"name": "sgd", "step": 0.1, "steps": 3, "batch": 8},
        rounds=3,
    )
    half = {"selection": {"name": "uniform", "fraction": 0.6}}
    lp = {"name": "lp_proj_2", "ratio": 0.1, "strength": 0.5, "repeats": 2, "projector": "dense"}
    attacked = {"attack": {"name": "sign_flip", "share": 0.4}}
    median = {"aggregation": {"name": "median"}, "seed": 1}
    return {
        "one model for all": plain,
        "local": vary(plain, algorithm={"name": "local"}),
        "pair": vary(plain, algorithm={"name": "averaged_pair", "start": "own"}),
        "head": vary(plain, algorithm={"name": "lg_fedavg"}, **half),
        "one step": vary(plain, algorithm={"name": "per_fedavg"}, **attacked),
        "projected": vary(plain, algorithm=lp, **attacked, **half),
        "held near": vary(plain, algorithm={"name": "ditto"}, **attacked, **median),
    }


def batch_normalised() -> dict:
    """FedAvg on a network whose running statistics travel too."""
    net = {"net": "digits_cnn", "parameters": {"norm": "batch"}, "train_metrics": False}
    return digits_run(
        model=net,
        partition={"name": "iid", "clients": 3},
        local={"name": "sgd", "step": 0.05, "steps": 2, "batch": 32},
        rounds=2,
    )


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> Path:
    """Where the simulator's runs are kept from one test to the next."""
    return tmp_path_factory.mktemp("simulated")


@pytest.mark.long
@pytest.mark.parametrize(("size", "every"), [(3, 1), (2, 6)])
def test_the_default_pipelines_methods_give_the_simulators_bytes(tmp_path, simulated, size, every):
    """All fillings with unequal shares of the clients, some of them with equal shares too."""
    found = list(fillings_of_the_default_pipeline().items())
    specs = dict(found[::every])
    over_processes(tmp_path, size, specs)
    assert_like_the_simulator(tmp_path, specs, simulated)


@pytest.mark.long
@pytest.mark.parametrize(("victim", "method"), [(0, "randk"), (2, "projected")])
def test_a_killed_process_stops_the_others_and_the_run_goes_on_to_the_same_bytes(
    spec, tmp_path, victim, method
):
    """Stated in docs/distributed.md: at once. A minute, for a machine that is busy."""
    random = vary(spec, compressor={"name": "randk", "k": 5, "scaled": False})
    long = {"randk": random, "projected": personal()["projected"]}[method]
    write_json(tmp_path / "spec.json", vary(long, rounds=200, record_every=10))
    out = tmp_path / "span" / "run"
    command = ["-m", "fewbits.distributed", "--spec", str(tmp_path / "spec.json")]
    command += ["--out", str(out), "--init", "{init}"]
    often = {"FEWBITS_CHECKPOINT_SECONDS": "0.05"}
    with processes.started(command, 3, tmp_path / "first", **often) as group:
        while len(list(out.glob("checkpoint.*"))) < 6:
            assert all(process.poll() is None for process in group), texts(tmp_path / "first")
            time.sleep(0.01)
        group[victim].kill()
        begin = time.monotonic()
        codes = [process.wait(timeout=120) for process in group]
        assert time.monotonic() - begin < 60
    assert all(codes), "the run ended before it was killed"
    for rank in {0, 1, 2} - {victim}:
        said = (tmp_path / "first" / f"rank{rank}.txt").read_text()
        assert f"fewbits: process {rank} of 3: " in said and "the same command goes on" in said
        assert "Traceback" not in said
    assert not (out / "summary.json").exists()
    processes.run(command, 3, tmp_path / "second")
    assert not list(out.glob("checkpoint.*"))
    journal = [json.loads(line)["event"] for line in (out / "journal.jsonl").open()]
    assert journal.count("start") == journal.count("resume") == 1
    assert_like_the_simulator(tmp_path, {"run": read_run(tmp_path / "spec.json")})


@pytest.mark.long
def test_torchrun_starts_it(spec, tmp_path):
    write_json(tmp_path / "spec.json", vary(spec, rounds=4))
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "fewbits.distributed", "--spec", str(tmp_path / "spec.json")]
    processes.run([*command, "--out", str(tmp_path / "span" / "run")], 1, tmp_path)
    assert_like_the_simulator(tmp_path, {"run": read_run(tmp_path / "spec.json")})


def test_what_cannot_run_over_processes_says_so_in_one_line(spec, tmp_path):
    dense = vary(spec, algorithm={"name": "qsfl"}, compressor=None, step={"value": 0.1})
    judged = dense | {"selection": {"name": "qualification", "keep": 0.5}}
    own_models = personal()["held near"]
    cases = {"topk": spec, "owners": dense, "judged": judged, "personal": own_models}
    for name, one in cases.items():
        write_json(tmp_path / f"{name}.json", one)
        command = ["-m", "fewbits.distributed", "--spec", str(tmp_path / f"{name}.json")]
        command += ["--out", str(tmp_path / name), "--init", "{init}", "--form", "all_reduce"]
        with processes.started(command, 1, tmp_path) as (process,):
            assert process.wait(timeout=120) == 1
        assert "allowed: " in texts(tmp_path) and "Traceback" not in texts(tmp_path)


def texts(folder: Path) -> str:
    return "\n".join(path.read_text() for path in sorted(folder.glob("rank*.txt")))


def draft_of(x, compressor):
    return Compressed(x, None, Draft((Way(compressor, tuple(x.shape[2:]), x, None),)))


def test_a_draft_tells_the_receiver_which_way_a_message_went():
    """What a receiver makes of it rests on the bytes and its own base, on nothing else of the sender's."""
    topk, whole = (
        registry.make("compressor", block)
        for block in ({"name": "topk", "k": 2}, {"name": "identity"})
    )
    x = torch.randn(1, 2, 8, generator=torch.Generator().manual_seed(0))
    base = torch.ones(1, 2, 8)
    first = torch.tensor([[True, False]])
    bits = topk.payload((8,))
    moved = Compressed(x, bits, draft_of(x, topk).draft).onto(base)
    sent = choose(first, moved, Compressed(x, bits, draft_of(x, whole).draft)).draft
    payloads = [sent.encode((0, i)) for i in range(2)]

    unknown = torch.full_like(x, torch.nan)
    moved = Compressed(unknown, bits, draft_of(unknown, topk).draft).onto(base)
    got = choose(~first, moved, Compressed(unknown, bits, draft_of(unknown, whole).draft)).draft
    assert torch.equal(got.decode((0, 0), payloads[0]), 1 + topk.compress(x[0, 0], (8,)).value)
    assert torch.equal(got.decode((0, 1), payloads[1]), x[0, 1])
    with pytest.raises(MessageError, match="sender 1"):
        got.decode((0, 1), payloads[1][:-1])


def test_a_message_longer_than_it_is_counted_is_found_out():
    topk = registry.make("compressor", {"name": "topk", "k": 2})
    network = Messages(Group(0, 1, "cpu"), np.ones(1, bool), (8,), topk, topk)
    network.open_round(torch.zeros(1, 4), np.zeros(1, np.uint64), 1)
    message = network.compress(torch.arange(8.0).reshape(1, 1, 8))
    cheap = type(message.bits)(1, 0, 0)
    with pytest.raises(RuntimeError, match="is counted as 1"):
        network.up(Compressed(message.value, cheap, message.draft))
