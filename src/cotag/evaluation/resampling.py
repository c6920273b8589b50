"""Resamples of images for the bootstrap, drawn so that no label loses its last positive."""

from __future__ import annotations

import math

import numpy as np

# With 3 + log K positives in one stratum a label is lost in at most 1 / (20 K) of the resamples: so few are drawn
# again that it hardly matters, and only rarer labels need a stratum of their own.
SAFE_POSITIVES = 3


def strata_of(positive_NK: np.ndarray) -> np.ndarray:
    """The stratum of each image; int64 (N,), 0 for the common one.

    Images are drawn within their stratum, so a label that has every image of some stratum keeps a positive in each
    resample. A label with few positives (under 3 + log K) in the common stratum takes these out as a stratum of its
    own, the rarest label first; where it has none there, the stratum that holds most of its positives is split into
    those with and those without it. All other images, most of them as a rule, stay in the common stratum.

    Args:
        positive_NK: bool; which images have which label for certain.
    """
    stratum_N = np.zeros(len(positive_NK), dtype=np.int64)
    sizes = [len(positive_NK)]
    safe = SAFE_POSITIVES + math.log(max(positive_NK.shape[1], 1))
    counts_K = positive_NK.sum(0)
    labels = [int(k) for k in np.argsort(counts_K, kind="stable") if counts_K[k]]
    rows_of = {k: np.flatnonzero(positive_NK[:, k]) for k in labels}
    changed = True
    # A stratum that is taken out can leave too few to a label that was safe before.
    while changed:
        changed = False
        for k in labels:
            found, held = np.unique(stratum_N[rows_of[k]], return_counts=True)
            whole = any(count == sizes[number] for number, count in zip(found, held, strict=True))
            if whole or (found[0] == 0 and held[0] >= safe):
                continue
            source = 0 if found[0] == 0 else int(found[np.argmax(held)])
            taken = rows_of[k][stratum_N[rows_of[k]] == source]
            stratum_N[taken] = len(sizes)
            sizes[source] -= len(taken)
            sizes.append(len(taken))
            changed = True
    return stratum_N


def resample_counts(positive_NK: np.ndarray, resamples: int, random: np.random.Generator) -> np.ndarray:
    """How often each resample holds each image; float32 (N, R), whole numbers, each column's sum is N.

    Each stratum of ``strata_of`` is drawn with replacement to its own size. A resample in which a label has
    nevertheless lost all its positives is drawn again.

    Args:
        positive_NK: bool; which images have which label for certain.
        resamples: R.
        random: gives the same resamples for the same seed.
    """
    images = len(positive_NK)
    stratum_N = strata_of(positive_NK)
    members = [np.flatnonzero(stratum_N == number) for number in range(stratum_N.max() + 1)]
    # One product finds the labels that are lost; those of the common stratum are the only ones that can be.
    present = np.ascontiguousarray(positive_NK[:, positive_NK.any(0)].T, dtype=np.float32)
    # Whole numbers are exact in float32 up to this many images.
    kind = np.float32 if images <= 2**24 else np.float64
    counts_NR = np.empty((images, resamples), dtype=kind)
    todo = np.arange(resamples)
    while len(todo):
        drawn = np.empty((images, len(todo)), dtype=kind)
        for rows in members:
            drawn[rows] = _multinomial(len(rows), len(todo), random)
        counts_NR[:, todo] = drawn
        todo = todo[((present @ drawn) == 0).any(0)]
    return counts_NR


def _multinomial(size: int, columns: int, random: np.random.Generator) -> np.ndarray:
    """Counts of ``size`` draws out of ``size``; int64 (size, columns)."""
    if size < 2:
        return np.ones((size, columns), dtype=np.int64)
    drawn = random.integers(0, size, (size, columns)) * columns + np.arange(columns)
    return np.bincount(drawn.ravel(), minlength=size * columns).reshape(size, columns)
