"""Members of tar files, each read by itself: a shard is gone through once, and its table of places is kept."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from cotag.data.remote import RemoteFile, read_address, stamp_of
from cotag.errors import FormatError, ImageError, StorageError
from cotag.storage import cache_folder, whole_file
from cotag.types.places import Place, is_address

OPEN = 64
"""The most shards that a process keeps open."""
AHEAD = 1 << 22
"""So many bytes of a remote shard are asked for at a time, while it is gone through."""
_CHECK = 32
_LOCK = threading.Lock()
_opened: OrderedDict[str, Shard] = OrderedDict()


@dataclass(frozen=True)
class Member:
    """A file in a shard: its name without a leading ``./``, and where its bytes are."""

    name: str
    offset: int
    size: int


class Walk:
    """Goes through a shard once, from beginning to end.

    Args:
        shard: path or address of a tar file.

    Attributes:
        cut: what shows that the end of the shard is missing, after the walk; empty for a whole one.

    Raises:
        FormatError: it is no tar file, or a compressed one.
        ImageError: it is missing or cannot be read.
    """

    def __init__(self, shard: Place) -> None:
        self.shard, self.cut = shard, ""

    def members(self) -> Iterator[tuple[Member, BinaryIO]]:
        """Each plain file in the shard, and the shard itself, opened, to read it from; one cut short is given too."""
        with _stream(self.shard) as stream:
            try:
                with tarfile.open(fileobj=stream, mode="r:") as shard:
                    yield from self._each(shard, stream)
            except (tarfile.TarError, ValueError, EOFError) as error:
                raise FormatError(
                    f"{self.shard}: is no tar file ({error}); a shard is one without compression, as pictures have "
                    "their own"
                ) from None

    def _each(self, shard: tarfile.TarFile, stream: BinaryIO) -> Iterator[tuple[Member, BinaryIO]]:
        last = ""
        while True:
            try:
                found = shard.next()
            except tarfile.ReadError as error:
                if not last:
                    raise
                self.cut = f"is cut short after {last!r} ({error})"
                return
            if found is None:
                break
            last = found.name
            # As lists they would be kept: a shard may have a million members.
            shard.members = []  # type: ignore[attr-defined]
            if found.isreg() and not found.issparse():
                yield Member(plain_name(found.name), found.offset_data, found.size), stream
        stream.seek(shard.offset)
        if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            self.cut = f"has no end after {last!r}: it was cut short, or damaged there" if last else "is empty"


def plain_name(name: str) -> str:
    """A member's name as references have it."""
    return name.removeprefix("./")


def _stream(shard: Place) -> BinaryIO:
    if is_address(shard):
        return cast(BinaryIO, io.BufferedReader(RemoteFile(str(shard)), AHEAD))
    try:
        return Path(shard).open("rb")
    except OSError as error:
        raise ImageError(f"{shard}: cannot be read ({error.strerror or error}); give the path of a tar file") from None


