from __future__ import annotations

import io
import tarfile
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import fsspec
import numpy as np
import pytest
from fsspec.registry import known_implementations
from PIL import Image

import cotag
from cotag.data import remote
from cotag.data.contents import read_image
from cotag.data.images import open_image
from cotag.data.loader import BatchOrder, ImageRows, Loader
from cotag.data.transforms import Preprocessing
from cotag.errors import DataError, ImageError, MissingExtra, SettingError
from cotag.training.image_digests import digest_images
from cotag.types.index import Index
from cotag.types.labels import LabelSpace
from cotag.types.merge import merge


def picture(value: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (9, 7), (value, 30, 40)).save(stream, "PNG")
    return stream.getvalue()


class Server(ThreadingHTTPServer):
    """Serves what it is given, and fails as often as it is told.

    Attributes:
        files: content by path.
        failures: how many requests for a path get which status before it is served.
        asked: how often each path was asked for with GET.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.files: dict[str, bytes] = {}
        self.failures: dict[str, list[int]] = {}
        self.asked: Counter[str] = Counter()
        self.ranges = True

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Answer(BaseHTTPRequestHandler):
    server: Server

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self.server.asked[self.path] += 1
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        waiting = self.server.failures.get(self.path, [])
        data = self.server.files.get(self.path)
        status = waiting.pop(0) if waiting and with_body else 404 if data is None else 200
        if status == 0:
            # Hangs up in the middle of its answer.
            self.send_response(200)
            self.send_header("Content-Length", "99999")
            self.end_headers()
            self.wfile.write(b"begun")
            self.close_connection = True
            return
        body = data if status == 200 and data is not None else b""
        asked = self.headers.get("Range")
        if asked and body and self.server.ranges:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            body, status = body[int(first) : int(last or len(body)) + 1], 206
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("COTAG_RETRY_SECONDS", "0.001")
    with Server() as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


def remote_index(server: Server, count: int = 6) -> Index:
    for number in range(count):
        server.files[f"/photos/{number}.png"] = picture(number)
    columns = {"image": [f"{number}.png" for number in range(count)], "positives": [[0]] * count}
    return Index.build(columns, LabelSpace(("a",)), f"{server.address}/photos/")


def batches(index: Index, **settings: Any) -> Loader:
    return Loader(
        ImageRows(index, Preprocessing(8)), BatchOrder(np.arange(len(index)), 2), **{"workers": 0, **settings}
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_an_address_that_fails_and_comes_back_is_a_picture_as_others(server: Server, workers: int) -> None:
    index = remote_index(server)
    server.failures = {"/photos/1.png": [503, 503], "/photos/3.png": [0, 429], "/photos/4.png": [500]}
    found = list(batches(index, workers=workers))
    assert [batch.rows_B.tolist() for batch in found] == [[0, 1], [2, 3], [4, 5]]
    assert [int(batch.images_BCHW[place, 0, 4, 4]) for batch in found for place in (0, 1)] == list(range(6))
    assert [server.asked[f"/photos/{number}.png"] for number in range(6)] == [1, 3, 1, 3, 2, 1]


@pytest.mark.parametrize(("policy", "kept"), [("skip", [0, 2, 4, 5]), ("substitute", 6)])
def test_an_address_that_does_not_come_back_is_a_bad_picture(server: Server, policy: str, kept: Any) -> None:
    index = remote_index(server)
    server.failures["/photos/1.png"] = [503] * 99
    del server.files["/photos/3.png"]
    found = batches(index, bad_images=policy)
    rows = [row for batch in found for row in batch.rows_B.tolist()]
    assert rows == kept or (len(rows) == kept and not {1, 3} & set(rows))
    assert sorted(found.skipped.reasons) == [1, 3]
    place = f"{server.address}/photos/1.png"
    assert found.skipped.reasons[1].startswith(f"{place} (row 1): could not be fetched in 4 tries (503 Service Unavail")
    assert "there is no such file; correct the address" in found.skipped.reasons[3]
    # What is not there is not asked for again.
    assert server.asked["/photos/1.png"] >= 4
    assert server.asked["/photos/3.png"] <= 1 + 2 * (policy == "substitute")


def test_tries_and_pauses_are_those_of_the_environment(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(remote.time, "sleep", pauses.append)
    monkeypatch.setenv("COTAG_TRIES", "3")
    monkeypatch.setenv("COTAG_RETRY_SECONDS", "5")
    server.failures["/x"] = [503] * 9
    with pytest.raises(ImageError, match="in 3 tries"):
        read_image(f"{server.address}/x", "x")
    assert pauses == [5, 10]
    monkeypatch.setenv("COTAG_TRIES", "none")
    with pytest.raises(SettingError, match="COTAG_TRIES = 'none'"):
        read_image(f"{server.address}/x", "x")


@pytest.mark.parametrize("status", [400, 401, 403, 410])
def test_what_is_refused_is_not_asked_for_again(server: Server, status: int) -> None:
    server.failures["/x"] = [status] * 9
    with pytest.raises(ImageError, match=f"in 1 try \\({status}"):
        read_image(f"{server.address}/x", "x")


def test_protocols_that_are_not_installed_or_not_known_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImageError, match=r"^x: could not be fetched in 1 try \(.*nothing"):
        read_image("nothing://a/b.jpg", "x")
    monkeypatch.setitem(known_implementations, "odd", {"class": "nowhere.Odd", "err": "Install odd"})
    with pytest.raises(MissingExtra, match=r"^x: needs what is not installed \(Install odd\).*cotag\[remote\]"):
        read_image("odd://a/b.jpg", "x")


def test_names_with_signs_of_web_addresses_are_names(server: Server) -> None:
    server.files["/a/1%20%23%3F%25.png"] = picture(7)
    index = Index.build({"image": ["1 #?%.png"], "positives": [[0]]}, LabelSpace(("a",)), f"{server.address}/a")
    assert open_image(index.image(0)).getpixel((0, 0)) == (7, 30, 40)


def test_digests_are_those_of_the_bytes(server: Server) -> None:
    index = remote_index(server, 3)
    del server.files["/photos/2.png"]
    digests, reasons = digest_images(index, np.arange(3), "skip")
    assert len(set(digests.values())) == 2
    assert reasons[2] == f"{index.image(2)} (row 2): there is no such file; correct the address or take it out"


# Indexes and readers


def test_an_address_stays_one_when_an_index_is_saved_and_merged(server: Server, tmp_path: Any) -> None:
    index = remote_index(server, 2)
    index.save(tmp_path / "a.arrow")
    loaded = Index.load(tmp_path / "a.arrow")
    assert loaded.images() == [f"{server.address}/photos/{number}.png" for number in (0, 1)]
    both = merge(index, Index.build({"image": ["x.png"], "positives": [[0]]}, index.label_space, tmp_path))
    assert both.images() == [*loaded.images(), tmp_path / "x.png"]


def test_tables_name_addresses_and_roots_may_be_one(tmp_path: Any) -> None:
    folder = f"memory://{uuid.uuid4().hex}"
    for name in ("a.png", "sub/b.png"):
        with fsspec.open(f"{folder}/{name}", "wb") as handle:
            handle.write(picture(len(name)))
    (tmp_path / "t.csv").write_text("image,labels\na.png,cat\nsub/b.png,dog\n")
    index = cotag.read(tmp_path / "t.csv", images=folder)
    assert index.ids == ["a.png", "sub/b.png"]
    assert [read_image(place, "") for place in index.images()] == [picture(5), picture(9)]
    (tmp_path / "t.csv").write_text(f"image,labels\n{folder}/a.png,cat\nlocal.png,dog\n")
    (tmp_path / "local.png").write_bytes(picture(1))
    index = cotag.read(tmp_path / "t.csv")
    assert [read_image(place, "") for place in index.images()] == [picture(5), picture(1)]
    (tmp_path / "t.csv").write_text("image,labels\n../a.png,cat\n")
    with pytest.raises(DataError, match=r"line 2: image '\.\./a\.png' is not plainly below the root 'memory://"):
        cotag.read(tmp_path / "t.csv", images=folder)


@pytest.mark.parametrize("ranges", [True, False])
def test_shards_behind_an_address(server: Server, ranges: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    server.ranges = ranges
    for number in range(2):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as shard:
            for name, data in ((f"{number} #.png", picture(number)), (f"{number} #.txt", b"cat")):
                about = tarfile.TarInfo(name)
                about.size = len(data)
                shard.addfile(about, io.BytesIO(data))
        server.files[f"/s/train-{number}.tar"] = stream.getvalue()
    server.failures["/s/train-1.tar"] = [503, 503]
    index = cotag.read(f"wds:{server.address}/s/train-{{0..1}}.tar")
    assert index.ids == ["train-0.tar::0 #.png", "train-1.tar::1 #.png"]
    assert index.splits() == {"train": 2}
    server.failures["/s/train-1.tar"] = [503, 503]
    assert [read_image(place, "") for place in index.images()] == [picture(0), picture(1)]
