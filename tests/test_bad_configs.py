"""Mistakes in studies and configurations: one line each, with file, key path, what was found, what is allowed."""

from __future__ import annotations

import copy
import re

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from study_text import CONFIG, GOOD, STUDY, project

from fewbits.studies import StudyError, check_files, load_config, load_study, plan

SWEEP = "scales.default.grids.sweep"
MEASURE = "claims[0].scales.default.measure"

# (text in the good study, what replaces it, key path, found, allowed)
BAD = [
    # keys
    ("title: \"A good study\"", 'titel: "A"', "titel", "unknown key 'titel'", "(did you mean 'title'?)"),
    ('title: "A good study"\n', "", "title", "nothing", "this key is required"),
    ("        rounds: 400\n", "", f"{SWEEP}.rounds", "nothing", "required, here or in base"),
    ("        rounds: 400", "        round: 400\n        rounds: 400", f"{SWEEP}.round", "unknown key 'round'",
     "(did you mean 'rounds'?)"),
    ("base:\n", "base:\n  modle: logistic\n", "base.modle", "unknown key 'modle'", "(did you mean 'model'?)"),
    ("    caption:", "    captoin:", "figures[0].captoin", "unknown key", "(did you mean 'caption'?)"),
    ("  default:\n    grids", "  defualt:\n    grids", "scales.defualt", "'defualt'",
     "default, paper (did you mean 'default'?)"),
    ("        seed: [0, 1]\n        rounds: 400", "        seed: [0, 1]\n        seed: [2]\n        rounds: 400",
     f"{SWEEP}.seed", "'seed' twice (first in line 19)", "once"),
    # types
    ("rounds: 400", 'rounds: "400"', f"{SWEEP}.rounds", "'400'", "a whole number, at least 1"),
    ("rounds: 400", "rounds: 40.5", f"{SWEEP}.rounds", "40.5", "a whole number"),
    ("rounds: 400", "rounds: true", f"{SWEEP}.rounds", "true", "a whole number"),
    ("rounds: 400", "snapshots: {rounds: 7}\n        rounds: 400", f"{SWEEP}.snapshots.rounds", "7", "a list"),
    ("rounds: 400", "snapshots: {rounds: [0]}\n        rounds: 400", f"{SWEEP}.snapshots.rounds[0]", "0", "at least 1"),
    ("rounds: 400", "snapshots: {rounds: [1, 401]}\n        rounds: 400", f"{SWEEP}.snapshots.rounds[1]", "401",
     "at most the 400 rounds"),
    ("rounds: 400", "snapshots: {round: [1]}\n        rounds: 400", f"{SWEEP}.snapshots.round", "unknown key", "rounds"),
    ("rounds: 400", "rounds: []", f"{SWEEP}.rounds", "an empty list", "at least one value"),
    ("title: \"A good study\"", "title: [A]", "title", "[A]", "text"),
    ("figures:\n", "figures: none\nfigure_list:\n", None, None, None),
    ("scales: [default]", "scales: default", "figures[0].scales", "'default'", "a list"),
    ("k: [1, 2]", "k: [1, two]", f"{SWEEP}.compressor.k[1]", "'two'", "a whole number"),
    ("k: [1, 2]", 'k: "1"', f"{SWEEP}.compressor.k", "'1'", "a number (without quotes)"),
    ("k: [1, 2]", "k: yes", f"{SWEEP}.compressor.k", "'yes'", "a whole number"),
    ("target: 1e-7", "target: small", f"{MEASURE}.target", "'small'", "a number"),
    ("strength: 0.1", "strength: .nan", "base.model.strength", "nan", ""),
    ("factor: [1, 4]", "factor: [[1, 4]]", f"{SWEEP}.step.factor[0]", "[1, 4]", "a number"),
    # names
    ("name: topk", "name: tokp", f"{SWEEP}.compressor.name", "'tokp'", "(did you mean 'topk'?)"),
    ("algorithm: [dcgd,", "algorithm: [dccgd,", f"{SWEEP}.algorithm[0]", "'dccgd'", "(did you mean 'dcgd'?)"),
    ("        dataset: breast_cancer\n        algorithm: [", "        dataset: breast-cancer\n        algorithm: [",
     f"{SWEEP}.dataset", "'breast-cancer'", "(did you mean 'breast_cancer'?)"),
    ("start: [gradient, compressed]", "start: [gradient, compresed]", f"{SWEEP}.algorithm[1].start[1]",
     "'compresed'", "(did you mean 'compressed'?)"),
    ("regulariser: nonconvex", "regulariser: non-convex", "base.model.regulariser", "'non-convex'", "'nonconvex'?"),
    ("rule: theory, factor: [1", "rule: theroy, factor: [1", f"{SWEEP}.step.rule", "'theroy'", "theory, pl, gd"),
    ("clients: 20}", "clients: 20, alpha: 0.1}", "base.partition.alpha", "unknown key 'alpha'", "clients"),
    ("{name: topk, k: [1, 2]}", "{name: topk}", f"{SWEEP}.compressor.k", "nothing", "required"),
    ("{name: topk, k: [1, 2]}", "{k: [1, 2]}", f"{SWEEP}.compressor.name", "nothing", "identity"),
    ("kind: curves", "kind: curve", "figures[0].kind", "'curve'", "(did you mean 'curves'?)"),
    ("kind: settings", "kind: setings", "tables[0].kind", "'setings'", "(did you mean 'settings'?)"),
    ("options: {x: bits_up", "options: {xx: bits_up", "figures[0].options.xx", "unknown key 'xx'", "x, "),
    ("estimator: bits_to_target", "estimator: bits_to_traget", f"{MEASURE}.estimator", "'bits_to_traget'",
     "(did you mean 'bits_to_target'?)"),
    (", axis: paper}", ", axsi: paper}", f"{MEASURE}.axsi", "unknown key 'axsi'", "(did you mean 'axis'?)"),
    (", axis: paper}", ", axis: papers}", f"{MEASURE}.axis", "'papers'", "(did you mean 'paper'?)"),
    ("paper: richtarik2021ef21", "paper: richtarik2021", "paper", "'richtarik2021'", "'richtarik2021ef21'?"),
    ("study: good", "study: god", "study", "'god'", "'good', as the file is named"),
    # ranges
    ("rounds: 400", "rounds: 0", f"{SWEEP}.rounds", "0", "a whole number, at least 1"),
    ("seed: [0, 1]\n        rounds: 400", "seed: [0, -1]\n        rounds: 400", f"{SWEEP}.seed[1]", "-1", "at least 0"),
    ("record_every: 20", "record_every: 500", f"{SWEEP}.record_every", "500", "at most the 400 rounds"),
    ("grad_sq_below: 1e-14", "grad_sq_below: -1", f"{SWEEP}.stop.grad_sq_below", "-1", "more than 0"),
    ("factor: [1, 4]", "factor: [1, 0]", f"{SWEEP}.step.factor[1]", "0", "more than 0"),
    ("value: 0.5", "value: -0.5", "scales.paper.grids.sweep.step.value", "-0.5", "more than 0"),
    ("k: [1, 2]", "k: [0, 2]", f"{SWEEP}.compressor.k[0]", "0", "at least 1"),
    ("within_factor: 1.5", "within_factor: 0.5", "claims[0].scales.default.reproduced.within_factor", "0.5",
     "more than 1"),
    # combinations
    ("k: [1, 2]", "k: [1, 31]", f"{SWEEP}.compressor.k[1]", "31", "at most 30"),
    ("clients: 20}", "clients: 600}", "base.partition.clients", "600", "at most 569"),
    ("        dataset: breast_cancer\n        algorithm: gd", "        dataset: digits\n        algorithm: gd",
     "base.model.name", "'logistic'", "data sets "),
    ("        compressor: {name: topk, k: [1, 2]}\n", "", f"{SWEEP}.compressor", "nothing for an algorithm", "identity"),
    ("algorithm: [dcgd,", "algorithm: [gd,", f"{SWEEP}.compressor", "'topk' for algorithm 'gd'", "no compressor"),
    ("step: {rule: theory, factor: 1}", "step: {rule: theory, value: 1}", "scales.default.grids.dense.step",
     "{rule: theory, value: 1}", "either"),
    ("step: {rule: theory, factor: 1}", "step: 0.1", "scales.default.grids.dense.step", "0.1", "{value: number}"),
    ("rounds: 400", "space: {name: mask, share: 0.1}\n        rounds: 400", f"{SWEEP}.space.name", "local work",
     "another combination"),
    ("rounds: 1000", "local: {name: sgd, step: 1.0, epochs: 1}\n        space: {name: low_rank, rank: 2}\n        rounds: 1000",
     "scales.paper.grids.sweep.space.name", "two factors", "another combination"),
    ("rounds: 400", "space: {name: maks, share: 0.1}\n        rounds: 400", f"{SWEEP}.space.name", "'maks'", "'mask'?"),
    ("rounds: 400", "space: {name: mask, share: 1.5}\n        rounds: 400", f"{SWEEP}.space.share", "1.5", "at most 1"),
    ("step: {rule: theory, factor: 1}", "step: {rule: theory, factor: 1}\n        sending: {name: segments, count: 9}",
     "scales.default.grids.dense.step", "sending 'segments'", "step: {value: ...}"),
    ("step: {value: 0.5}", "step: {value: 0.5}\n        sending: {name: segments, count: 99}",
     "scales.paper.grids.sweep.sending.count", "99", "at most 68"),
    ("        algorithm: gd\n        step: {rule: theory, factor: 1}", "        algorithm: powersgd\n        step: {value: 1}\n        sending: {name: segments, count: 3}", "scales.default.grids.dense.sending.name",
     "does not send its update", "another"),
    ("        rounds: 200", "        downlink: {name: topk, k: 1}\n        rounds: 200", "scales.default.grids.dense.downlink",
     "'topk' for algorithm 'gd', whose server sends whole models", "dga, ef21_bc"),
    ("rounds: 1000", "attack: {name: gaussian, share: 0.02}\n        rounds: 1000", "scales.paper.grids.sweep.attack.share",
     "0.02 (a share of 0.02 of the 20 clients is nobody)", "another combination"),
    ("{name: contiguous, clients: 20}", "{name: fixed_classes, clients: 20, classes: 3}", "base.partition.classes",
     "3 (the data set has 2 classes)", "at most 2 for this data set"),
    # references
    ("grid: [sweep, dense]", "grid: [sweep, dens]", "figures[0].grid", "'dens'", "(did you mean 'dense'?)"),
    ("select: {algorithm: [ef21, gd]}", "select: {algoritm: ef21}", "figures[0].select.algoritm",
     "unknown key 'algoritm'", "(did you mean 'algorithm'?)"),
    ("select: {algorithm: [ef21, gd]}", "select: {algorithm: ef22}", "figures[0].select.algorithm", "'ef22'",
     "(did you mean 'ef21'?)"),
    ("compressor.k: 1,", "compressor.k: 3,", f"{MEASURE}.select.compressor.k", "3", "1, 2"),
    ("select: {dataset: phishing}", "select: {dataset: phishing, seed: 1}",
     "claims[0].scales.paper.measure.select.seed", "1", "0"),
    ("select: {algorithm: [ef21, gd]}", "select: {algorithm: gd, compressor: topk}", "figures[0].select",
     "{algorithm: gd, compressor: topk}", "occur together"),
    ("scales: [default]", "scales: [default, paper]", "figures[0].grid", "'dense'", "sweep"),
    ("  - id: settings\n", "  - id: settings\n    kind: constants\n  - id: settings\n", "tables[1].id", "'settings'",
     "an id that no other"),
    ("select: {algorithm: [ef21, gd]}", "select: {algorithm: [ef21, gdd]}", "figures[0].select.algorithm[1]", "'gdd'",
     "dcgd, ef21, gd (did you mean 'gd'?)"),
    # claims
    ("{within_factor: 1.5}", "{}", "claims[0].scales.default.reproduced", "an empty mapping", "exactly one of"),
    ("{within_factor: 1.5}", "{below: 1, above: 0}", "claims[0].scales.default.reproduced", "{below: 1, above: 0}",
     "exactly one of"),
    ("{within_factor: 1.5}", "{between: [2, 1]}", "claims[0].scales.default.reproduced", "{between: [2, 1]}", "low < high"),
    ("value: 13, ", "", "claims[0].scales.default.reproduced.within_factor", "within_factor, but no", "published.value"),
    (GOOD[GOOD.index("      default:\n        measure") :], "      {}\n", "claims[0].scales", "an empty mapping",
     "at least 1"),
    (GOOD[GOOD.index("  paper:\n    grids") : GOOD.index("figures:")], "\n", "claims[0].scales.paper",
     "scale 'paper', at which nothing is run", "default"),
    # YAML
    ("rounds: 400", "rounds:\t400\n\tx: 1", "", "a tab", "spaces"),
    ("rounds: 400", "rounds: [400", "", "did not find expected", "YAML"),
    ("rounds: 400", "rounds: *all", f"{SWEEP}.rounds", "the alias *all", "an anchor"),
    ("rounds: 400", "<<: {rounds: 400}", f"{SWEEP}.<<", "a merge key", "base"),
    ("rounds: 400", "rounds: !!python/name:os.system 400", f"{SWEEP}.rounds", "the tag", "plain values"),
    ("rounds: 400", "rounds: " + "[" * 60 + "]" * 60, "", "nesting deeper than 40", "less"),
    (GOOD, "", "", "nothing in the file", "a mapping"),
    (GOOD, "- a\n- b\n", "", "[a, b]", "a mapping"),
    (GOOD, GOOD + "---\na: 1\n", "", "a second document", "one document"),
]  # fmt: skip
BAD = [case for case in BAD if case[2] is not None]


