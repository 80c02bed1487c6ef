"""A small good study that uses every key, and a project folder to put it in."""

from __future__ import annotations

from pathlib import Path

GOOD = """\
study: good
title: "A good study"
paper: richtarik2021ef21
summary: >
  What it is about.

base:
  model: {name: logistic, regulariser: nonconvex, strength: 0.1}
  partition: {name: contiguous, clients: 20}

scales:
  default:
    grids:
      sweep:
        dataset: breast_cancer
        algorithm: [dcgd, {name: ef21, start: [gradient, compressed]}]
        compressor: {name: topk, k: [1, 2]}
        step: {rule: theory, factor: [1, 4]}
        seed: [0, 1]
        rounds: 400
        record_every: 20
        stop: {grad_sq_below: 1e-14, diverge_above: 1e12}
      dense:
        dataset: breast_cancer
        algorithm: gd
        step: {rule: theory, factor: 1}
        seed: [0, 1]
        rounds: 200
  paper:
    grids:
      sweep:
        dataset: [mushrooms, phishing]
        algorithm: ef21
        compressor: {name: topk, k: 1}
        step: {value: 0.5}
        rounds: 1000

figures:
  - id: bits
    kind: curves
    title: "Squared gradient norm"
    caption: "A caption."
    alt: "Falling curves."
    grid: [sweep, dense]
    select: {algorithm: [ef21, gd]}
    options: {x: bits_up, y: grad_sq}
    scales: [default]
tables:
  - id: settings
    kind: settings
claims:
  - id: C1
    statement: "It needs few bits."
    published: {text: "13 kbit", value: 13, unit: kbit, where: "poster", read: by eye}
    scales:
      default:
        measure: {estimator: bits_to_target, grid: sweep, select: {algorithm: ef21, algorithm.start: gradient, compressor.k: 1, step.factor: 4}, metric: grad_sq, target: 1e-7, axis: paper}
        reproduced: {within_factor: 1.5}
        note: "on other data"
      paper:
        measure: {estimator: final, grid: sweep, select: {dataset: phishing}, metric: grad_sq}
        reproduced: {below: 1.0}
"""

CONFIG = """\
scale: default
studies: [good]
data_root: null
"""

BIBLIOGRAPHY = (
    "@inproceedings{richtarik2021ef21,\n  title = {EF21}\n}\n@article{other2020, title={x}}\n"
)
STUDY = Path("config/studies/good.yaml")


def project(folder: Path, study: str | bytes = GOOD, config: str = CONFIG) -> Path:
    """Write a project with one study into `folder`; the study's path."""
    files = {
        "config/config.yaml": config,
        str(STUDY): study,
        "reports/references.bib": BIBLIOGRAPHY,
    }
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder / STUDY
