"""A small study with made-up runs, in the files that training would leave: for tests of what comes after.

The curves are closed formulas (an exponential fall to a floor), so the tests know what to expect.
"""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

SEEDS = (0, 1, 2)
FACTORS = (1, 4, 16, 64)
KS = (1, 2)
DIM = 30
ROUNDS, EVERY = 2000, 20
CONSTANTS = {"L": 1.25, "L_tilde": 1.5, "L_mean": 1.4, "L_max": 2.0, "dim": DIM, "clients": 20}

STUDY = {
    "study": "toy",
    "title": "A toy study: error feedback that does not stall",
    "paper": "richtarik2021ef21",
    "summary": "EF21 sends a compressed correction; EF14 stalls at a floor of about 1e-5.",
    "figures": [
        {
            "id": "bits",
            "kind": "curves",
            "title": "Squared gradient norm against bits sent by a client",
            "caption": "Each method at the k and the step that reach 1e-7 with the fewest bits.",
            "alt": "Curves of four methods; EF21 and EF21+ fall to 1e-14, EF14 and DCGD level off.",
            "grid": ["sweep", "gradient_descent"],
            "options": {"best": True, "target": 1e-7},
        },
        {
            "id": "steps",
            "kind": "step_tolerance",
            "title": "Level reached against the step size",
            "caption": "Median over seeds, bars from the lowest to the highest.",
            "grid": "sweep",
        },
        {
            "id": "payload",
            "kind": "payload",
            "title": "What the bits are spent on",
            "caption": "Until the squared gradient norm is 1e-7.",
            "options": {"target": 1e-7},
        },
    ],
    "tables": [
        {"id": "settings", "kind": "settings", "title": "What was run"},
        {"id": "constants", "kind": "constants", "title": "Constants of the problem"},
        {
            "id": "to_target",
            "kind": "to_target",
            "title": "Messages and bits until the target",
            "options": {"target": 1e-7},
        },
        {"id": "levels", "kind": "summary", "title": "Level reached", "grid": "sweep"},
    ],
    "claims": [
        {
            "id": "T1",
            "statement": "EF21 reaches 1e-7 within 20 kbit.",
            "published": {
                "text": "about 13 kbit", "value": 13, "unit": "kbit",
                "where": "poster, left panel", "read": "by eye",
            },
            "scales": {
                "default": {
                    "measure": {
                        "estimator": "bits_to_target", "grid": "sweep",
                        "select": {"algorithm": "ef21"}, "target": 1e-7, "axis": "paper",
                        "over": "tuned",
                    },
                    "reproduced": {"within_factor": 3},
                    "note": "on other data than the paper's",
                }
            },
        },
        {
            "id": "T2",
            "statement": "EF14 stalls.",
            "published": {"text": None, "where": "poster, text"},
            "scales": {
                "default": {
                    "measure": {
                        "estimator": "floor", "grid": "sweep",
                        "select": {"algorithm": "ef14", "compressor.k": 1, "step.factor": 16},
                    },
                    "reproduced": {"below": 1e-9},
                }
            },
        },
        {
            "id": "T3",
            "statement": "EF21 needs fewer bits than EF14 to reach 1e-4.",
            "scales": {
                "default": {
                    "measure": {
                        "estimator": "ratio",
                        "numerator": {
                            "estimator": "bits_to_target", "grid": "sweep", "over": "tuned",
                            "select": {"algorithm": "ef14"}, "target": 1e-4,
                        },
                        "denominator": {
                            "estimator": "bits_to_target", "grid": "sweep", "over": "tuned",
                            "select": {"algorithm": "ef21"}, "target": 1e-4,
                        },
                    },
                    "reproduced": {"above": 1},
                }
            },
        },
        {
            "id": "T4",
            "statement": "At paper scale only.",
            "published": {"text": "3e-5", "value": 3e-5, "where": "figure 1"},
            "scales": {
                "paper": {
                    "measure": {"estimator": "floor"},
                    "reproduced": {"within_factor": 2},
                }
            },
        },
    ],
}  # fmt: skip

_METHODS = {  # per method: floor of grad_sq at 1x, largest stable factor
    "dcgd": (1e-2, 16),
    "ef14": (1e-6, 16),
    "ef21": (0.0, 16),
    "ef21_plus": (0.0, 64),
}


