"""The digests of image files, by which the feature bank finds them, and a cache that spares reading them again.

A file is taken for unchanged while its path, size, inode and times of change (of content and of status) are those
of its last reading; a touched or copied file is read again. What this cannot see is a file whose content was
exchanged without the file system noting a time, as on a damaged disk. A file that changed in the last seconds is
not remembered, since a further change could carry the same time; nor is what is behind an address.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import numpy as np

from cotag.data.contents import read_image
from cotag.data.stamps import SETTLED, is_settled, stamp_of_file
from cotag.errors import ImageError
from cotag.storage import cache_folder
from cotag.types.index import Index
from cotag.types.places import Place, split_part
from cotag.types.progress import Progress, Silent

CHUNK = 500
TIMEOUT = 10.0
MANY = 2000
Failure = OSError | ImageError
TABLE = "CREATE TABLE IF NOT EXISTS digests (path BLOB PRIMARY KEY, stamp BLOB, digest BLOB) WITHOUT ROWID"


def digest_images(
    index: Index, rows: np.ndarray, bad_images: str, progress: Progress | None = None
) -> tuple[dict[int, bytes], dict[int, str]]:
    """The 16-byte digest of each row's image file, and why a file could not be read.

    Args:
        rows: row numbers of the Index.
        bad_images: ``stop`` or ``skip``.
        progress: is told where many files are read.

    Raises:
        ImageError: a file cannot be read and ``bad_images`` is ``stop``.
    """
    numbers = [int(row) for row in rows]
    paths = [index.image(row) for row in numbers]
    with ThreadPoolExecutor(4) as pool:
        stamps = list(pool.map(stamp_of_file, paths))
        known = _known([(_name(path), stamp) for path, stamp in zip(paths, stamps, strict=True)])
        unread = [place for place, digest in enumerate(known) if digest is None]
        read = pool.map(digest_file, [paths[place] for place in unread])
        found: list[bytes | Failure | None] = [*known]
        listener = progress if progress is not None and len(unread) >= MANY else Silent()
        with listener.task("reading images", len(unread)) as task:
            for place, value in zip(unread, read, strict=True):
                found[place] = value
                task.advance()
    _remember(
        (_name(paths[place]), stamps[place], digest)
        for place in unread
        if isinstance(digest := found[place], bytes) and is_settled(paths[place], stamps[place], SETTLED)
    )
    failed = {row: value for row, value in zip(numbers, found, strict=True) if isinstance(value, Failure)}
    if failed and bad_images == "stop":
        row, error = next(iter(failed.items()))
        raise ImageError(
            f"{index.image(row)} (row {row}): {_reason(error)}; {len(failed)} of {len(numbers)} images cannot "
            "be read; correct the paths, or set data.bad_images=skip"
        )
    reasons = {row: f"{index.image(row)} (row {row}): {_reason(error)}" for row, error in failed.items()}
    return {row: value for row, value in zip(numbers, found, strict=True) if isinstance(value, bytes)}, reasons


def digest_file(place: Place) -> bytes | Failure:
    """The 16-byte digest of an image's bytes, or why they could not be read."""
    try:
        plain = isinstance(place, Path) and split_part(place) is None
        return digest_bytes(place.read_bytes() if plain else read_image(place, str(place)))  # type: ignore[union-attr]
    except (OSError, ImageError) as error:
        return error


def digest_bytes(data: bytes) -> bytes:
    """The 16-byte digest of bytes."""
    return hashlib.blake2b(data, digest_size=16).digest()


def _reason(error: Failure) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    # It begins with the place, which the message has already.
    return str(error).partition(": ")[2]


def _name(place: Place) -> bytes:
    return digest_bytes(os.fsencode(place if isinstance(place, str) else place.absolute()))


def _open() -> sqlite3.Connection:
    path = cache_folder("digests") / "images.sqlite"
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=TIMEOUT)
    try:
        connection.execute(TABLE)
    except sqlite3.OperationalError:
        connection.close()
        raise
    except sqlite3.DatabaseError:
        # Not a database any more; it can be made again.
        connection.close()
        path.unlink(missing_ok=True)
        connection = sqlite3.connect(path, timeout=TIMEOUT)
        connection.execute(TABLE)
    return connection


def _known(asked: list[tuple[bytes, bytes]]) -> list[bytes | None]:
    """For each (name, stamp) its digest, None where it is not known; a cache that cannot be read knows nothing."""
    found: dict[bytes, tuple[bytes, bytes]] = {}
    with suppress(sqlite3.Error, OSError), closing(_open()) as connection:
        for start in range(0, len(asked), CHUNK):
            names = [name for name, _ in asked[start : start + CHUNK]]
            marks = ",".join("?" * len(names))
            query = f"SELECT path, stamp, digest FROM digests WHERE path IN ({marks})"
            found.update({path: (stamp, digest) for path, stamp, digest in connection.execute(query, names)})
    nothing = (b"", b"")
    return [found[name][1] if stamp and found.get(name, nothing)[0] == stamp else None for name, stamp in asked]


def _remember(read: Iterator[tuple[bytes, bytes, bytes]]) -> None:
    """Keep what was read; where that cannot be, the files are read again the next time."""
    with suppress(sqlite3.Error, OSError), closing(_open()) as connection, connection:
        connection.executemany("INSERT OR REPLACE INTO digests VALUES (?, ?, ?)", read)
