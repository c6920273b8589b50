"""What every possible threshold would give: counts by sorting once, exact, with tied scores as one step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cotag.evaluation.objective import Totals, ratios

# How far beyond the outermost score, in logits, the threshold lies that gives none or all.
BEYOND = 1.0


@dataclass(frozen=True)
class Events:
    """Labels that are given or taken away, one after the other; E of them.

    Attributes:
        label: int64 (E,).
        predicted: 1 given, -1 taken away, 0 where the target is unknown.
        correct: the same where the target is present, else 0.
    """

    label: np.ndarray
    predicted: np.ndarray
    correct: np.ndarray


@dataclass(frozen=True)
class Counts:
    """Correct, predicted and positive of each label, int64 (K,), and the number of images."""

    correct: np.ndarray
    predicted: np.ndarray
    positives: np.ndarray
    images: int


def running_totals(events: Events, start: Counts) -> Totals:
    """The totals before the first event and after each; arrays of E + 1."""
    order = np.argsort(events.label, kind="stable")
    label = events.label[order]
    predicted = _after(events.predicted[order], label, start.predicted)
    correct = _after(events.correct[order], label, start.correct)
    positives = start.positives[label]
    after = ratios(correct, predicted, positives)
    before = ratios(correct - events.correct[order], predicted - events.predicted[order], positives)
    has = start.positives > 0
    first = ratios(start.correct, start.predicted, start.positives)
    means = []
    for one, other, initial in zip(after, before, first, strict=True):
        change = np.empty(len(order))
        change[order] = np.where(has[label], one - other, 0)
        means.append(np.cumsum(np.append(initial[has].sum(), change)) / max(has.sum(), 1))
    return Totals(
        np.cumsum(np.append(start.correct.sum(), events.correct)),
        np.cumsum(np.append(start.predicted.sum(), events.predicted)),
        np.full(len(order) + 1, start.positives.sum()),
        *(means[0], means[1], means[2]),
        images=start.images,
    )


def _after(changes: np.ndarray, label: np.ndarray, start_K: np.ndarray) -> np.ndarray:
    """The count of an event's label after it; the events are sorted by label."""
    sums = np.cumsum(changes)
    first = np.searchsorted(label, label)
    before = np.where(first > 0, sums[first - 1], 0) if len(sums) else sums
    found: np.ndarray = start_K[label] + sums - before
    return found


def steps(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where values in descending order can be cut, and the thresholds that do it.

    Returns:
        how many are at or above each threshold (0 first, then the end of each run of equal values), and the
        thresholds: midpoints, and ``BEYOND`` above the first and under the last.
    """
    if not len(values):
        return np.zeros(1, dtype=np.int64), np.zeros(1)
    ends = np.flatnonzero(np.append(np.diff(values) != 0, True))
    distinct = values[ends]
    middle = distinct[:-1] + (distinct[1:] - distinct[:-1]) / 2
    # Between two neighboring floats there is none: the upper one is then the threshold itself.
    middle = np.where(middle > distinct[1:], middle, distinct[:-1])
    thresholds = np.concatenate([[distinct[0] + BEYOND], middle, [distinct[-1] - BEYOND]])
    return np.append(0, ends + 1), thresholds


@dataclass(frozen=True)
class LabelCurve:
    """The cuts of one label that may be worth taking: after none, and after each run that holds a positive.

    Attributes:
        thresholds: descending, logits.
        predicted, correct: counts at or above each.
        positives: of the label.
    """

    thresholds: np.ndarray
    predicted: np.ndarray
    correct: np.ndarray
    positives: int


def label_curve(logits_N: np.ndarray, targets_N: np.ndarray, allowed_N: np.ndarray | None = None) -> LabelCurve:
    """The curve of one label.

    Args:
        targets_N: 1 present, 0 absent, -1 unknown (left out).
        allowed_N: which images may be given the label at all; every one by default.
    """
    used = targets_N >= 0 if allowed_N is None else (targets_N >= 0) & allowed_N
    order = np.argsort(-logits_N[used], kind="stable")
    logits, positive = logits_N[used][order], targets_N[used][order] == 1
    cuts, thresholds = steps(logits)
    correct = np.append(0, np.cumsum(positive))[cuts]
    # A run without positives adds only mistakes: no objective gains by it.
    worth = np.append(True, np.diff(correct) > 0)
    return LabelCurve(thresholds[worth], cuts[worth], correct[worth], int((targets_N == 1).sum()))


def upper_hull(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Positions of the corners of the upper concave hull, for x in ascending order without equal values."""
    kept: list[int] = []
    for place in range(len(x)):
        while len(kept) > 1:
            a, b = kept[-2], kept[-1]
            if (y[b] - y[a]) * (x[place] - x[b]) > (y[place] - y[b]) * (x[b] - x[a]):
                break
            kept.pop()
        kept.append(place)
    return np.array(kept, dtype=np.int64)