@pytest.fixture(autouse=True)
def in_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    project(tmp_path)


@pytest.mark.parametrize(
    "old, new, path, found, allowed", BAD, ids=[f"{i}-{c[2]}" for i, c in enumerate(BAD)]
)
def test_a_mistake_gives_one_line(tmp_path, old, new, path, found, allowed):
    assert old in GOOD
    project(tmp_path, GOOD.replace(old, new, 1))
    lines = check_files([STUDY])
    assert len(lines) == 1, lines
    place = f"{re.escape(path)}: " if path else ""
    match = re.match(
        rf"config/studies/good\.yaml(:\d+)?: {place}found (.*); allowed: (.*)$", lines[0]
    )
    assert match, lines[0]
    assert found in lines[0] and allowed in match[3], lines[0]
    for word in ("Input", "validation", "pydantic", "str_type", "Traceback", "dict_type"):
        assert word not in lines[0]


def test_the_line_is_the_one_of_the_key(tmp_path):
    project(tmp_path, GOOD.replace("name: topk, k: [1, 2]", "name: tokp, k: [1, 2]"))
    number = next(i for i, line in enumerate(GOOD.splitlines(), 1) if "k: [1, 2]" in line)
    assert check_files([STUDY])[0].startswith(f"config/studies/good.yaml:{number}: ")