class Shard:
    """A shard opened to read members of it in any order.

    Args:
        place: its path or address.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self._file: BinaryIO | None = None
        if not is_address(place):
            self._file = Path(place).open("rb")  # noqa: SIM115 (as long as the shard is used)
        self.stamp = self._stamp()
        self._table_4N = _load_table(_table_file(place, self.stamp))
        if self._table_4N is None:
            self._table_4N = keep_table(place, self.stamp, (member for member, _ in Walk(place).members()))

    def _stamp(self) -> str:
        return stamp_of(self.place, self.place) if self._file is None else _told(os.fstat(self._file.fileno()))

    def is_as_opened(self) -> bool:
        """Whether the file was not written since; an address is taken for unchanged."""
        return self._file is None or self.stamp == self._stamp()

    def read(self, name: str, where: str) -> bytes:
        """The bytes of a member.

        Raises:
            ImageError: there is none of this name, or the shard ends before it does.
        """
        assert self._table_4N is not None
        high, low = _key(name)
        # A plain number would turn the whole table into floats.
        place = int(np.searchsorted(self._table_4N[0], np.uint64(high)))
        while place < self._table_4N.shape[1] and self._table_4N[0, place] == high:
            if self._table_4N[1, place] == low:
                offset, size = (int(value) for value in self._table_4N[2:, place])
                data = self._bytes(offset, size, where)
                if len(data) != size:
                    raise ImageError(
                        f"{where}: {size - len(data):,} of its {size:,} bytes are missing, as the shard is cut short; "
                        "fetch the shard again or take the image out"
                    )
                return data
            place += 1
        raise ImageError(f"{where}: the shard has no such member; correct the name or take it out")

    def _bytes(self, offset: int, size: int, where: str) -> bytes:
        if self._file is None:
            return read_address(self.place, where, offset, offset + size)
        parts: list[bytes] = []
        while size:
            # Without a position of its own, so threads may share the file.
            part = os.pread(self._file.fileno(), size, offset)
            if not part:
                break
            parts.append(part)
            offset, size = offset + len(part), size - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


def read_member(shard: str, name: str, where: str) -> bytes:
    """The bytes of a member of a shard, which stays open for the next.

    Raises:
        ImageError: there is no such shard or member, or it is cut short.
    """
    try:
        return _shard(shard).read(name, where)
    except (FileNotFoundError, NotADirectoryError):
        raise ImageError(f"{where}: there is no such shard; correct the path or take it out") from None
    except FormatError as error:
        raise ImageError(str(error)) from None
    except OSError as error:
        raise ImageError(f"{where}: cannot be read ({error.strerror or error}); check the shard") from error


def _shard(place: str) -> Shard:
    with _LOCK:
        found = _opened.get(place)
        if found is None or not found.is_as_opened():
            found = _opened[place] = Shard(place)
        _opened.move_to_end(place)
        while len(_opened) > OPEN:
            # Its file is closed when the last who reads from it is done.
            _opened.popitem(last=False)
        return found


def shard_stamp(place: Place) -> str:
    """What changes with a shard.

    Raises:
        ImageError: it is missing.
    """
    if is_address(place):
        return stamp_of(str(place), str(place))
    try:
        return _told(Path(place).stat())
    except OSError as error:
        raise ImageError(f"{place}: cannot be read ({error.strerror or error}); give the path of a tar file") from None


def _told(about: os.stat_result) -> str:
    return f"{about.st_size} {about.st_mtime_ns} {about.st_ctime_ns} {about.st_ino}"


# The table of a shard: 4 rows of 64 bits, of which the first two are the hash of a name, ascending, then offset and
# size; in a file that begins with its own hash.


def keep_table(place: Place, stamp: str, members: Iterable[Member]) -> np.ndarray:
    """The table of a shard's members, uint64 (4, N), also written into the cache; of one name the last counts."""
    rows = {_key(member.name): (member.offset, member.size) for member in members}
    table_4N = np.array([(*key, *where) for key, where in rows.items()], dtype=np.uint64).reshape(-1, 4).T
    table_4N = np.ascontiguousarray(table_4N[:, np.lexsort((table_4N[1], table_4N[0]))])
    file = _table_file(str(place), stamp)
    # Where it cannot be kept, the shard is gone through again the next time.
    with suppress(StorageError, OSError):
        with whole_file(file) as temporary:
            temporary.write_bytes(hashlib.blake2b(table_4N.data, digest_size=_CHECK).digest() + table_4N.tobytes())
        for other in file.parent.glob(f"{file.stem.partition('-')[0]}-*.bin"):
            if other != file:
                other.unlink(missing_ok=True)
    return table_4N


def _load_table(file: Path) -> np.ndarray | None:
    """What ``keep_table`` wrote, mapped into memory; None where it is not there or damaged."""
    try:
        found = np.memmap(file, dtype=np.uint8, mode="r")
    except (OSError, ValueError):
        return None
    body = found[_CHECK:]
    if len(body) % 32 or hashlib.blake2b(body.data, digest_size=_CHECK).digest() != found[:_CHECK].tobytes():
        return None
    return body.view(np.uint64).reshape(4, -1)


def _table_file(place: str, stamp: str) -> Path:
    name = place if is_address(place) else os.path.abspath(place)  # noqa: PTH100 (links stay as they are)
    parts = (hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16) for text in (name, stamp))
    return cache_folder("shards") / ("-".join(part.hexdigest() for part in parts) + ".bin")


def _key(name: str) -> tuple[int, int]:
    digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=16).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")


def member_bytes(stream: BinaryIO, member: Member) -> bytes:
    """The bytes of a member, or as many as there are, during a walk; the walk goes on from where it was."""
    stream.seek(member.offset)
    return stream.read(member.size)
