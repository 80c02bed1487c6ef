"""Claims of a study against what was measured: verdict by verdict, with a confidence interval over
seeds.

The verdict comes from the interval, not from the point: all of it inside the criterion is
`reproduced`, all of it outside `not reproduced`, anything else `inconclusive`. Statements about
every run (inequalities, identity) are judged on the worst one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fewbits.analysis import estimators
from fewbits.analysis.errors import AnalysisError, NotDone
from fewbits.analysis.numbers import number
from fewbits.analysis.reads import table as read_table
from fewbits.analysis.studyfile import plain
from fewbits.files import write_text

REPRODUCED, NOT_REPRODUCED = "reproduced", "not reproduced"
INCONCLUSIVE, NOT_RUN = "inconclusive", "not run at this scale"
VERDICTS = (REPRODUCED, NOT_REPRODUCED, INCONCLUSIVE, NOT_RUN)
NO_NUMBER = "no number printed"
COLUMNS = (
    "id", "statement", "where", "published", "measured", "low", "high", "unit", "criterion",
    "verdict", "n", "runs", "note",
)  # fmt: skip

_PREFIX = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30}
_BASE = {"bit": 1.0, "B": 8.0, "byte": 8.0}


@dataclass(frozen=True)
class Criterion:
    """A closed interval of values that count as reproduced, and how it reads."""

    low: float
    high: float
    text: str

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high


def criterion(reproduced: dict, published: dict) -> Criterion:
    """From exactly one of below, above, between, within_factor (of the published value), equals."""
    reproduced = {kind: value for kind, value in reproduced.items() if value is not None}
    if len(reproduced) != 1:
        raise AnalysisError(f"reproduced: needs exactly one condition, found {list(reproduced)}")
    kind, value = next(iter(reproduced.items()))
    if kind == "below":
        return Criterion(-math.inf, value, f"at most {number(value)}")
    if kind == "above":
        return Criterion(value, math.inf, f"at least {number(value)}")
    if kind == "between":
        return Criterion(*value, f"between {number(value[0])} and {number(value[1])}")
    if kind == "equals":
        return Criterion(value, value, f"exactly {number(value)}")
    if kind == "within_factor":
        centre = published.get("value")
        if centre is None:
            raise AnalysisError("reproduced.within_factor: needs published.value")
        text = f"within a factor {number(value)} of {number(centre)}"
        return Criterion(centre / value, centre * value, text)
    raise AnalysisError(
        f"reproduced.{kind}: unknown; allowed: below, above, between, within_factor, equals"
    )


def verdict(low: float, high: float, wanted: Criterion, everywhere: bool = False) -> str:
    """Verdict for the interval [low, high]; `everywhere` means that one value outside is enough to
    fail."""
    if math.isnan(low) or math.isnan(high):
        return INCONCLUSIVE
    if wanted.holds(low) and wanted.holds(high):
        return REPRODUCED
    apart = high < wanted.low or low > wanted.high
    return NOT_REPRODUCED if apart or everywhere else INCONCLUSIVE


def judge(study, scale: str, runs, metrics, read=None):
    """A table (COLUMNS) with one row per claim of the study, judged on this scale's runs.

    read: gives the tables beside the metrics that claims read, by name (reads.py).
    """
    import pandas as pd

    def tables(name: str):
        return metrics if name == "metrics" else read(name)

    study, rows = plain(study), []
    for claim in study.get("claims") or []:
        try:
            rows.append(_judge_one(claim, study["study"], scale, runs, tables))
        except NotDone as missing:
            rows.append(_unjudged(claim) | {"note": str(missing)})
        except AnalysisError as error:
            where = f"study {study['study']}: claim {claim['id']} ({scale})"
            raise AnalysisError(f"{where}: {error}") from error
    return pd.DataFrame(rows, columns=list(COLUMNS))


def judge_folder(study, scale: str, folder: Path) -> Path:
    """Judge from `<folder>/{runs,metrics}.csv`, write `<folder>/claims.csv`, return its path."""
    from fewbits.analysis.selection import load_tables

    path = Path(folder) / "claims.csv"
    runs, metrics = load_tables(folder, plain(study).get("methods"))
    read = cache(lambda name: read_table(name, metrics, plain(study), folder))
    table = judge(study, scale, runs, metrics, read)
    write_text(path, table.to_csv(index=False, lineterminator="\n"))
    return path


def _unjudged(claim: dict) -> dict:
    published = claim.get("published") or {}
    return dict.fromkeys(COLUMNS, "") | {
        "id": claim["id"],
        "statement": " ".join(str(claim["statement"]).split()),
        "where": published.get("where") or "",
        "published": _published(published),
        "unit": published.get("unit") or "",
        "verdict": NOT_RUN,
        "n": 0,
    }


def _judge_one(claim: dict, study: str, scale: str, runs, tables: Callable) -> dict:
    from fewbits.analysis.intervals import summarise

    published, row = claim.get("published") or {}, _unjudged(claim)
    here = (claim.get("scales") or {}).get(scale)
    if not here:
        return row
    estimator = estimators.make(here["measure"])
    unit, factor = _unit(estimator, here, published)
    wanted = criterion(here["reproduced"], published)
    values = estimator.measure(runs, tables(estimator.reads)) * factor
    if estimator.everywhere:
        low, high = float(values.min()), float(values.max())
        middle = low if wanted.holds(high) and not wanted.holds(low) else high
        if values.isna().any():
            low = high = middle = math.nan
    else:
        middle, low, high = summarise(values.to_numpy(), f"{study}/{scale}/{claim['id']}")
    notes = [here.get("note") or ""]
    if values.attrs.get("tuned"):
        notes.append(f"Tuned: {values.attrs['tuned']}")
    if not estimator.everywhere and len(values) == 1:
        notes.append("One seed, so no interval")
    if math.isnan(middle):
        notes.append("Undefined for at least one seed")
    return row | {
        "measured": repr(float(middle)),
        "low": repr(low),
        "high": repr(high),
        "unit": unit,
        "criterion": wanted.text,
        "verdict": verdict(low, high, wanted, estimator.everywhere),
        "n": len(values),
        "runs": ";".join(values.attrs.get("runs", [])),
        "note": ". ".join(" ".join(str(note).split()).rstrip(".") for note in notes if note),
    }


def _published(published: dict) -> str:
    text = published.get("text")
    if text is None:
        return NO_NUMBER
    return f"{text}, {published['read']}" if published.get("read") else str(text)


def _unit(estimator, here: dict, published: dict) -> tuple[str, float]:
    """The unit the claim is stated in and the factor from the estimator's to it."""
    unit = here.get("unit") or published.get("unit") or estimator.unit
    size, own = _bits_of(unit), _bits_of(estimator.unit)
    return unit, (own / size if size and own else 1.0)


def _bits_of(unit: str) -> float | None:
    unit = unit.split("/")[0].strip()
    for base, size in _BASE.items():
        for name in (base, f"{base}s") if len(base) > 1 else (base,):
            if unit.endswith(name) and unit[: -len(name)] in _PREFIX:
                return size * _PREFIX[unit[: -len(name)]]
    return None
