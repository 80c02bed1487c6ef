"""What the report says, as plain data: every string as printed, every number from a result file."""

from __future__ import annotations

import csv
import math
from pathlib import Path

from fewbits.analysis import claims as judged
from fewbits.analysis.collect import PLANNED
from fewbits.analysis.errors import AnalysisError
from fewbits.analysis.numbers import THIN, interval, number, typographic
from fewbits.analysis.studyfile import plain

TITLE = "What replicates in communication-efficient learning"
HOW_TO_READ = (
    "Measured is the median over seeds with a 95 % percentile-bootstrap interval (of fewer than six seeds: their range); for a statement "
    "about every run it is the worst run, with the range over seeds. A claim is reproduced when the "
    "whole interval meets its criterion, not reproduced when the whole interval (or, for a statement "
    "about every run, one run) misses it, inconclusive otherwise. The criteria are given with each "
    "study; where the paper prints no number, none is invented."
)
NOT_YET = "not run so far"  # in place of "not run at this scale", where runs are still missing
METHODS = (
    "Bits are those of the encoded messages, uplink, mean over clients, unless the paper's own count "
    "is named. Claims, figures and tables are computed from the runs' metrics files alone. The same "
    "inputs give this file byte for byte. Made with"
)
TOOLS = (
    ("Snakemake", "molder2021snakemake"),
    ("MLflow", "zaharia2018mlflow"),
    ("PyTorch", "paszke2019pytorch"),
    ("scikit-learn", "pedregosa2011sklearn"),
    ("the percentile bootstrap", "efron1993bootstrap"),
)


def content(studies: list, scale: str, results: Path, provenance: dict) -> dict:
    """The report as a JSON-able dict. `results` holds `<study>/{claims.csv,figures,tables}`."""
    studies = [plain(study, scale) for study in studies]
    sections = [_study(study, Path(results) / study["study"]) for study in studies]
    claims = [claim for section in sections for claim in section["claims"]]
    partly = "planned" in provenance  # a report on what is done so far
    not_run = NOT_YET if partly else judged.NOT_RUN
    for claim in claims:
        claim["verdict"] = not_run if claim["verdict"] == judged.NOT_RUN else claim["verdict"]
    verdicts = [*judged.VERDICTS[:-1], not_run]
    counts = {v: sum(c["verdict"] == v for c in claims) for v in verdicts}
    return {
        "title": TITLE,
        "running": f"fewbits, {scale} scale" + (", so far" if partly else ""),
        "subtitle": _subtitle(scale, provenance),
        "headline": f"{_count(len(claims), 'claim')} of {_count(len(sections), 'study')}:",
        "counts": [[name, str(count)] for name, count in counts.items() if count],
        "not_run": not_run,
        "how_to_read": HOW_TO_READ,
        "studies": sections,
        "provenance_text": "Everything that is needed to make this report again.",
        "provenance": provenance_rows(provenance),
        "methods_text": METHODS,
        "tools": [list(tool) for tool in TOOLS],
    }


def _subtitle(scale: str, provenance: dict) -> str:
    seeds = len(provenance.get("seeds", []))
    runs = number(provenance.get("runs", 0))
    if "planned" in provenance:
        runs += f" of {number(provenance['planned'])}"
    text = f"fewbits replication report, {scale} scale: {runs} runs, {_count(seeds, 'seed')}"
    return text + (", so far" if "planned" in provenance else "")


def _count(count: int, noun: str) -> str:
    plural = {"study": "studies"}.get(noun, noun + "s")
    return f"{number(count)} {noun if count == 1 else plural}"


def _study(study: dict, folder: Path) -> dict:
    tables = [_table(entry, folder) for entry in study["tables"]]
    figures = [_figure(entry, study["study"], folder) for entry in study["figures"]]
    # Settings and constants first, then pictures, then the other tables.
    first = [t for t in tables if t["kind"] in ("settings", "constants")]
    return {
        "id": study["study"],
        "title": typographic(study["title"]),
        "cite": study.get("paper"),
        "summary": typographic(study.get("summary") or ""),
        "sources": _sources(folder / "runs.csv"),
        "items": first + figures + [t for t in tables if t not in first],
        "claims": _claims(study, folder / "claims.csv"),
    }


def _sources(path: Path) -> list:
    """`[["Methods", [[name, citation key], ...]], ["Data", ...]]` of the plug-ins that were run."""
    from fewbits import registry

    with _existing(path, "collect").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get("status") != PLANNED]
    found = []
    for heading, kind, attribute in (
        ("Methods", "algorithm", "label"),
        ("Data", "dataset", "title"),
    ):
        known = registry.plugins(kind)
        names = dict.fromkeys(row[kind] for row in rows)
        classes = [(name, known.get(name)) for name in names]
        pairs = [[getattr(c, attribute, name), getattr(c, "cite", None)] for name, c in classes]
        if kind == "algorithm":
            terms = registry.plugins("term")
            pairs += [[terms[name].label, terms[name].cite] for name in _terms(rows)]
        found.append([heading, pairs])
    return found


def _terms(rows: list[dict]) -> list[str]:
    """Names of the terms of the local objective that runs had."""
    parts = [column.split(".") for column in rows[0] if column.startswith("local.terms.")]
    names = dict.fromkeys(part[2] for part in parts)
    return [n for n in names if any(row[".".join(p)] for row in rows for p in parts if p[2] == n)]


