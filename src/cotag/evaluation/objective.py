"""Objectives: what a decision is fitted for, computed from counts."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from cotag.errors import SettingError, suggestion

NAMES = ("CF1", "OF1", "macro_F1", "mR", "precision", "recall", "cost")
SHOWN = ("CF1", "OF1", "macro_F1", "mR@k", "precision", "recall", "cost")


@dataclass(frozen=True)
class Totals:
    """Sums and means over labels of one or more ways to decide; each a number or an array of one shape.

    Attributes:
        correct: given and true, over all labels.
        predicted: given, over all labels.
        positives: true, over all labels.
        precision: mean over the labels with positives; a label that is never given has 0.
        recall: mean over the labels with positives.
        f1: mean over the labels with positives of the label's own F1.
        images: number of images.
    """

    correct: np.ndarray
    predicted: np.ndarray
    positives: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    images: int


def ratios(
    correct: np.ndarray, predicted: np.ndarray, positives: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision, recall and F1 of counts, 0 where there is nothing to divide by; float64."""
    precision = correct / np.maximum(predicted, 1)
    recall = correct / np.maximum(positives, 1)
    f1 = 2 * correct / np.maximum(predicted + positives, 1)
    return precision, recall, f1


def totals_of(correct: np.ndarray, predicted: np.ndarray, positives: np.ndarray, images: int) -> Totals:
    """Totals of counts for each label; (..., K) each."""
    has = positives > 0
    size = np.maximum(has.sum(-1), 1)
    precision, recall, f1 = (np.where(has, part, 0).sum(-1) / size for part in ratios(correct, predicted, positives))
    return Totals(correct.sum(-1), predicted.sum(-1), positives.sum(-1), precision, recall, f1, images)


def counts_of(given_NK: np.ndarray, targets_NK: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Correct, predicted and positive of each label, over the known cells; int64 (K,) each."""
    positive_NK = targets_NK == 1
    return (given_NK & positive_NK).sum(0), (given_NK & (targets_NK >= 0)).sum(0), positive_NK.sum(0)


@dataclass(frozen=True)
class Objective:
    """What is to be reached.

    ``CF1``, ``OF1``, ``macro_F1``: as large as possible. ``mR``: the mean recall of the labels under a top-k rule
    (mR@k). ``precision``: the largest OR of those ways whose OP is at least ``at_least``; ``recall``: the largest OP
    of those whose OR is. ``cost``: the smallest expected cost of an image.

    Args:
        name: one of these.
        at_least: ratio above 0, at most 1; for ``precision`` and ``recall``.
        false_positive: cost of a label that is given and not true, 0 or more; for ``cost``.
        false_negative: cost of a label that is true and not given, 0 or more; for ``cost``.

    Raises:
        SettingError: an unknown name, a value that is missing, not allowed, or that the objective would not use.
    """

    name: str
    at_least: float | None = None
    false_positive: float = 1.0
    false_negative: float = 1.0

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise SettingError(f"objective {self.name!r} is not known{suggestion(self.name, SHOWN)}")
        bound = self.name in ("precision", "recall")
        if bound and not (self.at_least is not None and 0 < self.at_least <= 1):
            raise SettingError(f"objective {self.name} with at_least = {self.at_least}: give one above 0, at most 1")
        if not bound and self.at_least is not None:
            raise SettingError(f"objective {self.name} has no bound: leave at_least out, or choose precision or recall")
        costs = (self.false_positive, self.false_negative)
        if not all(np.isfinite(costs)) or min(costs) < 0 or max(costs) == 0:
            raise SettingError(f"costs {costs[0]:g} and {costs[1]:g}: give numbers of 0 or more, one of them above 0")
        if self.name != "cost" and costs != (1.0, 1.0):
            raise SettingError(f"objective {self.name} has no costs: leave them out, or choose cost")

    @property
    def means(self) -> bool:
        """Whether it is made of means over labels, not of sums."""
        return self.name in ("CF1", "macro_F1", "mR")

    @property
    def measured(self) -> str:
        """The name of ``value``."""
        return {"precision": "OR", "recall": "OP", "mR": "mR@k", "cost": "cost per image"}.get(self.name, self.name)

    @property
    def bounded(self) -> str | None:
        """The name of what ``bound`` gives: OP or OR; None without a bound."""
        return {"precision": "OP", "recall": "OR"}.get(self.name)

    def value(self, totals: Totals) -> np.ndarray:
        """What is reported: a ratio, or the cost of an image; a cost is better when smaller."""
        if self.name == "CF1":
            return _harmonic(totals.precision, totals.recall)
        if self.name == "OF1":
            return ratios(totals.correct, totals.predicted, totals.positives)[2]
        if self.name == "macro_F1":
            return totals.f1
        if self.name == "mR":
            return totals.recall
        if self.name == "cost":
            wrong = self.false_positive * (totals.predicted - totals.correct)
            return (wrong + self.false_negative * (totals.positives - totals.correct)) / totals.images
        precision, recall, _ = ratios(totals.correct, totals.predicted, totals.positives)
        return recall if self.name == "precision" else precision

    def bound(self, totals: Totals) -> np.ndarray | None:
        """What must be at least ``at_least``; None without a bound."""
        precision, recall, _ = ratios(totals.correct, totals.predicted, totals.positives)
        return {"precision": precision, "recall": recall}.get(self.name)

    def gain(self, totals: Totals) -> np.ndarray:
        """What fitting makes as large as possible: any way that keeps the bound is above any that does not."""
        value, bound = self.value(totals), self.bound(totals)
        if self.name == "cost":
            return -value
        if bound is None:
            return value
        # A bound that is met in whole numbers must not fail by rounding.
        return np.where(bound >= (self.at_least or 0) - 1e-12, value, bound - 2)

    def describe(self) -> str:
        """In words, for a report."""
        if self.name == "cost":
            return f"cost per image (false positive {self.false_positive:g}, false negative {self.false_negative:g})"
        return f"{self.measured} at {self.bounded} >= {self.at_least:g}" if self.bounded else self.measured


def parse_objective(text: str) -> tuple[str, int | None]:
    """The name of an objective, and the k of ``mR@k``.

    Raises:
        SettingError: mR without a k.

    >>> parse_objective("mR@3")
    ('mR', 3)
    """
    found = re.fullmatch(r"mR@([1-9]\d*)", text)
    if found:
        return "mR", int(found[1])
    if text.startswith("mR"):
        raise SettingError(f"objective {text!r}: give mR@ and how many labels count, such as mR@3")
    return text, None


def _harmonic(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    total = first + second
    found: np.ndarray = np.divide(2 * first * second, total, out=np.zeros_like(total), where=total > 0)
    return found
