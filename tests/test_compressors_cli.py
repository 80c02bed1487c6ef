"""`fewbits compress`, `decompress` and `compressors`, and the table in the docs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from fewbits import registry
from fewbits.cli import main
from fewbits.compressors import catalogue

ROOT = Path(__file__).parent.parent


def fewbits(*words: object):
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture
def kernel(tmp_path) -> Path:
    path = tmp_path / "g.npy"
    np.save(path, np.random.default_rng(0).standard_normal((16, 8, 3, 3)).astype(np.float32))
    return path


@pytest.mark.parametrize(
    "words",
    [
        ("st_hosvd", "--rank", "4"),
        ("st_hosvd", "--rank=4x4x3x3", "--factors", "int8"),
        ("topk", "--budget", "0.1"),
        ("topk", "--match", "{like: {name: svd, rank: 1}}"),
        ("qsgd", "--levels", "7"),
        ("hadamard", "--of", "{name: uniform, bits: 2}"),
    ],
)
def test_there_and_back(tmp_path, kernel, words):
    """The bytes on disk are those counted, and give what the operator gives."""
    out, back = tmp_path / "g.bin", tmp_path / "back.npy"
    said = fewbits("compress", kernel, "--with", *words, "--out", out, "--key", 5)
    assert said.exit_code == 0, said.output
    total, *parts = numbers(said.output)
    assert total == sum(parts) == 8 * out.stat().st_size
    share = float(re.search(r"share +(\S+) %", said.output)[1])
    assert share == pytest.approx(100 * total / (32 * 1152), rel=0.01)
    done = fewbits("decompress", out, "--with", *words, "--shape", "16x8x3x3", "--out", back)
    assert done.exit_code == 0, done.output
    x, y = np.load(kernel).astype(float), np.load(back).astype(float)
    error = float(re.search(r"error +(\S+) of", said.output)[1])
    assert ((x - y) ** 2).sum() / (x**2).sum() == pytest.approx(error, rel=1e-4)
    assert re.search(r"time +encode \S+ ms, decode \S+ ms", said.output)


def numbers(text: str) -> list[int]:
    """Payload bits: all, values, indices, metadata."""
    line = next(line for line in text.splitlines() if line.startswith("payload"))
    return [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*\d|\d", line)]


@pytest.mark.parametrize(
    "words, message",
    [
        (("st_hosvd", "--rnk", "4"), "--with st_hosvd: rnk: found unknown key 'rnk'; allowed: factors, fold, rank (did"),
        (("st_hsvd", "--rank", "4"), "(did you mean 'st_hosvd'?)"),
        (("st_hosvd",), "rank: found nothing"),
        (("topk", "--k", "0"), "k: found 0; allowed: at least 1"),
        (("topk", "--k"), "found '--k'; allowed: --parameter value"),
        (("topk", "--k", "{"), "--with topk: --k: found '{'; allowed: a value as YAML has it"),
        (("hadamard", "--of", "{}"), "found {of: an empty mapping}; allowed: a compressor's block in `of`: {name"),
        (("hadamard", "--of", "{name: topk}"), "found {of: {name: topk}}; allowed: a compressor's block in `of` (k: field req"),
        (("sampled", "--fraction", "1", "--of", "{name: sign, budget: 0.1}"), "in `of` (budget: unexpected keyword"),
        (("threshold", "--threshold", ".inf"), "threshold: found inf; allowed: a finite number"),
        (("none",), "--with none: name: found 'none'; allowed: adaptive, "),
        (("randk", "--k", "2", "--key", "-1"), "Invalid value for '--key'"),
        (("topk", "--k", "2", "--budget", "0.1"), "either budget or k"),
        (("threshold", "--threshold", "1", "--budget", "0.1"), "budget for a compressor that cannot"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(kernel, words, message):
    said = fewbits("compress", kernel, "--with", *words)
    assert said.exit_code != 0 and message in said.output and "Traceback" not in said.output


def test_files_that_are_not_arrays(tmp_path, kernel):
    bad = tmp_path / "bad.npy"
    bad.write_bytes(b"no array")
    nan = tmp_path / "nan.npy"
    np.save(nan, np.array([1.0, np.nan, 2.0]))
    big = tmp_path / "big.npy"
    np.save(big, np.array([1e300, 1.0]))
    empty = np.save(tmp_path / "empty.npy", np.zeros((3, 0))) or tmp_path / "empty.npy"
    words = np.save(tmp_path / "words.npy", np.array(["a", "b"])) or tmp_path / "words.npy"
    for file, text in [
        (bad, "cannot be read"),
        (nan, "nan.npy: NaN, inf"),
        (big, "big.npy: NaN, infinity or a number beyond float32"),
        (empty, "found 3x0 float64; allowed: an array of numbers that is not empty"),
        (words, "array of numbers"),
    ]:
        said = fewbits("compress", file, "--with", "topk", "--k", 1)
        assert said.exit_code == 1 and text in said.output and len(said.output.splitlines()) == 1
    out = tmp_path / "g.bin"
    fewbits("compress", kernel, "--with", "topk", "--k", 3, "--out", out)
    said = fewbits(
        "decompress",
        out,
        "--with",
        "topk",
        "--k",
        4,
        "--shape",
        "16x8x3x3",
        "--out",
        tmp_path / "b",
    )
    assert said.exit_code == 1 and "expected 4 entries" in said.output
    said = fewbits(
        "decompress", out, "--with", "topk", "--k", 3, "--shape", "16xx", "--out", tmp_path / "b"
    )
    assert said.exit_code == 1 or "allowed: sides" in said.output


def test_zeros_and_integers(tmp_path):
    path = tmp_path / "z.npy"
    np.save(path, np.zeros((4, 50), int))
    said = fewbits("compress", path, "--with", "svd", "--rank", 1)
    assert said.exit_code == 0 and "of a zero array" in said.output


def test_numbers_are_read_as_in_studies_and_errors_of_any_magnitude(tmp_path):
    for scale in (1e-310, 1.0, 1e200):
        path = tmp_path / "x.npy"
        np.save(path, scale * np.arange(1, 101.0))
        budget = ("--budget", "3.2e-1", "--wire", "float64")
        said = fewbits("compress", path, "--with", "topk", *budget)
        assert said.exit_code == 0, said.output
        left = (np.arange(1, 101 - 14.0) ** 2).sum() / (np.arange(1, 101.0) ** 2).sum()
        assert re.search(r" k=14 ", said.output)
        assert float(re.search(r"error +(\S+) of the sq", said.output)[1]) == pytest.approx(
            left, 1e-5
        )


def test_every_compressor_is_listed_with_class_constant_and_source():
    text = fewbits("compressors").output
    rows = list(catalogue.rows())
    assert {row.name for row in rows} == set(registry.plugins("compressor"))
    for row in rows:
        assert row.name in text and row.length and row.what.endswith((".", "`."))
        assert row.source or row.name == "identity"
        assert row.constant != "none" or row.kind == "neither"
    by_name = {(row.name, row.setting): row for row in rows}
    assert by_name["topk", "k=626"].bits == f"{16 + 16 + 626 * (32 + 15) + 2:,}"
    assert by_name["natural", ""].constant == "omega = 0.125"


def test_lengths_are_roughly_the_payloads():
    """Formulas whose symbols are all known, against real messages of 1000 numbers."""
    d, w, k = 1000, 32, 100
    x = torch.from_numpy(np.random.default_rng(0).standard_normal(d))
    for name, parameters, expected in [
        ("topk", {"k": k}, k * (w + 10)), ("randk", {"k": k}, k * w + 64), ("sign", {}, d + w),
        ("natural", {}, 9 * d), ("ternary", {}, 1.6 * d + w), ("uniform", {"bits": 3}, 3 * d + 2 * w),
        ("qsgd", {"levels": 7}, 4 * d + w), ("topk_quantised", {"k": k}, k * (9 + 10)),
        ("adaptive", {}, w + 10), ("fixed", {"k": k}, k * w),
    ]:  # fmt: skip
        bits = registry.make("compressor", {"name": name, **parameters}).encode(x).bits.total
        assert expected <= bits <= expected + 64, name


def test_the_table_in_the_docs_is_the_codes():
    """If this fails: fewbits compressors --write docs/compressors.md"""
    text = (ROOT / "docs/compressors.md").read_text(encoding="utf-8")
    assert catalogue.into(text) == text
    with pytest.raises(ValueError, match="table: begin"):
        catalogue.into("no marks")
