"""One pass over all image files: sizes, contents, pixel values, and which cannot be read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from cotag.data.contents import open_image_bytes
from cotag.data.images import decode, location, measure
from cotag.errors import ImageError
from cotag.types.index import Index
from cotag.types.places import Place
from cotag.types.progress import Progress, Silent

SAMPLE = 20_000
"""The most images whose pixels are decoded; of more, a seeded sample is."""


@dataclass
class Scan:
    """What a pass over N image files found.

    Attributes:
        sizes_N2: int32, width and height in pixels of the upright image; 0 where it could not be read.
        digests_N2: uint64, 128 bits of the hash of the file's bytes.
        unreadable: row -> why its image could not be read.
        histogram_CV: int64 (3, 256), how many pixels of red, green and blue have each value, over ``decoded`` images.
        decoded: how many images were decoded; of the others only header and bytes were read.
    """

    sizes_N2: np.ndarray
    digests_N2: np.ndarray
    unreadable: dict[int, str]
    histogram_CV: np.ndarray
    decoded: int

    def readable(self) -> np.ndarray:
        """The rows whose image could be read."""
        return np.flatnonzero(self.sizes_N2[:, 0])

    def duplicates(self) -> list[np.ndarray]:
        """Groups of rows whose files hold the same bytes, each sorted, in the order of their first row."""
        rows = self.readable()
        digests = self.digests_N2[rows]
        order = np.lexsort((rows, digests[:, 1], digests[:, 0]))
        differs = (digests[order][1:] != digests[order][:-1]).any(axis=1)
        groups = np.split(rows[order], np.flatnonzero(differs) + 1)
        return sorted((group for group in groups if len(group) > 1), key=lambda group: int(group[0]))

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation (population) of each channel over all decoded pixels, in [0, 1]."""
        means, deviations = [], []
        for counts_V in self.histogram_CV:
            # Whole numbers of any length: the sums over 10^13 pixels leave 64 bits.
            values = [(value, int(count)) for value, count in enumerate(counts_V)]
            pixels = sum(count for _, count in values)
            total = sum(value * count for value, count in values)
            squares = sum(value * value * count for value, count in values)
            means.append(total / pixels / 255)
            deviations.append(((squares * pixels - total * total) / pixels**2) ** 0.5 / 255)
        return np.array(means), np.array(deviations)


@dataclass(frozen=True)
class _Seen:
    """What one file showed: a size and a digest, or a reason."""

    size: tuple[int, int] = (0, 0)
    digest: bytes = bytes(16)
    histogram: list[int] | None = None
    reason: str = ""


def scan(
    index: Index, workers: int | None = None, progress: Progress | None = None, most: int = SAMPLE, seed: int = 0
) -> Scan:
    """Read every image file of an index once.

    Args:
        workers: threads; as many as processors where not given.
        most: where there are more images, only a sample of this many, drawn with ``seed``, is decoded.
    """
    count = len(index)
    chosen = np.ones(count, dtype=bool)
    if count > most:
        chosen[:] = False
        chosen[np.random.default_rng(seed).choice(count, most, replace=False)] = True
    found = Scan(
        np.zeros((count, 2), dtype=np.int32),
        np.zeros((count, 2), dtype=np.uint64),
        {},
        np.zeros((3, 256), dtype=np.int64),
        0,
    )
    with (progress or Silent()).task("images", count) as task:
        for row, seen in enumerate(_read_all(index, chosen, workers or os.cpu_count() or 1)):
            found.sizes_N2[row] = seen.size
            found.digests_N2[row] = np.frombuffer(seen.digest, dtype=np.uint64)
            if seen.reason:
                found.unreadable[row] = seen.reason
            if seen.histogram is not None:
                found.histogram_CV += np.array(seen.histogram).reshape(3, 256)
                found.decoded += 1
            task.advance()
    return found


def _read_all(index: Index, chosen: np.ndarray, workers: int) -> Iterator[_Seen]:
    block = 64 * workers
    with ThreadPoolExecutor(workers) as pool:
        # Block by block, so that no queue of millions of tasks is made.
        for start in range(0, len(index), block):
            rows = range(start, min(start + block, len(index)))
            yield from pool.map(_read, [index.image(row) for row in rows], [bool(chosen[row]) for row in rows])


def _read(path: Place, whole: bool) -> _Seen:
    where = location(path)
    try:
        with open_image_bytes(path, where) as stream:
            digest = hashlib.blake2b(stream.read(), digest_size=16).digest()
            stream.seek(0)
            if not whole:
                return _Seen(measure(stream, where), digest)
            image = decode(stream, where)
            return _Seen(image.size, digest, image.histogram())
    except ImageError as error:
        return _Seen(reason=str(error).removeprefix(f"{where}: "))
