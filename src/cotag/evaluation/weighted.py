"""Average precision of many resamples at once: a resample is how often it holds each image."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

# Resamples that are summed together: what is gathered of them stays small.
BLOCK = 250


def weighted_average_precisions(
    scores_NK: np.ndarray, targets_NK: np.ndarray, counts_NR: np.ndarray, rule: str = "exact"
) -> np.ndarray:
    """The average precision of each label in each resample; float64 (K, R), NaN where a label has no known positive.

    It is what the rows have when they are repeated as often as ``counts_NR`` says: tied scores are one step, and so
    are the copies of an image; unknown targets are left out.

    Args:
        scores_NK: any finite numbers of which higher means more likely.
        targets_NK: 1 present, 0 absent, -1 unknown.
        counts_NR: how often resample R holds image N; whole numbers, float32 or float64.
        rule: ``exact``, ``voc07`` or ``voc_envelope``.
    """
    area = AREAS[rule]

    def of_steps(steps: _Steps, counts_NB: np.ndarray) -> np.ndarray:
        return area(*_cumulated(counts_NB, steps))[None]

    return _of_each_label(scores_NK, targets_NK, counts_NR, of_steps, 1)[0]


def halved_average_precisions(
    scores_NK: np.ndarray, targets_NK: np.ndarray, counts_NR: np.ndarray, rule: str = "exact"
) -> np.ndarray:
    """Average precisions of ``counts_NR`` and of ``1 - counts_NR``, the rows that they leave; float64 (2, K, R).

    Args:
        counts_NR: whether part R holds image N, 0 or 1; all else as in ``weighted_average_precisions``.
    """
    area = AREAS[rule]

    def of_steps(steps: _Steps, counts_NB: np.ndarray) -> np.ndarray:
        # What one half holds down to some score is what the other leaves.
        hits, given = _cumulated(counts_NB, steps)
        all_hits, all_given = (
            np.append(starts[1:], len(rows))[:, None]
            for starts, rows in ((steps.positive_starts, steps.positive_rows), (steps.starts, steps.rows))
        )
        return np.stack([area(hits, given), area(all_hits - hits, all_given - given)])

    return _of_each_label(scores_NK, targets_NK, counts_NR, of_steps, 2)


def _of_each_label(
    scores_NK: np.ndarray,
    targets_NK: np.ndarray,
    counts_NR: np.ndarray,
    of_steps: Callable[[_Steps, np.ndarray], np.ndarray],
    numbers: int,
) -> np.ndarray:
    """What ``of_steps`` finds of each label, by blocks of resamples; float64 (numbers, K, R)."""
    blocks = [np.ascontiguousarray(counts_NR[:, at : at + BLOCK]) for at in range(0, counts_NR.shape[1], BLOCK)]

    def of_label(k: int) -> np.ndarray:
        steps = _steps(scores_NK[:, k], targets_NK[:, k])
        if steps is None:
            return np.full((numbers, counts_NR.shape[1]), np.nan)
        return np.concatenate([of_steps(steps, block) for block in blocks], axis=1)

    # numpy lets go of the interpreter in its long loops.
    with ThreadPoolExecutor(processors()) as pool:
        return np.stack(list(pool.map(of_label, range(scores_NK.shape[1]))), axis=1)


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Steps(NamedTuple):
    """The rows of one label down to its last positive, cut after each tie that holds a positive."""

    rows: np.ndarray
    starts: np.ndarray
    positive_rows: np.ndarray
    positive_starts: np.ndarray


def _steps(score_N: np.ndarray, target_N: np.ndarray) -> _Steps | None:
    known = np.flatnonzero(target_N >= 0)
    order = known[np.argsort(-score_N[known], kind="stable")]
    score, positive = score_N[order], target_N[order] == 1
    if not positive.any():
        return None
    ends = np.append(np.flatnonzero(np.diff(score)), len(score) - 1)
    hits = np.cumsum(positive)[ends]
    gains = np.diff(hits, prepend=0) > 0
    ends, hits = ends[gains], hits[gains]
    first = np.zeros(1, dtype=np.int64)
    return _Steps(
        order[: ends[-1] + 1],
        np.concatenate([first, ends[:-1] + 1]),
        order[positive],
        np.concatenate([first, hits[:-1]]),
    )


def _cumulated(counts_NB: np.ndarray, steps: _Steps) -> tuple[np.ndarray, np.ndarray]:
    """True positives and predicted images after each step; float64 (steps, B).

    Between two steps the counts are summed in their own type, which holds whole numbers up to the sum of a column.
    """
    hits = np.add.reduceat(counts_NB[steps.positive_rows], steps.positive_starts, axis=0)
    given = np.add.reduceat(counts_NB[steps.rows], steps.starts, axis=0)
    return np.cumsum(hits, axis=0, dtype=np.float64), np.cumsum(given, axis=0, dtype=np.float64)


def _precision(hits_SB: np.ndarray, given_SB: np.ndarray) -> np.ndarray:
    # Where a resample holds no image so far, the hits are 0 as well.
    found: np.ndarray = hits_SB / np.maximum(given_SB, 1)
    return found


def _exact(hits_SB: np.ndarray, given_SB: np.ndarray) -> np.ndarray:
    return _area(hits_SB, _precision(hits_SB, given_SB))


def _envelope(hits_SB: np.ndarray, given_SB: np.ndarray) -> np.ndarray:
    best = np.maximum.accumulate(_precision(hits_SB, given_SB)[::-1], axis=0)[::-1]
    return _area(hits_SB, best)


def _area(hits_SB: np.ndarray, precision_SB: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        found: np.ndarray = (np.diff(hits_SB, axis=0, prepend=0) * precision_SB).sum(0) / hits_SB[-1]
    return found


def _eleven_points(hits_SB: np.ndarray, given_SB: np.ndarray) -> np.ndarray:
    precision_SB = _precision(hits_SB, given_SB)
    total_B = hits_SB[-1]
    found = sum(np.where(10 * hits_SB >= tenth * total_B, precision_SB, 0).max(0) for tenth in range(11))
    return np.where(total_B > 0, found / 11, np.nan)


AREAS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "exact": _exact,
    "voc07": _eleven_points,
    "voc_envelope": _envelope,
}
