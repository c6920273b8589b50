"""Measures of one label each, over many labels: in threads, with the scores read in strips of labels."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np

from cotag.errors import ScoresError
from cotag.evaluation.targets import Split, Targets

# Bytes of scores that are turned into columns at once; wider for a file, which is read once for each strip.
STRIP = 2**26
FILE_STRIP = 2**29
CHUNK = 2**24

# (scores of the known images of a label, rising; those of its positives, rising) -> its numbers
Measure = Callable[[np.ndarray, np.ndarray], Sequence[float]]


def map_labels(measure: Measure, scores_NK: np.ndarray, targets: Targets) -> np.ndarray:
    """The numbers that ``measure`` gives for each label; float64 (K, M).

    Args:
        measure: takes the sorted scores of a label's known images and of its positives, and returns M numbers.
        scores_NK: float32 or float64, finite; an array or a memory-mapped file.
        targets: of the same N images and K labels.

    Raises:
        ScoresError: shapes that differ, or scores of a type that loses ranks.
    """
    check_shapes(scores_NK, targets)
    samples, labels = targets.shape
    budget = FILE_STRIP if isinstance(scores_NK, np.memmap) else STRIP
    width = max(1, budget // max(1, samples * scores_NK.itemsize))
    found: list[Sequence[float]] = []
    with ThreadPoolExecutor(workers()) as pool:
        for first in range(0, labels, width):
            last = min(labels, first + width)
            scores_LN, split = _turned(scores_NK, first, last), targets.strip(first, last)
            edges = np.linspace(0, last - first, workers() * 4 + 1).astype(int)
            parts = [pool.submit(_measure_part, measure, scores_LN, split, int(a), int(b)) for a, b in pairwise(edges)]
            for part in parts:
                found += part.result()
            del scores_LN
    return np.array(found, dtype=np.float64)


def check_shapes(scores_NK: np.ndarray, targets: Targets) -> None:
    """Raise ScoresError where scores do not fit targets or are of half precision."""
    if scores_NK.shape != targets.shape:
        raise ScoresError(f"scores have the shape {scores_NK.shape} and targets {targets.shape}; give one for each")
    if scores_NK.dtype not in (np.float32, np.float64):
        raise ScoresError(f"scores are {scores_NK.dtype}; allowed: float32, float64 (half loses ranks)")


def workers() -> int:
    """Threads that share the work; more than eight would wait for memory."""
    return min(8, os.cpu_count() or 1)


def release(scores_NK: np.ndarray) -> None:
    """Give the pages of a memory-mapped file back to the system; they are read again when needed."""
    # In the copy-on-write mode the pages may hold what the file does not.
    if isinstance(scores_NK, np.memmap) and scores_NK.mode in ("r", "r+") and hasattr(mmap, "MADV_DONTNEED"):
        base: object = scores_NK
        while isinstance(base, np.ndarray):
            base = base.base
        if isinstance(base, mmap.mmap):
            base.madvise(mmap.MADV_DONTNEED)


def _turned(scores_NK: np.ndarray, first: int, last: int) -> np.ndarray:
    """The scores of some labels, each contiguous; (last - first, N)."""
    turned = np.empty((last - first, len(scores_NK)), dtype=scores_NK.dtype)
    step = max(1, CHUNK // max(1, scores_NK.shape[1] * scores_NK.itemsize))
    for row in range(0, len(scores_NK), step):
        turned[:, row : row + step] = scores_NK[row : row + step, first:last].T
        release(scores_NK)
    return turned


def _measure_part(
    measure: Measure, scores_LN: np.ndarray, split: Split, first: int, last: int
) -> list[Sequence[float]]:
    found = []
    for place in range(first, last):
        known, positive = split(place, scores_LN[place])
        known.sort()
        positive.sort()
        found.append(measure(known, positive))
    return found