def test_each_problem_has_its_line(tmp_path):
    text = GOOD.replace("rounds: 400", "rounds: 0").replace("name: topk, k: [1, 2]", "name: tokp")
    project(tmp_path, text)
    assert len(check_files([STUDY])) == 2


@pytest.mark.parametrize(
    "text, found", [(b"study: \xff\n", "byte 0xff"), (b"study: \x00\n", "control characters")]
)
def test_bytes_that_are_no_text(tmp_path, text, found):
    project(tmp_path, text)
    (line,) = check_files([STUDY])
    assert line.startswith("config/studies/good.yaml") and found in line and "; allowed: " in line


def test_deep_nesting_and_alias_bombs_end_quickly(tmp_path):
    project(tmp_path, "a: " + "[" * 200_000)
    assert "deeper" in check_files([STUDY])[0]
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9))
    project(tmp_path, bomb)
    assert "more than 200000 values" in check_files([STUDY])[0]
    project(tmp_path, "a: &a [*a]\n")
    assert "an anchor that is complete" in check_files([STUDY])[0]


def test_a_missing_file():
    (line,) = check_files(["config/studies/none.yaml"])
    assert line == "config/studies/none.yaml: found no such file; allowed: an existing YAML file"
    assert len(check_files(["config"])) == 1


