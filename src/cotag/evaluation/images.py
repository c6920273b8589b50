"""Everything that is counted image by image: what is given, the k highest labels, and the order of the labels."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from cotag.evaluation.columns import check_shapes, release, workers
from cotag.evaluation.protocols import Protocol
from cotag.evaluation.ranking import Ranking, lower_unknown, rank_labels, row_counts, top_labels
from cotag.evaluation.targets import Targets

# Cells of a chunk of images: small enough to stay in a processor's cache.
CELLS = 2**18

# (first, last) -> which labels are given to these images; bool (last - first, K)
Given = Callable[[int, int], np.ndarray]
# (first, last) -> what the labels of these images are ranked by; finite, (last - first, K)
Order = Callable[[int, int], np.ndarray]


@dataclass(frozen=True)
class Counts:
    """Counts of each label; int64 (K,).

    Attributes:
        correct_K: images that have the label and were given it.
        predicted_K: images that were given it.
    """

    correct_K: np.ndarray
    predicted_K: np.ndarray

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.correct_K + other.correct_K, self.predicted_K + other.predicted_K)


@dataclass(frozen=True)
class ImageMeasures:
    """What ``measure_images`` counts.

    Attributes:
        given: labels as they are given.
        top: labels by the protocol's rule for the k highest.
        hits_K: positives that are among the k highest, whether given or not.
        positive_K, known_K: images that have a label, and of which it is known (with unknown ones as negative: all).
        right_N: whether all known labels are right; NaN where none is known.
        ranking: measures of the order of the labels.
    """

    given: Counts
    top: Counts
    hits_K: np.ndarray
    positive_K: np.ndarray
    known_K: np.ndarray
    right_N: np.ndarray
    ranking: Ranking


def measure_images(
    scores_NK: np.ndarray, targets: Targets, given: Given, protocol: Protocol, k: int, order: Order | None = None
) -> ImageMeasures:
    """Count the labels that are given, in chunks of images.

    Args:
        scores_NK: float32 or float64, finite; an array or a memory-mapped file.
        targets: of the same N images and K labels.
        given: the labels that are given to the images ``first`` to ``last - 1``.
        protocol: how unknown targets count, and the rule for the k highest labels.
        k: 1 or more.
        order: what the k highest are found by, where a decision ranks labels by more than their scores.

    Raises:
        ScoresError: shapes that differ, or scores of a type that loses ranks.
    """
    check_shapes(scores_NK, targets)
    samples, labels = targets.shape
    step = max(1, CELLS // labels)

    def of_chunk(first: int) -> ImageMeasures:
        last = min(samples, first + step)
        scores_BK, targets_BK = np.asarray(scores_NK[first:last]), targets.rows(first, last)
        order_BK = scores_BK if order is None else order(first, last)
        found = _measure(scores_BK, targets_BK, given(first, last), order_BK, protocol, k)
        release(scores_NK)
        return found

    total: ImageMeasures | None = None
    of_images = []
    with ThreadPoolExecutor(workers()) as pool:
        for part in pool.map(of_chunk, range(0, samples, step)):
            of_images.append((part.right_N, *part.ranking))
            total = part if total is None else _sum(total, part)
    assert total is not None
    right_N, *ranking = (np.concatenate(some) for some in zip(*of_images, strict=True))
    return replace(total, right_N=right_N, ranking=Ranking(*ranking))


def _measure(
    scores_BK: np.ndarray,
    targets_BK: np.ndarray,
    given_BK: np.ndarray,
    ranked_BK: np.ndarray,
    protocol: Protocol,
    k: int,
) -> ImageMeasures:
    images, labels = scores_BK.shape
    positive_BK, counted_BK = targets_BK == 1, None
    if protocol.unknown == "skip" and targets_BK.min(initial=0) < 0:
        ranked_BK, counted_BK = lower_unknown(ranked_BK, targets_BK), targets_BK >= 0
        given_BK = given_BK & counted_BK
    # Places in the chunk laid out flat, by which numpy picks faster than by row and column.
    top = top_labels(ranked_BK, k) + np.arange(images)[:, None] * labels
    top = top.ravel()
    hits = top[positive_BK.take(top)]
    kept = top if counted_BK is None else top[counted_BK.take(top)]
    if protocol.top_k_rule == "score_and_threshold":
        kept = kept[given_BK.take(kept)]
    positives = np.flatnonzero(positive_BK)
    correct = positives[given_BK.take(positives)]
    positive_B = np.bincount(positives // labels, minlength=images)
    right_B = np.bincount(correct // labels, minlength=images) == positive_B
    right_B &= row_counts(given_BK) == positive_B
    return ImageMeasures(
        Counts(_count(correct, labels), given_BK.sum(0)),
        Counts(_count(kept[positive_BK.take(kept)], labels), _count(kept, labels)),
        _count(hits, labels),
        _count(positives, labels),
        np.full(labels, images) if counted_BK is None else counted_BK.sum(0),
        right_B.astype(np.float64) if counted_BK is None else np.where(counted_BK.any(1), right_B, np.nan),
        rank_labels(scores_BK, targets_BK, positives),
    )


def _count(places: np.ndarray, labels: int) -> np.ndarray:
    """How many of the flat places belong to each label; int64 (K,)."""
    return np.bincount(places % labels, minlength=labels)


def _sum(first: ImageMeasures, other: ImageMeasures) -> ImageMeasures:
    """The counts of both; with thousands of labels the counts of all chunks together would be large."""
    return replace(
        first,
        given=first.given + other.given,
        top=first.top + other.top,
        hits_K=first.hits_K + other.hits_K,
        positive_K=first.positive_K + other.positive_K,
        known_K=first.known_K + other.known_K,
    )
