"""Data files: downloaded once and checked; whatever is wrong gives one line and leaves nothing half-written."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import pickle
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import numpy as np
import pytest
from click.testing import CliRunner

from fewbits.cli import main
from fewbits.datasets import cifar, fetch, mnist
from fewbits.datasets.base import DataError

TEXT = b"some rows of data\n" * 50
SUM = hashlib.sha256(TEXT).hexdigest()


@pytest.fixture
def site():
    """A web site on the loopback: `files` by path; `asked` lists what was asked for; `cut` ends answers early, `chunked` ones
    inside a chunk."""

    class Site(BaseHTTPRequestHandler):
        files: ClassVar[dict[str, bytes]] = {}
        asked: ClassVar[list[str]] = []
        cut: ClassVar[int] = 0
        chunked: ClassVar[bool] = False

        def do_GET(self):
            self.asked.append(self.path)
            data = self.files.get(self.path)
            self.send_response(404 if data is None else 200)
            if self.chunked:
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.wfile.write(b"%x\r\n" % len(data))
            else:
                self.send_header("Content-Length", str(len(data or b"")))
                self.end_headers()
            self.wfile.write((data or b"")[: len(data or b"") - self.cut])

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    Site.url = f"http://127.0.0.1:{server.server_port}"
    yield Site
    server.shutdown()
    server.server_close()


def inside(folder):
    """Everything below a folder, hidden files too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def line(error) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    "suffix, pack", [("", bytes), (".gz", gzip.compress), (".bz2", bz2.compress)]
)
def test_a_file_is_downloaded_once_and_kept_as_sent(site, tmp_path, suffix, pack):
    site.files["/rows" + suffix] = pack(TEXT)
    for _ in range(2):
        assert fetch.content(tmp_path, "set/rows", SUM, f"{site.url}/rows{suffix}") == TEXT
    assert site.asked == [f"/rows{suffix}"]
    assert inside(tmp_path) == ["set", f"set/rows{suffix}"]


def test_what_a_killed_download_left_does_no_harm(site, tmp_path):
    site.files["/rows"] = TEXT
    (tmp_path / ".rows.part").write_bytes(b"half")
    assert fetch.content(tmp_path, "rows", SUM, site.url + "/rows") == TEXT
    assert inside(tmp_path) == ["rows"]


def test_many_at_once_download_once(site, tmp_path):
    site.files["/rows"] = TEXT
    with ThreadPoolExecutor(8) as pool:
        got = pool.map(lambda _: fetch.content(tmp_path, "rows", SUM, site.url + "/rows"), range(8))
        assert set(got) == {TEXT}
    assert len(site.asked) == 1


WRONG = [
    ({}, 0, "HTTP Error 404"),
    ({"/rows": TEXT[:-1]}, 0, "what http"),
    ({"/rows": TEXT}, 7, "it ended after"),
]


@pytest.mark.parametrize("files, cut, text", WRONG)
def test_a_failed_download_leaves_nothing(site, tmp_path, files, cut, text):
    site.files, site.cut = files, cut
    with pytest.raises(DataError) as error:
        fetch.content(tmp_path, "set/rows", SUM, site.url + "/rows")
    assert text in line(error) and line(error).startswith(str(tmp_path / "set/rows"))
    assert inside(tmp_path) == []


def test_an_answer_that_breaks_off_inside_a_chunk_is_named(site, tmp_path):
    site.files["/rows"], site.cut, site.chunked = TEXT, 5, True
    with pytest.raises(DataError, match=r"rows: not there, and downloading .* failed") as error:
        fetch.content(tmp_path, "set/rows", SUM, f"{site.url}/rows")
    assert "FEWBITS_DATA" in line(error) and inside(tmp_path) == []


def test_no_network_names_the_remedy(tmp_path):
    with pytest.raises(DataError) as error:
        fetch.content(tmp_path, "rows", SUM, "http://127.0.0.1:9/rows")
    assert "FEWBITS_DATA" in line(error)
    with pytest.raises(DataError) as error:
        fetch.content(tmp_path, "rows", SUM)
    assert "no place to download it from" in line(error)


BROKEN = [
    ("rows", TEXT[:-1], "checksum is"),
    ("rows.gz", gzip.compress(TEXT, mtime=0)[:-12], "cannot be read"),
    ("rows.bz2", bz2.compress(TEXT)[:-12], "cannot be read"),
    ("rows.gz", b"no gzip at all", "cannot be read"),
]