def specs() -> list[dict]:
    """Flat manifest rows, in order."""
    base = {
        "study": "toy", "job": "toy-0", "dataset": "breast_cancer", "model": "logistic",
        "partition": "contiguous", "partition.clients": 20, "step.rule": "theory",
        "rounds": ROUNDS, "record_every": EVERY,
    }  # fmt: skip
    rows = []
    for algorithm in _METHODS:
        for k in KS:
            for factor in FACTORS:
                for seed in SEEDS:
                    rows.append(
                        {"run": f"{algorithm}-topk-k{k}-x{factor}-s{seed}", "grids": "sweep"}
                        | base
                        | {"algorithm": algorithm, "compressor": "topk", "compressor.k": k}
                        | {"step.factor": float(factor), "seed": seed}
                    )
    for factor in (1, 2):
        for seed in SEEDS:
            rows.append(
                {"run": f"gd-x{factor}-s{seed}", "grids": "gradient_descent"}
                | base
                | {"algorithm": "gd", "compressor": "", "compressor.k": ""}
                | {"step.factor": float(factor), "seed": seed}
            )
    return rows


def curve(row: dict) -> tuple[str, list[dict]]:
    """(status, metrics rows) of one run."""
    k, factor, seed = row["compressor.k"] or DIM, row["step.factor"], row["seed"]
    floor, stable = _METHODS.get(row["algorithm"], (0.0, 4))
    rate = 0.0012 * factor * (k if k < DIM else 3) * (1 + 0.05 * seed)
    status, rows = "finished", []
    start = 32 * DIM if row["algorithm"].startswith("ef21") else 0
    for t in range(0, ROUNDS + 1, EVERY):
        value = (2.0 + seed / 10) * math.exp(-rate * t) + floor * factor**2 * (1 + 0.1 * seed)
        if factor > stable:
            value = (2.0 + seed / 10) * math.exp(0.05 * t)
        bits = {
            "bits_up_values": start + 32 * k * t,
            "bits_up_indices": 5 * k * t if k < DIM else 0,
            "bits_up_metadata": 8 * t,
        }
        rows.append(
            {"round": t, "bits_up": sum(bits.values())} | bits
            | {"bits_down": 32 * DIM * t, "loss": value**0.5, "grad_sq": value}
        )  # fmt: skip
        if value > 1e12:
            return "diverged", rows
        if value < 1e-14:
            return "converged", rows
    return status, rows


def write(root: Path) -> Path:
    """Manifest and run folders under `root`; returns the manifest's path."""
    rows = specs()
    manifest = root / "default" / "plan" / "runs.csv"
    manifest.parent.mkdir(parents=True)
    with manifest.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        write_run(root / "runs" / "toy" / row["run"], row)
    return manifest


def write_run(folder: Path, row: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    status, records = curve(row)
    lines = [",".join(records[0])]
    lines += [",".join(repr(value) for value in record.values()) for record in records]
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n")
    last = records[-1]
    own = CONSTANTS | {"step": 0.01 * row["step.factor"]}
    if row["compressor"]:
        alpha = row["compressor.k"] / DIM
        theta = 1 - math.sqrt(1 - alpha)
        own |= {"alpha": alpha, "theta": theta, "beta": (1 - alpha) / theta}
    summary = {
        "run": row["run"], "study": "toy", "status": status, "rounds": last["round"],
        "final": {"loss": last["loss"], "grad_sq": last["grad_sq"]},
        "best": {"grad_sq": min(record["grad_sq"] for record in records)},
        "constants": own, "code": "0123abcd",
    }  # fmt: skip
    (folder / "summary.json").write_text(json.dumps(summary))
    times = [{"event": "start", "time": 1000.0, "run": row["run"]}]
    times.append({"event": "end", "time": 1002.0, "status": status, "seconds": 1.5})
    (folder / "journal.jsonl").write_text("".join(json.dumps(t) + "\n" for t in times))


def draw_all(study: dict, folder, scale: str) -> list:
    """All figures and tables that a study has at a scale."""
    from fewbits.analysis.draw import draw_figure
    from fewbits.analysis.studyfile import plain
    from fewbits.analysis.tabulate import draw_table

    study = plain(study, scale)
    figures = [draw_figure(study, item["id"], folder) for item in study["figures"]]
    tables = [draw_table(study, item["id"], folder) for item in study["tables"]]
    return [path for paths in figures + tables for path in paths]
