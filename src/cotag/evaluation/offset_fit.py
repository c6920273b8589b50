"""Fitting of logit offsets before a top-k: one for a group of labels, and one for each label."""

from __future__ import annotations

import numpy as np

from cotag.evaluation.curves import Counts, Events, running_totals, steps
from cotag.evaluation.decision import highest
from cotag.evaluation.objective import Objective, counts_of
from cotag.evaluation.threshold_fit import SMALLEST_GAIN

MOST_SWEEPS = 20


def fit_group_offset(
    logits_NK: np.ndarray, targets_NK: np.ndarray, members_K: np.ndarray, k: int, objective: Objective
) -> tuple[float, float]:
    """The best number to add to the logits of some labels before the k highest are given; and its gain.

    Args:
        logits_NK: float64.
        targets_NK: 1 present, 0 absent, -1 unknown (ranked, and not counted).
        members_K: bool; the labels that are shifted together.

    Exact: as the offset rises, the j-th highest member of an image enters its k highest where it passes the
    (k - j + 1)-th highest of the other labels; the offsets at which this happens are sorted once, equal ones are one
    step, and each interval between two of them is tried. Of equally good ones the offset nearest to 0 is taken.
    """
    rows, size = logits_NK.shape
    k = min(k, size)
    inside, outside = _ranked(logits_NK, members_K, k), _ranked(logits_NK, ~members_K, k)
    # With fewer than k other labels, the highest members are given at any offset.
    always = k - outside.shape[1]
    given_NK = np.zeros((rows, size), dtype=bool)
    np.put_along_axis(given_NK, outside, True, axis=1)
    np.put_along_axis(given_NK, inside[:, :always], True, axis=1)
    places = np.arange(always, inside.shape[1])
    enter, leave = inside[:, places], outside[:, k - 1 - places]
    offsets = np.take_along_axis(logits_NK, leave, 1) - np.take_along_axis(logits_NK, enter, 1)
    order = np.argsort(offsets, axis=None, kind="stable")
    changes = [np.take_along_axis(targets_NK, part, 1).ravel()[order].astype(np.int64) for part in (enter, leave)]
    events = Events(
        np.stack([enter.ravel()[order], leave.ravel()[order]], axis=1).ravel(),
        np.stack([changes[0] >= 0, -(changes[1] >= 0).astype(np.int64)], axis=1).ravel(),
        np.stack([changes[0] == 1, -(changes[1] == 1).astype(np.int64)], axis=1).ravel(),
    )
    start = Counts(*counts_of(given_NK, targets_NK), rows)
    # ``steps`` takes descending values.
    cuts, negated = steps(-offsets.ravel()[order])
    gains = objective.gain(running_totals(events, start))[2 * cuts]
    tried = np.where(_holds_zero(negated, offsets.ravel()[order], cuts), 0.0, -negated)
    best = np.flatnonzero(gains >= gains.max() - SMALLEST_GAIN)
    chosen = best[np.argmin(np.abs(tried[best]))]
    return float(tried[chosen]), float(gains[chosen])


def _holds_zero(negated: np.ndarray, offsets: np.ndarray, cuts: np.ndarray) -> np.ndarray:
    """Which of the intervals between two events holds the offset 0."""
    found = np.zeros(len(negated), dtype=bool)
    below = int((offsets < 0).sum())
    if not (offsets == 0).any():
        found[np.searchsorted(cuts, below)] = True
    return found


def _ranked(logits_NK: np.ndarray, members_K: np.ndarray, k: int) -> np.ndarray:
    """The k highest of some labels, or all of them where they are fewer, highest first; int64 (N, at most k)."""
    rows, members = len(logits_NK), np.flatnonzero(members_K)
    found = np.broadcast_to(members, (rows, len(members)))
    if len(members) > k:
        masked_NK = np.where(members_K, logits_NK, -np.inf)
        found = np.nonzero(highest(masked_NK, k))[1].reshape(rows, k)
    order = np.argsort(-np.take_along_axis(logits_NK, found, 1), axis=1, kind="stable")
    ranked: np.ndarray = np.take_along_axis(found, order, 1)
    return ranked


def fit_label_offsets(
    logits_NK: np.ndarray, targets_NK: np.ndarray, start_K: np.ndarray, k: int, objective: Objective
) -> np.ndarray:
    """An offset for each label, before any shrinkage; float64 (K,).

    Coordinate ascent from ``start_K``: each label with positives in turn takes the best of all its offsets given those
    of the others, until none gains (at most 20 rounds). It ends where no change of one label gains; that is not
    always the best of all. A round costs about K passes over the N x K scores.
    """
    offsets_K = start_K.astype(np.float64).copy()
    size = len(offsets_K)
    gain = -np.inf
    for _ in range(MOST_SWEEPS):
        before = gain
        for label in np.flatnonzero((targets_NK == 1).any(0)):
            shift, reached = fit_group_offset(logits_NK + offsets_K, targets_NK, np.arange(size) == label, k, objective)
            if reached > gain + SMALLEST_GAIN:
                gain = reached
                offsets_K[label] += shift
        if gain <= before + SMALLEST_GAIN:
            break
    return offsets_K