BAD_CONFIG = [
    ("scale: default", "scale: large", {}, "scale", "'large'", "default, paper"),
    ("scale: default", "scal: default", {}, "scal", "unknown key", "(did you mean 'scale'?)"),
    ("studies: [good]", "studies: [god]", {}, "studies[0]", "'god'", "good (did you mean 'good'?)"),
    ("studies: [good]", "studies: []", {}, "studies", "an empty list", "at least 1"),
    ("studies: [good]", "studies: [good, good]", {}, "studies[1]", "'good'", "each study once"),
    ("studies: [good]\n", "", {}, "studies", "nothing", "required"),
    ("data_root: null", "data_root: 3", {}, "data_root", "3", "text"),
    ("", "", {"scale": "papr"}, "scale", "'papr'", "(did you mean 'paper'?)"),
    ("", "", {"studis": "good"}, "studis", "unknown key", "(did you mean 'studies'?)"),
]


# The good study with snapshots and operators, and what reads them.
MEASURED = GOOD.replace("record_every: 20\n", "record_every: 20\n        snapshots: {rounds: [1, 400]}\n", 1).replace(
    "        rounds: 1000\n", "        rounds: 1000\n        snapshots: {rounds: [5]}\n"
).replace("figures:\n", """\
operators:
  budgets: [0.1, 0.2]
  draws: 2
  of:
    topk: {label: Top-k, compressor: {name: topk}}
    sign: {label: sign, compressor: {name: sign}}
figures:
  - id: rates
    kind: rate_distortion
    title: "Rates"
    options: {operators: [topk, sign]}
""").replace("claims:\n", """\
claims:
  - id: R1
    statement: "Little is lost."
    published: {text: null, where: nowhere}
    scales:
      default:
        measure: {estimator: operator_error, operator: topk, budget: 0.1}
        reproduced: {below: 0.5}
""")  # fmt: skip

