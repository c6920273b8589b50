"""Text files of word vectors: the three forms, what is odd and handled, what is wrong and refused."""

from __future__ import annotations

import gzip
import os
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cotag.errors import DataError, FormatError
from cotag.labels.vector_files import WordVectors, read_word_vectors

GLOVE = b"the 0.1 0.2 0.3\ndog 1 -2 3e-1\ncat 4 5 6\n"


def file(folder: Path, content: bytes, name: str = "vectors.txt") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def looked_up(path: Path, *words: str) -> WordVectors:
    return read_word_vectors(path, words)


@pytest.mark.parametrize(
    "content",
    [
        GLOVE,
        b"3 3\n" + GLOVE,
        GLOVE.replace(b"\n", b" \n"),
        GLOVE.replace(b"\n", b"\r\n"),
        GLOVE[:-1],
        GLOVE.replace(b" ", b"\t"),
        GLOVE.replace(b" ", b"  "),
        GLOVE + b"\n",
        gzip.compress(GLOVE),
    ],
    ids=["glove", "header", "space at the end", "crlf", "no last end", "tabs", "two spaces", "empty line", "gzip"],
)
def test_every_form_gives_the_same(content: bytes, tmp_path: Path) -> None:
    found = looked_up(file(tmp_path, content), "dog", "cat", "bird")
    assert {word: vector_E.tolist() for word, vector_E in found.vectors.items()} == {
        "dog": [1, -2, np.float32(0.3)],
        "cat": [4, 5, 6],
    }
    assert (found.size, found.rows, found.notes) == (3, 3, ())
    assert found.vectors["dog"].dtype == np.float32


def test_odd_words_do_not_shift_the_values(tmp_path: Path) -> None:
    lines = [". . . 1 2", "at name@mail.com 3 4", "\xa0 5 6", " 7 8", "a\x85b 9 10", "\u2028 1 1", "Hündin 11 12"]
    found = looked_up(file(tmp_path, "\n".join(["x 0 1", *lines]).encode()), "at", "Hündin", ".", "a\x85b")
    assert {word: vector_E.tolist() for word, vector_E in found.vectors.items()} == {
        "Hündin": [11, 12],
        "a\x85b": [9, 10],
    }
    assert found.rows == 8


def test_odd_files_are_read_and_told(tmp_path: Path) -> None:
    marked = looked_up(file(tmp_path, b"\xef\xbb\xbfdog 1 2\n"), "dog")
    assert marked.vectors["dog"].tolist() == [1, 2]
    assert "byte-order mark" in marked.notes[0]
    twice = looked_up(file(tmp_path, b"dog 1 2\ncat 0 1\ndog 3 4\ncat 5 5\nthe 1 1\nthe 2 2\n", "b"), "dog", "cat")
    assert twice.vectors["dog"].tolist() == [1, 2]
    assert "2 words stand twice, the first is taken: dog (lines 1 and 3), cat (lines 2 and 4)" in twice.notes[0]
    longer = looked_up(file(tmp_path, b"1 2\ndog 1 2\ncat 1 2\n", "c"), "cat")
    assert "2 words where its header says 1" in longer.notes[0]
    zero = looked_up(file(tmp_path, b"dog 1 2\ncat 0 0\n", "d"), "cat")
    assert zero.vectors == {}
    assert "line 2: all values of 'cat' are 0" in zero.notes[0]


