"""Average precision of labels, exact and by the two VOC rules."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cotag.evaluation.columns import map_labels
from cotag.evaluation.targets import DenseTargets, SparseTargets


def average_precisions(
    scores_NK: np.ndarray, targets: np.ndarray | SparseTargets, variant: str = "exact"
) -> np.ndarray:
    """The average precision of each label; float64 (K,), NaN for a label without a known positive.

    Tied scores are one step, as in scikit-learn's ``average_precision_score``.

    Args:
        scores_NK: float32 or float64, finite, of which higher means more likely; ranked as they are. Memory-mapped
            scores are read in parts.
        targets: int8 (N, K): 1 present, 0 absent, -1 unknown (left out); or the same as SparseTargets.
        variant: ``exact``, ``voc07`` (the mean over recall 0, 0.1 ... 1 of the best precision at that recall or above)
            or ``voc_envelope`` (the mean over positives of the best precision at their recall or above).
    """
    rule = VARIANTS[variant]
    found = targets if isinstance(targets, SparseTargets) else DenseTargets(targets)
    return map_labels(lambda known, positive: (rule(*ranked(known, positive)),), scores_NK, found)[:, 0]


def ranked(known_N: np.ndarray, positive_P: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each positive, from the lowest score up: positives, and samples, that score at least as high.

    Args:
        known_N: the scores of all known samples of a label, rising.
        positive_P: those of its positives, rising.
    """
    hits_P = len(positive_P) - np.searchsorted(positive_P, positive_P)
    given_P = len(known_N) - np.searchsorted(known_N, positive_P)
    return hits_P, given_P


def _exact(hits_P: np.ndarray, given_P: np.ndarray) -> float:
    return float(np.mean(hits_P / given_P)) if len(hits_P) else np.nan


def _envelope(hits_P: np.ndarray, given_P: np.ndarray) -> float:
    return float(np.mean(np.maximum.accumulate(hits_P / given_P))) if len(hits_P) else np.nan


def _eleven_points(hits_P: np.ndarray, given_P: np.ndarray) -> float:
    if not len(hits_P):
        return np.nan
    precision_P = hits_P / given_P
    # whole numbers: recall 0.3 is reached by 3 of 10, which 0.1 + 0.1 + 0.1 would miss
    return sum(float(precision_P[10 * hits_P >= tenth * len(hits_P)].max()) for tenth in range(11)) / 11


VARIANTS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "exact": _exact,
    "voc07": _eleven_points,
    "voc_envelope": _envelope,
}