BAD_OPERATORS = [
    ("of:\n    topk", "off:\n    topk", "operators.off", "unknown key 'off'", "'of'"),
    ("budgets: [0.1, 0.2]", "budgets: [0.1, 2]", "operators.budgets[1]", "2", "at most 1"),
    ("draws: 2", "draws: 0", "operators.draws", "0", "at least 1"),
    ("{name: topk}}", "{name: tokp}}", "operators.of.topk.compressor.name", "'tokp'", "'topk'?"),
    ("{name: sign}}", "{name: sign, q: 1}}", "operators.of.sign.compressor.q", "unknown key 'q'", "wire"),
    ("{name: sign}}", "{name: threshold}}", "operators.of.sign.compressor.threshold", "nothing", "required"),
    ("label: sign, ", "", "operators.of.sign.label", "nothing", "required"),
    ("[topk, sign]", "[topk, sing]", "figures[0].options.operators[1]", "'sing'", "'sign'?"),
    ("operator: topk", "operator: svd", "claims[0].scales.default.measure.operator", "'svd'", "topk, sign"),
    ("topk, budget: 0.1", "topk, budget: 0.3", "claims[0].scales.default.measure.budget", "0.3", "0.1, 0.2"),
    ("        snapshots: {rounds: [5]}\n", "", "operators", "no run with snapshots at scale 'paper'", "in a grid"),
]  # fmt: skip


def test_a_study_of_operators_is_good(tmp_path):
    assert check_files([project(tmp_path, MEASURED)]) == []


@pytest.mark.parametrize("old, new, path, found, allowed", BAD_OPERATORS)
def test_a_mistake_in_operators_gives_one_line(tmp_path, old, new, path, found, allowed):
    assert MEASURED.count(old) == 1
    (line,) = check_files([project(tmp_path, MEASURED.replace(old, new))])
    match = re.match(rf"\S+\.yaml:\d+: {re.escape(path)}: found (.*); allowed: (.*)$", line)
    assert match and found in match[1] and allowed in match[2], line


def test_reading_operators_needs_operators(tmp_path):
    options = "kind: rate_distortion\n    options: {operators: [topk]}"
    bad = GOOD.replace("    kind: curves\n", f"    {options}\n").replace(
        "    options: {x: bits_up, y: grad_sq}\n", ""
    )
    (line,) = check_files([project(tmp_path, bad)])
    assert "figures[0].options: found a kind that reads operators; allowed: a study with" in line