def _table(entry: dict, folder: Path) -> dict:
    from fewbits.analysis import tables

    path = _existing(folder / "tables" / f"{entry['id']}.csv")
    heads, rows = tables.display(tables.read(path))
    aligns = tables.alignment(heads, rows)
    if entry["kind"] == "settings" and len(heads) > 2:
        rows = [_spanned(row) for row in rows]
    return {
        "type": "table",
        "kind": entry["kind"],
        "id": entry["id"],
        "title": typographic(entry.get("title") or entry["id"]).rstrip("."),
        "caption": typographic(entry.get("caption") or ""),
        "heads": heads,
        "rows": rows,
        "aligns": aligns,
    }


def _spanned(row: list[str]) -> list:
    """A setting that is the same in all grids is written once, across their columns."""
    return [row[0], [row[1], len(row) - 1]] if len(set(row[1:])) == 1 else row


def _figure(entry: dict, study: str, folder: Path) -> dict:
    path = _existing(folder / "figures" / f"{entry['id']}.svg")
    title = typographic(entry.get("title") or entry["id"]).rstrip(".")
    caption = typographic(entry.get("caption") or "")
    return {
        "type": "figure",
        "id": entry["id"],
        "title": title,
        "caption": caption,
        "alt": typographic(entry.get("alt") or f"{title}. {caption}".strip()),
        "file": f"figures/{study}/{entry['id']}.svg",
        "source": str(path),
    }


def _existing(path: Path, command: str = "draw") -> Path:
    if not path.is_file():
        raise AnalysisError(f"{path}: no such file; run: fewbits {command}")
    return path


def _claims(study: dict, path: Path) -> list[dict]:
    with _existing(path, "judge").open(newline="", encoding="utf-8") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    missing = [claim["id"] for claim in study.get("claims") or [] if claim["id"] not in rows]
    if missing:
        raise AnalysisError(f"{path}: has no claim {missing[0]}; run: fewbits judge")
    claims = [_claim(study["study"], rows[claim["id"]]) for claim in study.get("claims") or []]
    return sorted(claims, key=lambda claim: claim["verdict"] == judged.NOT_RUN)  # these last


def _claim(study: str, row: dict) -> dict:
    printed = row["published"] != judged.NO_NUMBER
    details = [("published", typographic(row["published"]))]
    if row["where"]:
        details[0] = ("published", f"{details[0][1]} ({typographic(row['where'])})")
    if row["verdict"] != judged.NOT_RUN:
        details.append(("measured", _measured(row)))
        details.append(("criterion", f"{row['criterion']}{_spaced(row['unit'])}"))
        runs = len([run for run in row["runs"].split(";") if run])
        over = f"{_count(int(row['n']), 'seed')}, {_count(runs, 'run')}"
        details.append(("over", over))
    if row["note"]:
        details.append(("note", typographic(row["note"])))
    return {
        "study": study,
        "id": row["id"],
        "statement": typographic(row["statement"]),
        "published": typographic(row["published"]),
        "printed": printed,
        "measured": _measured(row),
        "verdict": row["verdict"],
        "details": [list(pair) for pair in details],
    }


def _spaced(unit: str) -> str:
    return f"{THIN}{unit}" if unit else ""


def _measured(row: dict) -> str:
    """`15.5 kbit [14.2, 16.1]`, or what there is instead of a number."""
    if row["verdict"] == judged.NOT_RUN or row["measured"] == "":
        return "–"
    value, low, high = (float(row[key]) for key in ("measured", "low", "high"))
    if math.isnan(value):
        return "undefined"
    if math.isinf(value) and row["unit"] and low == high:
        return "never reached"
    text = f"{number(value)}{_spaced(row['unit'])}"
    return text if low == high else f"{text} {interval(low, high)}"


def provenance_rows(facts: dict) -> list[list[str]]:
    """Provenance as pairs of printed text."""
    rows = [
        (
            "git commit",
            facts["git_commit"] + (" with uncommitted changes" if facts["dirty"] else ""),
        ),
        ("configuration", f"sha256 {facts['config_hash']}"),
        ("scale", facts["scale"]),
        ("command", facts.get("command") or ""),
        ("runs", number(facts["runs"])),
        ("seeds", _ranges(facts["seeds"])),
        ("time", _time_text(facts)),
        ("machine", facts["machine"]),
        ("Python", facts["python"]),
        ("packages", ", ".join(f"{k} {v}" for k, v in facts["packages"].items())),
    ]
    return [[name, text] for name, text in rows if text]


def _time_text(facts: dict) -> str:
    parts = [f"{_duration(facts['training_seconds'])} of training"]
    if facts.get("elapsed_seconds") is not None:
        parts.append(f"{_duration(facts['elapsed_seconds'])} from the first start to the last end")
    return ", ".join(parts)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{number(seconds)}{THIN}s"
    if seconds < 7200:
        return f"{number(seconds / 60)}{THIN}min"
    return f"{number(seconds / 3600)}{THIN}h"


def _ranges(values: list[int]) -> str:
    """`0 to 4, 7`."""
    groups: list[list[int]] = []
    for value in values:
        if groups and value == groups[-1][-1] + 1:
            groups[-1].append(value)
        else:
            groups.append([value])
    return ", ".join(f"{g[0]} to {g[-1]}" if len(g) > 1 else str(g[0]) for g in groups)
