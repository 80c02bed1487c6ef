"""The PDF: complete, the same bytes for the same inputs, and clear about what is missing."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import pytest
import synthetic_runs as toy

from fewbits.analysis import claims
from fewbits.analysis.collect import collect
from fewbits.analysis.errors import AnalysisError
from fewbits.analysis.numbers import typographic
from fewbits.report import build, content, provenance

TEMPLATE = Path(__file__).parents[1] / "reports"
STUDY = toy.STUDY | {"figures": toy.STUDY["figures"][:1]}  # one figure is enough here


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(results folder of the scale, provenance)."""
    root = tmp_path_factory.mktemp("results")
    manifest = toy.write(root)
    out = root / "default" / "toy"
    collect(manifest.read_text(), "toy", root / "runs", out)
    claims.judge_folder(STUDY, "default", out)
    toy.draw_all(STUDY, out, "default")
    (root / "study.yaml").write_text("study: toy\n")
    facts = provenance.collect_provenance(
        "default", [root / "study.yaml"], manifest, root / "runs", "snakemake all"
    )
    return root / "default", facts


def query(made, studies, selector):
    """What the typeset document holds, asked of typst itself."""
    import typst

    with build.staged(studies, "default", *made, TEMPLATE) as folder:
        return json.loads(typst.query(folder / "report.typ", selector, root=folder))


def test_two_builds_are_the_same_bytes(made, tmp_path):
    paths = [tmp_path / "a.pdf", tmp_path / "elsewhere" / "b.pdf"]
    first, second = (
        build.build([STUDY], "default", *made, p, TEMPLATE).read_bytes() for p in paths
    )
    assert first == second and first.startswith(b"%PDF")
    assert b"pdfuaid" in first  # accessible: PDF/UA


def test_every_claim_figure_and_table_is_in_the_report(made):
    other = copy.deepcopy(STUDY) | {"study": "second", "title": "A second study"}
    shutil.copytree(made[0] / "toy", made[0] / "second", dirs_exist_ok=True)
    for study in (STUDY, other):
        name = study["study"]
        wanted = [f"claim-{name}-{claim['id']}" for claim in study["claims"]]
        wanted += [f"figure-{name}-{figure['id']}" for figure in study["figures"]]
        wanted += [f"table-{name}-{table['id']}" for table in study["tables"]]
        for label in wanted:
            assert len(query(made, [STUDY, other], f"<{label}>")) == 1, label


def test_figures_have_alternative_text(made):
    images = query(made, [STUDY], "image")
    wanted = [typographic(figure["alt"]) for figure in STUDY["figures"]]
    assert [image["alt"] for image in images] == wanted


def test_the_scorecard_says_what_was_measured(made):
    data = content.content([STUDY], "default", *made)
    rows = {claim["id"]: claim for claim in data["studies"][0]["claims"]}
    assert data["headline"] == "4 claims of 1 study:"
    assert dict(data["counts"]) == {
        "reproduced": "2", "not reproduced": "1", "not run at this scale": "1",
    }  # fmt: skip
    assert rows["T1"]["measured"].startswith("26.8\u202fkbit [25.6")
    assert rows["T2"]["published"] == claims.NO_NUMBER and not rows["T2"]["printed"]
    assert rows["T4"]["measured"] == "–"
    assert ["criterion", "within a factor 3 of 13\u202fkbit"] in rows["T1"]["details"]


def test_provenance_says_where_it_comes_from(made):
    facts = made[1]
    runs = len(toy.specs())
    assert facts["runs"] == runs and facts["seeds"] == [0, 1, 2]
    assert facts["training_seconds"] == 1.5 * runs and facts["elapsed_seconds"] == 2.0
    rows = dict(content.provenance_rows(facts))
    assert rows["seeds"] == "0 to 2" and rows["command"] == "snakemake all"
    assert "torch" in rows["packages"] and len(facts["config_hash"]) == 64


def test_a_page_as_a_picture(made, tmp_path):
    png = build.page_png([STUDY], "default", *made, tmp_path / "page.png", 1, 40, TEMPLATE)
    assert png.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(AnalysisError, match="page 99: the report has"):
        build.page_png([STUDY], "default", *made, tmp_path / "x.png", 99, 20, TEMPLATE)


def test_odd_characters_of_a_study_do_not_cost_the_report(made, tmp_path, capsys):
    odd = STUDY | {
        "title": 'A "title" \\ with #odd $signs_ * and 日本',
        "summary": "[x] <y> @z // end",
    }
    build.build([odd], "default", *made, tmp_path / "a.pdf", TEMPLATE)
    assert "wrote an ordinary PDF instead" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("claims.csv", "claims.csv: no such file; run: fewbits judge"),
        ("figures/bits.svg", "bits.svg: no such file; run: fewbits draw"),
        ("tables/to_target.csv", "to_target.csv: no such file; run: fewbits draw"),
        ("runs.csv", "runs.csv: no such file; run: fewbits collect"),
    ],
)
def test_missing_results_are_one_line(made, tmp_path, missing, message):
    shutil.copytree(made[0], tmp_path / "results")
    (tmp_path / "results" / "toy" / missing).unlink()
    with pytest.raises(AnalysisError) as error:
        build.build([STUDY], "default", tmp_path / "results", made[1], tmp_path / "a.pdf", TEMPLATE)
    assert str(error.value).endswith(message) and "\n" not in str(error.value)


def test_every_entry_of_the_bibliography_is_closed():
    """Where two branches add entries, a merge can lose a brace, and two entries become one."""
    text = (Path(__file__).parents[1] / "reports/references.bib").read_text()
    for entry in text.split("\n@"):
        assert entry.count("{") == entry.count("}"), entry.splitlines()[0]


def test_unknown_paper_is_one_line(made, tmp_path):
    study = STUDY | {"paper": "nobody2099"}
    with pytest.raises(AnalysisError, match=r"references.bib: has no entry 'nobody2099'"):
        build.build([study], "default", *made, tmp_path / "a.pdf", TEMPLATE)


def test_claims_older_than_the_study_are_noticed(made, tmp_path):
    study = copy.deepcopy(STUDY)
    study["claims"].append(study["claims"][0] | {"id": "T9"})
    with pytest.raises(AnalysisError, match="has no claim T9; run: fewbits judge"):
        build.build([study], "default", *made, tmp_path / "a.pdf", TEMPLATE)