DENSE = "        algorithm: gd\n        step: {rule: theory, factor: 1}\n"
COUPLED = "        algorithm: {name: lp_proj_2, strength: %s}\n        local: %s\n        step: {value: 1}\n"
BAD_SLOTS = [
    (COUPLED % (15, "{name: sgd, step: 0.2, steps: 5}"), "algorithm.strength", "15", "local step x strength"),
    (COUPLED % (25, "{name: sgd, step: 0.01, steps: 5}"), "algorithm.strength", "25", "reference_step x strength"),
    (COUPLED % (1, "{name: gradient}"), "algorithm.name", "'lp_proj_2'", "local must be local work"),
    (DENSE + "        server: {name: momentum}\n        aggregation: median\n", "step", "rule 'theory'", "value"),
    ("        algorithm: local\n        local: {name: sgd, step: 0.1, steps: 1}\n        step: {value: 1}\n"
     "        aggregation: median\n", "aggregation", "'median'", "does not go on with an average"),
    (DENSE + "        partition: {clients: 2}\n        step: {value: 1}\n        aggregation: krum\n", "aggregation",
     "'krum'", "needs 3 clients"),
    (DENSE + "        attack: {name: same_value, share: 1}\n", "attack.share", "1", "less than 1"),
]  # fmt: skip


@pytest.mark.parametrize("new, path, found, words", BAD_SLOTS)
def test_slots_that_do_not_fit_give_one_line(tmp_path, new, path, found, words):
    new = (
        new.replace("        step: {rule: theory, factor: 1}\n", "")
        if new.count("step: {v") and DENSE in new
        else new
    )
    (line,) = check_files([project(tmp_path, GOOD.replace(DENSE, new))])
    at = f"scales.default.grids.dense.{path}"
    match = re.match(rf"\S+\.yaml:\d+: {re.escape(at)}: found {re.escape(found)}", line)
    assert match and words in line and "; allowed: " in line, line


@pytest.mark.parametrize("old, new, overrides, path, found, allowed", BAD_CONFIG)
def test_bad_configuration(tmp_path, old, new, overrides, path, found, allowed):
    project(tmp_path, config=CONFIG.replace(old, new))
    with pytest.raises(StudyError) as caught:
        load_config("config/config.yaml", overrides)
    (line,) = str(caught.value).splitlines()
    match = re.match(
        rf"config/config\.yaml(:\d+)?: {re.escape(path)}: found (.*); allowed: (.*)$", line
    )
    assert match and found in line and allowed in match[3], line


def _places(value, path=()):
    yield path
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, item in items:
        yield from _places(item, (*path, key))


_TREE = yaml.safe_load(MEASURED.replace("1e-", "1.0e-").replace("1e12", "1.0e12"))
_PLACES = [path for path in _places(_TREE) if path]
_VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 50), st.floats(), st.text("ab: [{#\té", max_size=6), st.sampled_from(
        [[], {}, [[]], [{}], {"name": []}, {"name": {}}, {"name": "topk"}, [None], 2**70, 1e308, "none", "gd", "0", [1, "a"]]
    ),
)  # fmt: skip


@settings(max_examples=300)
@given(st.sampled_from(_PLACES), st.sampled_from(["delete", "rename", "retype", "wrap"]), _VALUES)
def test_a_random_change_gives_problems_or_a_plan(tmp_path_factory, path, how, value):
    tree = copy.deepcopy(_TREE)
    parent = tree
    for part in path[:-1]:
        parent = parent[part]
    if how == "delete":
        del parent[path[-1]]
    elif how == "rename" and isinstance(parent, dict):
        parent[f"{path[-1]}x"] = parent.pop(path[-1])
    elif how == "wrap":
        parent[path[-1]] = [parent[path[-1]], value]
    else:
        parent[path[-1]] = value
    file = project(tmp_path_factory.mktemp("mutant"), yaml.safe_dump(tree, allow_unicode=True))
    try:
        study = load_study(file)
        for scale in ("default", "paper"):
            plan(load_config(file.parents[1] / "config.yaml"), [study], scale)
    except StudyError as error:
        assert error.lines
        for line in error.lines:
            assert "\n" not in line and "good.yaml" in line and "found " in line
