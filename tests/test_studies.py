"""Study files that are right: expansion, ids, plans, and what it costs to read them."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, ClassVar

import pytest
from pydantic import Field
from study_text import GOOD, STUDY, project

from fewbits import registry
from fewbits.models.logistic import Logistic
from fewbits.studies import (
    StudyError,
    check_files,
    flat,
    json_schema,
    load_config,
    load_study,
    plan,
    write_plan,
)
from fewbits.studies.plan import LANES, batches, seconds
from fewbits.studies.reading import read_mapping

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def in_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    project(tmp_path)


def load(tmp_path, old="", new=""):
    assert old in GOOD
    return load_study(project(tmp_path, GOOD.replace(old, new, 1)))


def specs(study, scale="default"):
    return [run.spec for run in study.runs(scale)]


def test_lists_are_axes_and_defaults_are_filled_in(tmp_path):
    study = load(tmp_path)
    runs = study.runs("default")
    assert len(runs) == 3 * 2 * 2 * 2 + 2  # (dcgd, two ef21) x k x factor x seed, and gd
    assert runs[0].spec == {
        "study": "good",
        "dataset": {"name": "breast_cancer"},
        "model": {
            "name": "logistic", "regulariser": "nonconvex", "strength": 0.1, "relative": False,
            "init": "normal", "init_scale": 1.0,
        },
        "partition": {"name": "contiguous", "clients": 20},
        "algorithm": {"name": "dcgd"},
        "compressor": {"name": "topk", "k": 1, "wire": "float32"},
        "step": {"rule": "theory", "factor": 1.0},
        "seed": 0,
        "rounds": 400,
        "record_every": 20,
        "stop": {"grad_sq_below": 1e-14, "diverge_above": 1e12},
    }  # fmt: skip
    assert runs[-1].spec["compressor"] is None and runs[-1].spec["record_every"] == 1
    assert [spec["step"] for spec in specs(study, "paper")] == [{"value": 0.5}] * 2
    assert len({run.id for run in runs}) == len(runs)
    assert [run.id for run in load(tmp_path).runs("default")] == [run.id for run in runs]


def test_ids_read_well(tmp_path):
    ids = [run.id for run in load(tmp_path).runs("default")]
    assert ids[0].startswith("dcgd-topk-k1-breast_cancer-x1-s0-")
    assert any(name.startswith("ef21-compressed-topk-k2-breast_cancer-x4-s1-") for name in ids)
    assert ids[-1].startswith("gd-breast_cancer-x1-s1-")


def test_a_new_parameter_with_a_default_keeps_ids(tmp_path, monkeypatch):
    before = [run.id for run in load(tmp_path).runs("default")]
    old = registry.find("compressor", "topk")

    @registry.plugin
    class Longer(old):
        extra: int = 3

    known = {kind: dict(registry.plugins(kind)) for kind in registry.KINDS}
    known["compressor"]["topk"] = Longer
    monkeypatch.setattr(registry, "plugins", known.__getitem__)
    runs = load(tmp_path).runs("default")
    assert runs[0].spec["compressor"]["extra"] == 3
    assert [run.id for run in runs] == before


def test_base_is_merged_by_key_and_another_plugin_replaces(tmp_path):
    old = "        algorithm: gd\n"
    merged = load(
        tmp_path, old, f"{old}        model: {{strength: 0.5}}\n        partition: {{clients: 7}}\n"
    )
    assert specs(merged)[-1]["model"] | {} == specs(merged)[0]["model"] | {"strength": 0.5}
    assert specs(merged)[-1]["partition"] == {"name": "contiguous", "clients": 7}
    other = load(tmp_path, old, f"{old}        model: {{name: least_squares}}\n")
    assert "strength" not in specs(other)[-1]["model"]
    based = load(
        tmp_path,
        "base:\n",
        "base:\n  dataset: digits\n  step: {rule: pl}\n  stop: {grad_sq_below: 0.5}\n",
    )
    assert specs(based, "paper")[0]["step"] == {"value": 0.5}
    assert specs(based)[0]["stop"] == {"grad_sq_below": 1e-14, "diverge_above": 1e12}
    assert specs(based, "paper")[0]["stop"] == {"grad_sq_below": 0.5}
    assert {spec["dataset"]["name"] for spec in specs(based)} == {"breast_cancer"}


def test_null_removes_what_base_gives(tmp_path):
    text = GOOD.replace("base:\n", "base:\n  compressor: {name: topk, k: 9}\n")
    assert "which sends dense" in "".join(check_files([project(tmp_path, text)]))
    project(tmp_path, text.replace("algorithm: gd\n", "algorithm: gd\n        compressor: null\n"))
    assert check_files([STUDY]) == []


def test_a_list_inside_a_list_is_a_value(tmp_path, monkeypatch):
    @registry.plugin
    class Shards:
        name: ClassVar[str] = "shards"
        random: ClassVar[bool] = True
        clients: Annotated[int, Field(ge=1)]
        sizes: list[int] = Field(default_factory=list)

    known = {kind: dict(registry.plugins(kind)) for kind in registry.KINDS}
    known["partition"]["shards"] = Shards
    monkeypatch.setattr(registry, "plugins", known.__getitem__)
    new = "{name: shards, clients: 2, sizes: [[1, 2], [3]]}"
    study = load(tmp_path, "{name: contiguous, clients: 20}", new)
    sizes = [spec["partition"]["sizes"] for spec in specs(study)]
    assert [1, 2] in sizes and [3] in sizes
    ids = {run.partition for run in study.runs("default")}
    assert len(ids) == 4 and all(name.startswith("breast_cancer-shards-n2-sizes_") for name in ids)


def test_partition_ids_hold_the_seed_only_where_it_matters(tmp_path):
    study = load(
        tmp_path,
        "{name: contiguous, clients: 20}",
        "{name: dirichlet, clients: 5, alpha: [0.1, 1]}",
    )
    ids = {run.partition for run in study.runs("default")}
    assert ids == {
        f"breast_cancer-dirichlet-n5-alpha{a}-s{s}" for a in ("0.1", "1") for s in (0, 1)
    }
    assert {run.partition for run in load(tmp_path).runs("default")} == {
        "breast_cancer-contiguous-n20"
    }


def test_a_run_of_two_grids_is_one_run(tmp_path):
    again = (
        "  paper:\n    grids:\n      again:\n        dataset: phishing\n        algorithm: ef21\n"
    )
    again += (
        "        compressor: {name: topk, k: 1}\n        step: {value: 0.5}\n        rounds: 1000\n"
    )
    study = load(tmp_path, "  paper:\n    grids:\n", again)
    assert [run.grids for run in study.runs("paper")] == [("again", "sweep"), ("sweep",)]


def test_figures_and_tables_know_their_scales(tmp_path):
    study = load(tmp_path)
    assert [f.id for f in study.figures_at("default")] == ["bits"] and study.figures_at(
        "paper"
    ) == []
    assert [t.id for t in study.tables_at("paper")] == ["settings"]
    study = load(tmp_path, "    scales: [default]\n")
    assert study.figures_at("paper") == []  # it has no grid "dense"
    assert study.figures[0].grid == ["sweep", "dense"]
    assert study.document["claims"][0]["scales"]["paper"]["reproduced"] == {"below": 1.0}


def test_yaml_reads_as_it_looks(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text(
        "a: 1e-7\nb: on\nc: no\nd: 1:30\ne: 0x10\nf: ~\ng: true\nno: 1\nh: 010\ni: '5'\nj: .5\nk: -2\n"
    )
    data, lines = read_mapping(path, "x.yaml")
    assert data == {
        "a": 1e-7, "b": "on", "c": "no", "d": "1:30", "e": "0x10", "f": None, "g": True, "no": 1, "h": 10,
        "i": "5", "j": 0.5, "k": -2,
    }  # fmt: skip
    assert lines[("c",)] == 3
    path.write_bytes("\ufeffa: &x {b: [1]}\nc: *x\n".encode())
    assert read_mapping(path, "x.yaml")[0] == {"a": {"b": [1]}, "c": {"b": [1]}}


def test_configuration_and_overrides():
    config = load_config("config/config.yaml", {"scale": "paper", "studies": "good"})
    assert (config.scale, config.studies, config.data_root) == ("paper", ["good"], None)
    assert config.study_files == [STUDY]


def test_little_work_is_one_job(tmp_path):
    config, study = load_config(), load(tmp_path)
    made = plan(config, [study])
    assert list(made.jobs) == ["good-0"]
    assert sorted(made.job_of) == sorted(run.id for run in study.runs("default"))
    assert list(made.partitions) == ["breast_cancer-contiguous-n20"]
    assert [run.study for run in plan(config, [study], "paper").runs] == ["good"] * 2


def test_much_work_is_divided_equally_but_not_inside_a_batch(tmp_path):
    seeds = ", ".join(map(str, range(100)))
    study = load(
        tmp_path, "seed: [0, 1]\n        rounds: 400", f"seed: [{seeds}]\n        rounds: 40000"
    )
    config = load_config()
    jobs = plan(config, [study]).jobs.values()
    work = [sum(map(seconds, batches(job.runs))) for job in jobs]
    longest = max(map(seconds, batches([run for job in jobs for run in job.runs])))
    assert len(jobs) % 2 == 0 and 4 <= len(jobs) <= 2 * sum(work) / config.job_seconds
    assert max(work) <= sum(work) / len(jobs) + longest
    assert max(map(len, batches([run for job in jobs for run in job.runs]))) <= LANES
    homes = {run.id: job.id for job in jobs for run in job.runs}
    for batch in batches([run for job in jobs for run in job.runs]):
        assert len({homes[run.id] for run in batch}) == 1


def test_jobs_are_as_long_as_asked_for(tmp_path):
    study = load(tmp_path, "rounds: 400", "rounds: 400000")
    short, long = (plan(load_config(overrides={"job_seconds": s}), [study]).jobs for s in (1, 1e9))
    assert list(long) == ["good-0"] and len(short) > 1
    assert 10 < max(job.minutes for job in short.values()) < long["good-0"].minutes


def test_a_model_says_what_a_round_takes(tmp_path, monkeypatch):
    study = load(tmp_path)
    monkeypatch.setattr(Logistic, "seconds", lambda self, spec, dataset, lanes: 1.0 * lanes)
    longer = plan(load_config(), [study])
    monkeypatch.delattr(Logistic, "seconds")
    unknown = plan(load_config(), [study])
    assert len(longer.jobs) > len(unknown.jobs) >= 1


def test_plan_is_written_only_where_it_changed(tmp_path):
    config = load_config()
    made = plan(config, [load(tmp_path)])
    folder = tmp_path / "results" / "default" / "plan"
    assert len(write_plan(made, folder)) == 1 + len(made.jobs)
    os.utime(folder / "runs.csv", (1, 1))
    assert write_plan(made, folder) == [] and (folder / "runs.csv").stat().st_mtime == 1
    rows = list(csv.DictReader((folder / "runs.csv").open()))
    assert rows[0]["algorithm"] == "dcgd" and rows[0]["step.factor"] == "1.0"
    assert rows[0]["stop.grad_sq_below"] == "1e-14" and rows[-1]["compressor.k"] == ""
    assert [row["run"] for row in rows] == [run.id for run in made.runs]
    assert list(rows[0])[:5] == ["run", "study", "grids", "job", "dataset"]
    job = json.loads((folder / "jobs" / f"{rows[0]['job']}.json").read_text())
    assert job["runs"][0]["run"] == rows[0]["run"] and job["runs"][0]["spec"] == made.runs[0].spec
    more = plan(config, [load(tmp_path, "rounds: 400", "rounds: 400000")])
    assert len(more.jobs) > 1
    write_plan(more, folder)
    last = folder / "jobs" / "good-1.json"
    assert last.exists()
    assert last in write_plan(made, folder) and not last.exists()


def test_flat_columns(tmp_path):
    columns = flat(load(tmp_path).runs("default")[-1].spec)
    assert (
        columns["algorithm"] == "gd"
        and columns["compressor"] is None
        and columns["step.factor"] == 1.0
    )
    assert "model.name" not in columns


def test_schemas_are_in_sync():
    for name, text in json_schema.schemas().items():
        written = (ROOT / "workflow" / "schemas" / name).read_text()
        assert written == text, "run: python -m fewbits.studies.json_schema workflow/schemas"


def test_every_key_is_explained():
    text = (ROOT / "config" / "README.md").read_text()
    for schema in json_schema.schemas().values():
        content = json.loads(schema)
        for part in (content, *content.get("$defs", {}).values()):
            for key in part["properties"]:
                assert f"`{key}`" in text, key


def test_the_project_s_own_studies_are_right(monkeypatch):
    monkeypatch.chdir(ROOT)
    try:
        config = load_config("config/config.yaml")
        for file in sorted(Path("config/studies").glob("*.yaml")):
            study = load_study(file)
            for scale in study.scales:
                assert plan(config, [study], scale).runs
    except StudyError as error:
        pytest.fail(str(error))


COST = """
import sys, time
start = time.perf_counter()
from fewbits.studies import load_config, load_study, plan
config = load_config("config/config.yaml")
studies = [load_study(path) for path in config.study_files]
made = plan(config, studies)
heavy = {"torch", "pandas", "mlflow", "scipy", "sklearn", "matplotlib"} & set(sys.modules)
print(len(made.runs), time.perf_counter() - start, time.process_time(), sorted(heavy))
"""


def test_a_thousand_runs_are_planned_without_heavy_imports(tmp_path):
    seeds = ", ".join(map(str, range(85)))
    project(
        tmp_path,
        GOOD.replace("seed: [0, 1]\n        rounds: 400", f"seed: [{seeds}]\n        rounds: 400"),
    )
    done = subprocess.run([sys.executable, "-c", COST], capture_output=True, text=True, check=True)
    runs, _, _, heavy = done.stdout.split(" ", 3)
    assert int(runs) == 1022
    assert heavy.strip() == "[]"