@pytest.mark.parametrize("name, data, text", BROKEN)
def test_a_broken_file_is_named_and_not_replaced(tmp_path, name, data, text):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError) as error:
        fetch.content(tmp_path, "rows", SUM)
    assert line(error).startswith(str(tmp_path / name))
    assert text in line(error) and "delete it and try again" in line(error)
    assert (tmp_path / name).read_bytes() == data


def archive(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def test_a_broken_archive_is_named(site, tmp_path):
    sums = {"a/one": SUM, "a/two": hashlib.md5(b"2").hexdigest()}
    noise = np.random.default_rng(0).bytes(100_000)
    whole = archive({"a/other": noise, "a/one": TEXT, "a/two": b"2"})
    cases = [
        (whole[:-40], "cannot be read"),
        (whole[:50_000], "cannot be read"),
        (archive({"a/one": TEXT}), "has no a/two"),
        (archive({"a/one": TEXT, "a/two": b"3"}), "checksum of a/two is"),
    ]
    for data, text in cases:
        (tmp_path / "set.tgz").write_bytes(data)
        with pytest.raises(DataError) as error:
            dict(fetch.members(tmp_path, "set.tgz", sums, site.url + "/set.tgz"))
        assert text in line(error) and "set.tgz" in line(error)
        (tmp_path / "set.tgz").unlink()
        site.files["/set.tgz"] = data
        with pytest.raises(DataError) as error:
            dict(fetch.members(tmp_path, "set.tgz", sums, site.url + "/set.tgz"))
        assert text in line(error)
        assert inside(tmp_path) == []
    site.files["/set.tgz"] = whole
    expected = {"a/one": TEXT, "a/two": b"2"}
    assert dict(fetch.members(tmp_path, "set.tgz", sums, site.url + "/set.tgz")) == expected
    unpacked = tmp_path / "unpacked"
    for name, data in expected.items():
        (unpacked / name).parent.mkdir(parents=True, exist_ok=True)
        (unpacked / name).write_bytes(data)
    assert dict(fetch.members(unpacked, "set.tgz", sums, "http://127.0.0.1:9/")) == expected


def tiny_cifar(random, extra=None):
    """A set of CIFAR's form with two training files of five rows, and its archive, test part first."""
    rows = {n: random.integers(256, size=(5, 3072), dtype=np.uint8) for n in ("t", "b1", "b2")}
    files = {
        f"tiny/{n}": pickle.dumps({b"data": x, b"labels": (x[:, 0] % 10).tolist(), b"x": extra})
        for n, x in rows.items()
    }

    class Tiny(cifar.CifarImages):
        rows: ClassVar[int] = 10
        test_rows: ClassVar[int] = 5
        archive: ClassVar[str] = "tiny.tar.gz"
        labels: ClassVar[bytes] = b"labels"
        md5: ClassVar[dict] = {
            name: hashlib.md5(files[name]).hexdigest() for name in ("tiny/b1", "tiny/b2", "tiny/t")
        }

    return Tiny(), rows, archive(files)


def test_cifar_s_files_in_any_order(tmp_path):
    source, rows, data = tiny_cifar(np.random.default_rng(0))
    (tmp_path / "tiny.tar.gz").write_bytes(data)
    got = source.load(tmp_path)
    assert np.array_equal(got.x, np.concatenate([rows["b1"], rows["b2"]]))
    assert np.array_equal(got.test_x, rows["t"]) and got.x.dtype == np.uint8
    assert np.array_equal(got.y, got.x[:, 0] % 10)


def test_a_pickle_that_runs_something_is_refused(tmp_path):
    source, _, data = tiny_cifar(np.random.default_rng(0), extra=print)
    (tmp_path / "tiny.tar.gz").write_bytes(data)
    with pytest.raises(pickle.UnpicklingError, match=r"builtins\.print"):
        source.load(tmp_path)


def test_idx_files():
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    header = bytes([0, 0, 8, 3]) + np.array([2, 3, 4], ">i4").tobytes()
    read = mnist._idx(header + pixels.tobytes())
    assert np.array_equal(read, pixels) and read.flags.writeable


def test_the_command_line_says_it_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(mnist.Mnist, "page", "http://127.0.0.1:9/")
    arguments = ["--dataset", '{"name": "mnist"}', "--partition", '{"name": "iid", "clients": 9}']
    arguments += ["--out", str(tmp_path / "out"), "--data-root", str(tmp_path / "data")]
    result = CliRunner().invoke(main, ["partition", *arguments])
    assert result.exit_code == 1 and len(result.output.strip().splitlines()) == 1
    assert str(tmp_path / "data/MNIST/raw/train-images-idx3-ubyte.gz") in result.output
    assert inside(tmp_path) == []
