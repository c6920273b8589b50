"""Measures of the order of the labels within each image; and its k highest labels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# Cells that are compared at once.
CELLS = 2**21
# Up to this k, repeated maxima are faster than sorting.
ROUNDS = 16


class Ranking(NamedTuple):
    """Measures of each image over its known labels.

    Attributes:
        ranking_loss_N: the share of its pairs (positive, absent) in which the absent label scores at least as high;
            0 where there is no such pair.
        coverage_error_N: how many labels score at least as high as its lowest positive; 0 without positives.
        average_precision_N: the mean over its positives of (positives / labels that score at least as high); 1
            without positives.
        one_error_N: the share of its highest labels (more than one where they are tied) that are not positive; NaN
            without positives.

    Images without positives count as in scikit-learn.
    """

    ranking_loss_N: np.ndarray
    coverage_error_N: np.ndarray
    average_precision_N: np.ndarray
    one_error_N: np.ndarray


def rank_labels(scores_NK: np.ndarray, targets_NK: np.ndarray, positives_P: np.ndarray | None = None) -> Ranking:
    """Ranking loss, coverage error, label-ranking average precision and one-error of each image.

    Args:
        scores_NK: finite; higher means more likely.
        targets_NK: 1 present, 0 absent, -1 unknown (left out).
        positives_P: ``numpy.flatnonzero(targets_NK == 1)``, where it is known already.
    """
    images, labels = scores_NK.shape
    positive_NK, known_N = targets_NK == 1, np.full(images, labels)
    if targets_NK.min(initial=0) < 0:
        known_NK = targets_NK >= 0
        scores_NK, known_N = np.where(known_NK, scores_NK, -np.inf), known_NK.sum(1)
    positives_P = np.flatnonzero(positive_NK) if positives_P is None else positives_P
    rows_P, score_P = positives_P // labels, scores_NK.take(positives_P)
    hits_P, above_P = _counts(scores_NK, positive_NK, rows_P, score_P)
    positive_N = np.bincount(rows_P, minlength=images)
    has, starts = positive_N > 0, np.flatnonzero(np.diff(rows_P, prepend=-1))
    loss_N, coverage_N, precision_N, one_error_N = (np.full(images, empty) for empty in (0.0, 0.0, 1.0, np.nan))
    if len(rows_P):
        counts, pairs = positive_N[has], (positive_N * (known_N - positive_N))[has]
        loss_N[has] = np.add.reduceat(above_P - hits_P, starts) / np.maximum(pairs, 1)
        coverage_N[has] = np.maximum.reduceat(above_P, starts)
        precision_N[has] = np.add.reduceat(hits_P / above_P, starts) / counts
        top_N1 = np.take_along_axis(scores_NK, scores_NK.argmax(1)[:, None], axis=1)
        hit_N = np.bincount(rows_P[score_P == top_N1[rows_P, 0]], minlength=images)
        one_error_N[has] = 1 - (hit_N / row_counts(scores_NK == top_N1))[has]
    return Ranking(loss_N, coverage_N, precision_N, one_error_N)


def _counts(
    scores_NK: np.ndarray, positive_NK: np.ndarray, rows_P: np.ndarray, score_P: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """For each positive: the positives, and the labels, of its image that score at least as high."""
    hits, above = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    step = max(1, CELLS // scores_NK.shape[1])
    for first in range(0, len(rows_P), step):
        rows = rows_P[first : first + step]
        high = scores_NK.take(rows, axis=0) >= score_P[first : first + step, None]
        above.append(row_counts(high))
        high &= positive_NK.take(rows, axis=0)
        hits.append(row_counts(high))
    return np.concatenate(hits), np.concatenate(above)


def row_counts(true_NK: np.ndarray) -> np.ndarray:
    """How many are true in each row; int64 (N,)."""
    # numpy adds small numbers at twice the speed.
    kind = np.uint16 if true_NK.shape[1] < 2**16 else np.int64
    return true_NK.view(np.uint8).sum(axis=1, dtype=kind).astype(np.int64)


def lower_unknown(scores_NK: np.ndarray, targets_NK: np.ndarray) -> np.ndarray:
    """Scores in which unknown labels are the lowest, so that they take no place among the k highest."""
    unknown_NK = targets_NK < 0
    if not unknown_NK.any():
        return scores_NK
    # Not infinite: that is what top_labels writes over a label that is taken.
    return np.where(unknown_NK, np.finfo(scores_NK.dtype).min, scores_NK)


def top_labels(scores_NK: np.ndarray, k: int) -> np.ndarray:
    """The k highest labels of each image, the highest first; int64 (N, min(k, K)).

    Of tied labels the one that stands first in the label space wins.

    Args:
        scores_NK: finite.
        k: 1 or more.
    """
    k = min(k, scores_NK.shape[1])
    if k > ROUNDS:
        return np.argsort(-scores_NK, axis=1, kind="stable")[:, :k]
    left_NK, rows = scores_NK.copy(), np.arange(len(scores_NK))
    found = np.empty((len(scores_NK), k), dtype=np.int64)
    for place in range(k):
        found[:, place] = left_NK.argmax(1)
        left_NK[rows, found[:, place]] = -np.inf
    return found