WRONG: list[tuple[str, bytes, type[DataError], str]] = [
    ("short line", b"the 1 2 3\ndog 1 2\n", DataError, "line 2: 2 values for 'dog' where the file has 3"),
    ("short line of another", b"the 1 2 3\nx 1\n", DataError, "line 2: 1 values for 'x' where the file has 3"),
    ("long line", b"the 1 2 3\ncat 1 2 3\ndog 1 2 3 4\n", DataError, "line 3: 4 values for 'dog'"),
    ("header of another size", b"1 300\nthe 1 2 3\n", DataError, "line 2: 3 values for 'the' where the file has 300"),
    ("no number", b"the 1 2\ndog 1 two\n", DataError, "line 2: 'two' among the values of 'dog' is not a number"),
    ("nan", b"the 1 2\ndog 1 nan\n", DataError, "line 2: the values of 'dog' are not all finite"),
    ("too large for float32", b"the 1 2\ndog 1 1e39\n", DataError, "line 2: the values of 'dog' are not all finite"),
    ("empty", b"", FormatError, "holds no words"),
    ("header alone", b"2 3\n", FormatError, "holds no words"),
    ("size 0", b"2 0\nthe\n", DataError, "line 1: the header says that a vector has 0 values"),
    ("cut short", b"3 2\nthe 1 2\ndog 1 2\n", DataError, "ends after 2 words where its header promises 3"),
    ("prose", b"It was a dark night.\nThe rain fell.\n", FormatError, "line 1: is not a word and its numbers"),
    ("words alone", b"the\ndog\n", FormatError, "line 1: is not a word and its numbers"),
    ("binary", b"2 4\nthe " + np.array([0.1, -0.2, 3, 0], "<f4").tobytes(), FormatError, "line 2: is binary; save it"),
    ("fastText .bin", b"\xba\x16\x4f\x2f\x0c\0\0\0\x2c\x01\0\0", FormatError, "line 1: is"),
    ("zip", b"PK\x03\x04abc", FormatError, "is a zip archive; unpack it"),
    ("damaged gzip", gzip.compress(GLOVE * 99)[:-30], DataError, "is damaged or cut short"),
    ("one long line", b"7" * (1 << 21), FormatError, "line 1: is longer than"),
]


@pytest.mark.parametrize(("content", "kind", "said"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_a_wrong_file_is_refused_in_one_line(content: bytes, kind: type[DataError], said: str, tmp_path: Path) -> None:
    path = file(tmp_path, content)
    with pytest.raises(kind) as caught:
        looked_up(path, "dog")
    assert type(caught.value) is kind
    assert str(caught.value).startswith(str(path))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        looked_up(tmp_path / "no.txt", "dog")


def test_a_file_is_read_once_for_the_same_words(tmp_path: Path) -> None:
    path = file(tmp_path, b"2 2\n" + GLOVE.replace(b" 0.3", b"").replace(b" 3e-1", b"").replace(b" 6", b""))
    stand = path.stat()
    first = looked_up(path, "dog", "bird")
    # the same size and time: only the cache can still know the dog
    path.write_bytes(path.read_bytes().replace(b"dog", b"cow"))
    os.utime(path, ns=(stand.st_atime_ns, stand.st_mtime_ns))
    again = looked_up(path, "bird", "dog")
    assert again.vectors["dog"].tolist() == first.vectors["dog"].tolist() == [1, -2]
    assert (again.size, again.rows, again.notes) == (first.size, first.rows, first.notes)
    assert looked_up(path, "dog").vectors == {}
    os.utime(path, ns=(stand.st_atime_ns, stand.st_mtime_ns + 1))
    assert looked_up(path, "dog", "bird").vectors == {}


def test_a_cache_without_a_word_and_a_damaged_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COTAG_CACHE", str(tmp_path / "cache"))
    path = file(tmp_path, GLOVE)
    for _ in range(2):
        found = looked_up(path, "bird")
        assert (found.vectors, found.size, found.rows) == ({}, 3, 3)
    looked_up(path, "dog")
    for cached in (tmp_path / "cache").rglob("*.npz"):
        cached.write_bytes(cached.read_bytes()[:-40])
    assert looked_up(path, "dog").vectors["dog"].tolist() == [1, -2, np.float32(0.3)]


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COTAG_CACHE", str(file(tmp_path, b"", "taken")))
    found = looked_up(file(tmp_path, GLOVE), "dog")
    assert list(found.vectors) == ["dog"]
    assert "could not be written" in found.notes[0]


class Counted:
    """A Progress that adds up the steps."""

    def __init__(self) -> None:
        self.total, self.done = 0, 0

    @contextmanager
    def task(self, title: str, total: int) -> Any:
        self.total = total
        yield self

    def advance(self, steps: int = 1, **info: Any) -> None:
        self.done += steps

    def say(self, message: str) -> None:
        pass


def test_progress_goes_through_the_file(tmp_path: Path) -> None:
    rows = [b"w%d %s" % (number, b"0.5 " * 300) for number in range(4096)]
    progress = Counted()
    read_word_vectors(file(tmp_path, b"\n".join(rows)), ["dog"], progress)
    assert progress.total == 4
    assert progress.done == 4
