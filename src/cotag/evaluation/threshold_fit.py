"""Fitting of thresholds: one for all labels, and one for each label."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cotag.evaluation.curves import Counts, Events, LabelCurve, label_curve, running_totals, steps, upper_hull
from cotag.evaluation.objective import Objective, Totals, ratios

# A step of the ascent must gain more than rounding does.
SMALLEST_GAIN = 1e-12


def fit_threshold(
    logits_NK: np.ndarray, targets_NK: np.ndarray, objective: Objective, allowed_NK: np.ndarray | None = None
) -> tuple[float, float]:
    """The best one threshold for all labels, over all possible ones; and its gain.

    Args:
        logits_NK: float64.
        targets_NK: 1 present, 0 absent, -1 unknown (left out).
        allowed_NK: cells that may be given at all; every one by default.

    Of equally good thresholds the highest is taken; without a known cell it is 0 (probability 0.5).
    """
    used_NK = targets_NK >= 0 if allowed_NK is None else (targets_NK >= 0) & allowed_NK
    _, label = np.nonzero(used_NK)
    logits = logits_NK[used_NK]
    order = np.argsort(-logits, kind="stable")
    correct = (targets_NK[used_NK][order] == 1).astype(np.int64)
    zeros = np.zeros(targets_NK.shape[1], dtype=np.int64)
    start = Counts(zeros, zeros, (targets_NK == 1).sum(0), len(targets_NK))
    totals = running_totals(Events(label[order], np.ones(len(order), dtype=np.int64), correct), start)
    cuts, thresholds = steps(logits[order])
    gains = objective.gain(totals)[cuts]
    best = int(np.argmax(gains))
    return float(thresholds[best]), float(gains[best])


def fit_label_thresholds(logits_NK: np.ndarray, targets_NK: np.ndarray, objective: Objective) -> np.ndarray:
    """The best threshold of each label, before any shrinkage; float64 (K,).

    The labels are chosen together. Objectives that are a function of two sums over labels (OF1, precision, recall and
    cost: of predicted and correct; CF1: of recall and precision) begin with the best of all Lagrangian solutions: for
    each weight of the one sum against the other, every label takes the best corner of its own concave hull; that is
    exact for OF1 and cost. Then the labels in turn take the best of all their thresholds given those of the others,
    until none gains; that alone is exact for macro_F1, in which the labels do not depend on each other. CF1, precision
    and recall end where no change of one label gains.
    """
    curves = [label_curve(logits_NK[:, k], targets_NK[:, k]) for k in range(targets_NK.shape[1])]
    chosen = choose_cuts(curves, objective, len(targets_NK))
    return np.array([curve.thresholds[cut] for curve, cut in zip(curves, chosen, strict=True)])


def choose_cuts(curves: Sequence[LabelCurve], objective: Objective, images: int) -> np.ndarray:
    """Which cut of each label's curve is best; int64 (K,). See ``fit_label_thresholds``."""
    points = [_points(curve, objective) for curve in curves]
    fixed = (sum(curve.positives for curve in curves), sum(curve.positives > 0 for curve in curves), images)
    if objective.name == "macro_F1":
        starts = [np.zeros(len(curves), dtype=np.int64)]
    else:
        starts = _hull_starts(points, objective, fixed)
    found = [_ascend(points, start, objective, fixed) for start in starts]
    return max(found, key=lambda item: item[1])[0]


Fixed = tuple[int, int, int]


def _points(curve: LabelCurve, objective: Objective) -> np.ndarray:
    """What each cut adds to the two sums that the objective is a function of; (2, cuts)."""
    if not objective.means:
        return np.stack([curve.predicted, curve.correct]).astype(np.float64)
    precision, recall, f1 = ratios(curve.correct, curve.predicted, np.full(len(curve.correct), curve.positives))
    if not curve.positives:
        return np.zeros((2, len(curve.correct)))
    return np.stack([recall, f1 if objective.name == "macro_F1" else precision])


def _gain(x: np.ndarray, y: np.ndarray, objective: Objective, fixed: Fixed) -> np.ndarray:
    positives, labels, images = fixed
    none = np.zeros_like(x)
    if not objective.means:
        return objective.gain(Totals(y, x, np.full_like(x, positives), none, none, none, images))
    x, y = x / max(labels, 1), y / max(labels, 1)
    return objective.gain(Totals(none, none, none, y, x, y, images))


def _hull_starts(points: Sequence[np.ndarray], objective: Objective, fixed: Fixed) -> list[np.ndarray]:
    """The best Lagrangian solutions; several where the ascent may end elsewhere from each."""
    label, cut, step, slope = [], [], [], []
    for k, (x, y) in enumerate(points):
        corners = upper_hull(x, y)
        dx, dy = np.diff(x[corners]), np.diff(y[corners])
        label.append(np.full(len(dx), k))
        cut.append(corners[1:])
        step.append(np.stack([dx, dy]))
        slope.append(dy / dx)
    order = np.argsort(-np.concatenate(slope), kind="stable")
    labels, cuts = np.concatenate(label)[order], np.concatenate(cut)[order]
    sums = np.cumsum(np.concatenate([np.zeros((2, 1)), np.concatenate(step, axis=1)[:, order]], axis=1), axis=1)
    gains = _gain(sums[0], sums[1], objective, fixed)
    exact = objective.name in ("OF1", "cost")
    starts = []
    for place in np.argsort(-gains, kind="stable")[: 1 if exact else 8]:
        start = np.zeros(len(points), dtype=np.int64)
        # Corners of a label come in order, so its last one is its largest.
        np.maximum.at(start, labels[:place], cuts[:place])
        starts.append(start)
    return starts


def _ascend(
    points: Sequence[np.ndarray], start: np.ndarray, objective: Objective, fixed: Fixed
) -> tuple[np.ndarray, float]:
    """Change one label at a time while that gains; the cuts and their gain."""
    chosen = start.copy()
    sums = np.sum([point[:, cut] for point, cut in zip(points, chosen, strict=True)], axis=0)
    gain = float(_gain(sums[:1], sums[1:], objective, fixed)[0])
    moved = True
    while moved:
        moved = False
        for k, point in enumerate(points):
            rest = sums - point[:, chosen[k]]
            gains = _gain(rest[0] + point[0], rest[1] + point[1], objective, fixed)
            best = int(np.argmax(gains))
            if gains[best] > gain + SMALLEST_GAIN:
                chosen[k], gain, moved = best, float(gains[best]), True
                sums = rest + point[:, best]
    return chosen, gain
