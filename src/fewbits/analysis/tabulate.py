"""Tables of a study as files, the same bytes for the same results."""

from __future__ import annotations

from pathlib import Path

from fewbits.analysis import tables
from fewbits.analysis.errors import AnalysisError
from fewbits.analysis.reads import rows_for
from fewbits.analysis.studyfile import entry, plain
from fewbits.files import write_text


def draw_table(study, table_id: str, folder: Path) -> list[Path]:
    """Make one table from `<folder>/{runs,metrics}.csv`: `<folder>/tables/<id>.{csv,tex}`."""
    from fewbits.analysis.selection import done, load_tables, pick

    study = plain(study)
    item = entry(study, "tables", table_id)
    runs, metrics = load_tables(folder, study.get("methods"))
    try:
        chosen = pick(done(runs), item.get("grid"), item.get("select"))
        rows = rows_for(tables.TABLES.get(item["kind"]), metrics, study, folder)
        table = tables.make(item["kind"], chosen, rows, item.get("options") or {})
    except ValueError as error:
        raise AnalysisError(f"study {study['study']}: table {table_id}: {error}") from error
    stem = Path(folder) / "tables" / table_id
    paths = stem.with_name(f"{table_id}.csv"), stem.with_name(f"{table_id}.tex")
    write_text(paths[0], tables.to_csv(table))
    write_text(paths[1], tables.to_latex(table, item.get("title") or table_id))
    return list(paths)
