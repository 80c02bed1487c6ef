"""The PDF: template + report.json + figures, typeset by typst. The same inputs give the same bytes."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fewbits.analysis.errors import AnalysisError
from fewbits.files import write_bytes
from fewbits.report.content import content

TEMPLATE = ("report.typ", "template.typ", "references.bib")
TIMESTAMP = 0  # creation date in the file; any constant will do, "now" would change the bytes


def build(
    studies: list,
    scale: str,
    results: Path,
    provenance: dict,
    pdf: Path,
    template: Path = Path("reports"),
) -> Path:
    """Typeset the report of `studies` (checked models or dicts) at `scale` and return the PDF's path.

    `results` is the folder `results/<scale>`, which holds `<study>/{claims.csv, figures/*.svg, tables/*.csv}`.
    """
    with staged(studies, scale, results, provenance, template) as folder:
        data = _pdf(folder / "report.typ")
    write_bytes(Path(pdf), data)
    return Path(pdf)


def page_png(
    studies: list,
    scale: str,
    results: Path,
    provenance: dict,
    png: Path,
    page: int = 1,
    ppi: float = 110,
    template: Path = Path("reports"),
) -> Path:
    """One page of the same report as a picture (for the README). `page` counts from 1."""
    with staged(studies, scale, results, provenance, template) as folder:
        pages = compile_typst(folder / "report.typ", format="png", ppi=ppi)
    pages = pages if isinstance(pages, list) else [pages]
    if not 1 <= page <= len(pages):
        raise AnalysisError(f"page {page}: the report has {len(pages)} pages")
    write_bytes(Path(png), pages[page - 1])
    return Path(png)


@contextlib.contextmanager
def staged(
    studies: list, scale: str, results: Path, provenance: dict, template: Path
) -> Iterator[Path]:
    """A temporary folder with all that typst may read: templates, report.json, figures."""
    for name in TEMPLATE:
        if not (Path(template) / name).is_file():
            raise AnalysisError(
                f"{Path(template) / name}: no such file (part of the report's template)"
            )
    data = content(studies, scale, Path(results), provenance)
    _check_citations(data, (Path(template) / "references.bib").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(prefix="fewbits-report-") as temporary:
        folder = Path(temporary)
        for name in TEMPLATE:
            shutil.copyfile(Path(template) / name, folder / name)
        for section in data["studies"]:
            for item in section["items"]:
                if item["type"] == "figure":
                    target = folder / item["file"]
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(item.pop("source"), target)
        (folder / "report.json").write_text(json.dumps(data, ensure_ascii=False, indent=1), "utf-8")
        yield folder


def compile_typst(source: Path, **options):
    """Bytes (pages as a list for PNG with several). Only typst's own fonts; typst's complaint as one line."""
    import typst

    try:
        return typst.compile(
            source, root=source.parent, ignore_system_fonts=True, timestamp=TIMESTAMP, **options
        )
    except typst.TypstError as error:
        raise AnalysisError(f"report: typst: {error.message}") from error


def _pdf(source: Path) -> bytes:
    """PDF/UA-1 (accessible) where the text allows it. It forbids, for one, a character that no font has:
    that must not cost a user the report, so then an ordinary PDF is made, and said."""
    try:
        return compile_typst(source, format="pdf", pdf_standards=["ua-1"])
    except AnalysisError as error:
        data = compile_typst(source, format="pdf")
        print(f"note: {error}; wrote an ordinary PDF instead", file=sys.stderr)
        return data


def _check_citations(data: dict, bibliography: str) -> None:
    """The paper of each study must be in the bibliography; a plug-in's source is cited if it is."""

    def known(key: str | None) -> bool:
        return bool(key) and f"{{{key}," in bibliography

    wanted = [section["cite"] for section in data["studies"] if section["cite"]]
    for key in wanted + [key for _, key in data["tools"]]:
        if not known(key):
            raise AnalysisError(f"reports/references.bib: has no entry {key!r}")
    for section in data["studies"]:
        for _, sources in section["sources"]:
            sources[:] = [[name, key if known(key) else None] for name, key in sources]
