"""A study as plain data. Callers hold either the checked `Study` model or a mapping of the same shape."""

from __future__ import annotations

from fewbits.analysis.errors import AnalysisError, nearest


def plain(study, scale: str | None = None) -> dict:
    """The study as a dict; with `scale`, only the figures and tables that exist at that scale."""
    data = dict(study) if isinstance(study, dict) else study.model_dump()
    if scale is None:
        return data
    if isinstance(study, dict):
        grids = (data.get("scales") or {}).get(scale, {}).get("grids")
        for part in ("figures", "tables"):
            data[part] = [e for e in data.get(part) or [] if _exists(e, scale, grids)]
    else:
        data["figures"] = [figure.model_dump() for figure in study.figures_at(scale)]
        data["tables"] = [table.model_dump() for table in study.tables_at(scale)]
    return data


def _exists(entry: dict, scale: str, grids) -> bool:
    """A figure or table without `scales`, or with this one among them, whose grids are there."""
    if entry.get("scales") and scale not in entry["scales"]:
        return False
    wanted = entry.get("grid") or []
    wanted = [wanted] if isinstance(wanted, str) else wanted
    return grids is None or all(name in grids for name in wanted)


def entry(study: dict, part: str, wanted: str) -> dict:
    """The figure or table (`part`: figures, tables) of that id, or AnalysisError."""
    entries = {item["id"]: item for item in study.get(part) or []}
    if wanted not in entries:
        known = ", ".join(entries) or "none"
        raise AnalysisError(
            f"study {study['study']}: no {part[:-1]} {wanted!r}; "
            f"{part}: {known}{nearest(wanted, entries)}"
        )
    return entries[wanted]
