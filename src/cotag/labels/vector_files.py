"""Text files of word vectors (GloVe, word2vec, fastText), read line by line for the few words that are wanted."""

from __future__ import annotations

import gzip
import json
import os
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

import numpy as np

from cotag.errors import DataError, FormatError, StorageError, listing
from cotag.storage import cache_folder, whole_file
from cotag.types.progress import Progress, Silent, Task

MEGABYTE = 1 << 20
# Far above any vector; what has no line ends at all is not read into memory whole.
LONGEST_LINE = 1 << 20
MARK = b"\xef\xbb\xbf"
GZIP, ZIP = b"\x1f\x8b", b"PK\x03\x04"
# Part of the name of a cached file: raised when the reading changes.
VERSION = 1


@dataclass(frozen=True)
class WordVectors:
    """The wanted words that a file holds.

    Attributes:
        vectors: float32 (E,) by word.
        size: E.
        rows: the number of words in the file.
        notes: what is odd about the file and was passed over.
    """

    vectors: dict[str, np.ndarray]
    size: int
    rows: int
    notes: tuple[str, ...] = ()


def read_word_vectors(
    path: str | os.PathLike[str], wanted: Collection[str], progress: Progress | None = None
) -> WordVectors:
    """Look words up in a text file of vectors; a second look for the same words does not read the file again.

    Every line is a word and its E values, separated by spaces. A first line of two whole numbers is the header of
    word2vec and fastText. The file may be compressed with gzip. Only wanted words have their values parsed; all
    lines are counted and measured. Of a word that stands twice the first vector is taken, and the notes say so.

    Raises:
        FormatError: it is no such file, or a binary one.
        DataError: there is no such file, or a line of it is wrong; the message names the line.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; give the text file of vectors")
    stand = path.stat()
    key = json.dumps([VERSION, str(path.resolve()), stand.st_size, stand.st_mtime_ns, sorted(wanted)])
    cached = cache_folder("vectors") / f"{sha256(key.encode()).hexdigest()[:24]}.npz"
    known = _load(cached)
    if known is not None:
        return known
    with _opened(path, progress or Silent()) as lines:
        found = _Reading(path, wanted).read(lines)
    try:
        _save(found, cached)
    except StorageError as error:
        # the vectors are here; only the next run has to read the file again
        return WordVectors(found.vectors, found.size, found.rows, (*found.notes, str(error)))
    return found


def _save(found: WordVectors, path: Path) -> None:
    about = json.dumps({"words": list(found.vectors), "rows": found.rows, "notes": found.notes})
    vectors_NE = np.array(list(found.vectors.values()), dtype=np.float32).reshape(len(found.vectors), found.size)
    with whole_file(path) as temporary, temporary.open("wb") as handle:
        np.savez(handle, about=np.array(about), vectors=vectors_NE)


def _load(path: Path) -> WordVectors | None:
    """What ``_save`` wrote; None where there is nothing, or nothing whole."""
    try:
        with np.load(path, allow_pickle=False) as file:
            about: dict[str, Any] = json.loads(str(file["about"]))
            vectors_NE: np.ndarray = file["vectors"]
    except (OSError, ValueError, KeyError, EOFError, zlib.error, zipfile.BadZipFile):
        return None
    words = dict(zip(about["words"], vectors_NE, strict=True))
    return WordVectors(words, vectors_NE.shape[1], about["rows"], tuple(about["notes"]))


@contextmanager
def _opened(path: Path, progress: Progress) -> Iterator[Iterator[bytes]]:
    """The lines of a file, plain or compressed."""
    total = max(1, path.stat().st_size // MEGABYTE)
    with path.open("rb") as raw, progress.task(f"vectors of {path.name} (MB)", total) as task:
        start = raw.read(4)
        raw.seek(0)
        if start == ZIP:
            raise FormatError(f"{path}: is a zip archive; unpack it and give the text file in it")
        stream: IO[bytes] = gzip.GzipFile(fileobj=raw) if start.startswith(GZIP) else raw  # type: ignore[assignment]
        try:
            yield _lines(path, stream, raw, task)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(f"{path}: the compressed file is damaged or cut short ({error}); fetch it again") from None


def _lines(path: Path, stream: IO[bytes], raw: IO[bytes], task: Task) -> Iterator[bytes]:
    told, number = 0, 0
    while line := stream.readline(LONGEST_LINE):
        number += 1
        if len(line) == LONGEST_LINE:
            raise FormatError(f"{path}, line {number}: is longer than {LONGEST_LINE:,} bytes; {_WANTED}")
        if number % 1024 == 0:
            here = raw.tell() // MEGABYTE
            task.advance(here - told)
            told = here
        yield line


_WANTED = "give a text file with a word and its numbers in each line (GloVe, word2vec text, fastText .vec)"
_AS_TEXT = (
    "save it as text (gensim: load_word2vec_format(FILE, binary=True), then save_word2vec_format), "
    "or give the .vec file that belongs to a fastText .bin"
)


@dataclass
class _Reading:
    """One pass over a file."""

    path: Path
    wanted: Collection[str]
    size: int = 0
    number: int = 0
    first_line_of: dict[str, int] = field(default_factory=dict)
    vectors: dict[str, np.ndarray] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def read(self, lines: Iterator[bytes]) -> WordVectors:
        names = {word.encode(): word for word in self.wanted}
        promised, rows, twice = None, 0, []
        for self.number, line in enumerate(lines, 1):
            if self.number == 1:
                line = self._without_mark(line)
                promised = self._header(line)
                if promised is not None:
                    continue
            line = line.rstrip(b" \t\r\n")
            if not line:
                continue
            if not rows:
                self._measure(line)
            rows += 1
            word, _, rest = line.partition(b" ")
            if line.count(b" ") != self.size:
                word, rest = self._split(line)
            name = names.get(word)
            if name is None:
                continue
            if name in self.first_line_of:
                twice.append(f"{name} (lines {self.first_line_of[name]} and {self.number})")
                continue
            self.first_line_of[name] = self.number
            self._take(name, rest)
        self._check_count(promised, rows)
        if twice:
            self.notes.append(f"{self.path}: {len(twice)} words stand twice, the first is taken: {listing(twice, 3)}")
        return WordVectors(self.vectors, self.size, rows, tuple(self.notes))

    def _fault(self, what: str) -> DataError:
        return DataError(f"{self.path}, line {self.number}: {what}")

    def _without_mark(self, line: bytes) -> bytes:
        if line.startswith(MARK):
            self.notes.append(f"{self.path}: begins with a byte-order mark, which was passed over")
            return line[len(MARK) :]
        return line

    def _header(self, line: bytes) -> int | None:
        """The number of words that a header promises; it sets the size too."""
        fields = line.split()
        if len(fields) != 2 or not all(one.isdigit() for one in fields):
            return None
        self.size = int(fields[1])
        if not self.size:
            raise self._fault("the header says that a vector has 0 values; give a file of vectors")
        return int(fields[0])

    def _measure(self, line: bytes) -> None:
        """See that the first word's line holds numbers, and how many where no header said it."""
        fields = line.split()
        values = fields[1:]
        if self.size and len(values) > self.size:
            values = fields[-self.size :]
        if not values or not all(map(_is_number, values)):
            binary = b"\0" in line or not b"".join(values).isascii()
            what = f"is binary; {_AS_TEXT}" if binary else f"is not a word and its numbers; {_WANTED}"
            raise FormatError(f"{self.path}, line {self.number}: {what}")
        self.size = self.size or len(values)

    def _split(self, line: bytes) -> tuple[bytes, bytes]:
        """Word and values of a line that is not made of single spaces, or whose word holds spaces itself."""
        fields = line.split()
        count = len(fields) - 1
        if count > self.size and not _is_number(fields[1]):
            return b" ".join(fields[: -self.size]), b" ".join(fields[-self.size :])
        if count == self.size:
            return fields[0], b" ".join(fields[1:])
        shown = fields[0].decode("utf-8", "replace")[:40] if fields else ""
        raise self._fault(
            f"{max(count, 0)} values for {shown!r} where the file has {self.size}; "
            "the file is damaged or put together from several: fetch it again or repair the line"
        )

    def _take(self, name: str, rest: bytes) -> None:
        fields = rest.split()
        try:
            vector_E = np.array([float(one) for one in fields], dtype=np.float64)
        except ValueError:
            odd = next(one for one in fields if not _is_number(one)).decode("utf-8", "replace")[:20]
            raise self._fault(f"{odd!r} among the values of {name!r} is not a number; repair the line") from None
        if len(vector_E) != self.size:
            raise self._fault(f"{len(vector_E)} values for {name!r} where the file has {self.size}; repair the line")
        if not (np.abs(vector_E) <= np.finfo(np.float32).max).all():
            raise self._fault(f"the values of {name!r} are not all finite numbers; repair the line or remove it")
        if not vector_E.any():
            self.notes.append(f"{self.path}, line {self.number}: all values of {name!r} are 0, so it counts as missing")
            return
        self.vectors[name] = vector_E.astype(np.float32)

    def _check_count(self, promised: int | None, rows: int) -> None:
        if not rows:
            raise FormatError(f"{self.path}: holds no words; {_WANTED}")
        if promised is not None and rows < promised:
            raise DataError(
                f"{self.path}: ends after {rows:,} words where its header promises {promised:,}; fetch it again"
            )
        if promised is not None and rows > promised:
            self.notes.append(f"{self.path}: holds {rows:,} words where its header says {promised:,}; all were read")


def _is_number(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
