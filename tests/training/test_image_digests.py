from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cotag.data.table import read_table
from cotag.training import image_digests
from cotag.training.image_digests import digest_images
from cotag.types.index import Index


@pytest.fixture
def index(draw: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    monkeypatch.setenv("COTAG_CACHE", str(tmp_path / "cache"))
    return read_table(draw(tmp_path / "pictures", 4, splits=False))


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files count as old enough to be remembered."""
    monkeypatch.setattr(image_digests, "SETTLED", -60.0)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were read."""
    names: list[str] = []
    digest_file = image_digests.digest_file

    def noting(path: Path) -> bytes | OSError:
        names.append(path.name)
        return digest_file(path)

    monkeypatch.setattr(image_digests, "digest_file", noting)
    return names


def digests(index: Index) -> dict[int, bytes]:
    return digest_images(index, np.arange(len(index)), "stop")[0]


def by_hand(index: Index) -> dict[int, bytes]:
    return {row: hashlib.blake2b(index.image(row).read_bytes(), digest_size=16).digest() for row in range(len(index))}


def store(index: Index) -> Path:
    return index.root.parent / "cache" / "digests" / "images.sqlite"


def test_files_are_read_once(index: Index, settled: None, read: list[str]) -> None:
    wanted = by_hand(index)
    assert digests(index) == wanted
    assert sorted(read) == ["p00.png", "p01.png", "p02.png", "p03.png"]
    assert digests(index) == wanted
    assert len(read) == 4


def test_a_touched_file_is_read_again_and_no_other(index: Index, settled: None, read: list[str]) -> None:
    digests(index)
    read.clear()
    os.utime(index.image(2))
    digests(index)
    digests(index)
    assert read == ["p02.png"]


def test_a_change_is_seen_that_keeps_size_and_time(index: Index, settled: None, read: list[str]) -> None:
    before = digests(index)
    path = index.image(1)
    about, data = path.stat(), bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    read.clear()
    after = digests(index)
    assert read == ["p01.png"]
    assert after == by_hand(index) != before


def test_another_file_under_the_same_name_is_read(index: Index, settled: None, read: list[str]) -> None:
    digests(index)
    read.clear()
    index.image(3).replace(index.image(0))
    found, skipped = digest_images(index, np.arange(4), "skip")
    assert sorted(read) == ["p00.png", "p03.png"]
    assert found[0] == hashlib.blake2b(index.image(0).read_bytes(), digest_size=16).digest()
    assert skipped == {3: f"{index.image(3)} (row 3): No such file or directory"}


def test_what_changed_a_moment_ago_is_not_remembered(index: Index, read: list[str]) -> None:
    digests(index)
    digests(index)
    assert len(read) == 8


def test_a_file_that_changes_while_it_is_read_is_not_remembered(
    index: Index, settled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest_file = image_digests.digest_file

    def changing(path: Path) -> bytes | OSError:
        found = digest_file(path)
        if path.name == "p01.png":
            path.write_bytes(b"other")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(image_digests, "digest_file", changing)
        digests(index)
    assert digests(index) == by_hand(index)


@pytest.mark.parametrize("content", [b"no database" * 500, b""])
def test_a_damaged_cache_is_made_anew(index: Index, settled: None, read: list[str], content: bytes) -> None:
    digests(index)
    store(index).write_bytes(content)
    assert digests(index) == by_hand(index)
    read.clear()
    assert digests(index) == by_hand(index)
    assert read == []


def test_a_cache_that_others_write_to_or_that_cannot_be_made_is_done_without(
    index: Index, settled: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(image_digests, "TIMEOUT", 0.01)
    digests(index)
    holder = sqlite3.connect(store(index))
    holder.execute("BEGIN EXCLUSIVE")
    assert digests(index) == by_hand(index)
    holder.close()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("COTAG_CACHE", str(tmp_path / "file"))
    assert digests(index) == by_hand(index)
