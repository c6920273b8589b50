"""Precision, recall and F1 of counts per label: per label (C) and overall (O)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class LabelRates(NamedTuple):
    """Precision, recall and F1 of each label; float64 (K,), NaN for a label that is left out."""

    precision_K: np.ndarray
    recall_K: np.ndarray
    f1_K: np.ndarray


def label_rates(
    correct_K: np.ndarray, predicted_K: np.ndarray, positive_K: np.ndarray, no_positives: str = "skip"
) -> LabelRates:
    """Precision, recall and F1 of each label, of its counts.

    Args:
        correct_K: images that have the label and were given it.
        predicted_K: images that were given it; where there are none, precision is 0.
        positive_K: images that have it.
        no_positives: recall and F1 of a label that no image has: ``skip`` (NaN) or ``zero``.
    """
    precision_K = correct_K / np.maximum(predicted_K, 1)
    recall_K = correct_K / np.maximum(positive_K, 1)
    f1_K = 2 * correct_K / np.maximum(predicted_K + positive_K, 1)
    if no_positives != "zero":
        recall_K, f1_K = (np.where(positive_K > 0, rate_K, np.nan) for rate_K in (recall_K, f1_K))
    return LabelRates(precision_K, recall_K, f1_K)


def precision_recall_f1(
    correct_K: np.ndarray,
    predicted_K: np.ndarray,
    positive_K: np.ndarray,
    never_predicted: str = "zero",
    no_positives: str = "skip",
    class_f1: str = "harmonic",
) -> dict[str, float | None]:
    """CP, CR, CF1, OP, OR, OF1 and macro_F1 of counts per label.

    OF1 is the harmonic mean of OP and OR; macro_F1 is the mean of the labels' own F1.

    Args:
        correct_K, predicted_K, positive_K: as in ``label_rates``.
        never_predicted: ``zero``, or ``phantom``: a label that is never predicted counts as predicted once, in OP too.
        no_positives: a label without positives is left out of CP, CR and macro_F1 (``skip``), or counts as 0 there
            (``zero``).
        class_f1: CF1 is the ``harmonic`` mean of CP and CR, or the ``mean`` of the labels' F1.

    Returns:
        ratios in [0, 1]; None where no label counts.
    """
    rates = label_rates(correct_K, predicted_K, positive_K, no_positives)
    counts = np.isfinite(rates.recall_K)
    if not counts.any():
        return dict.fromkeys(("CP", "CR", "CF1", "OP", "OR", "OF1", "macro_F1"))
    if never_predicted == "phantom":
        predicted_K = np.maximum(predicted_K, 1)
    overall_precision = _ratio(correct_K.sum(), predicted_K.sum())
    overall_recall = _ratio(correct_K.sum(), positive_K.sum())
    class_precision, class_recall, macro_f1 = (float(np.mean(rate_K[counts])) for rate_K in rates)
    return {
        "CP": class_precision,
        "CR": class_recall,
        "CF1": _harmonic(class_precision, class_recall) if class_f1 == "harmonic" else macro_f1,
        "OP": overall_precision,
        "OR": overall_recall,
        "OF1": _harmonic(overall_precision, overall_recall),
        "macro_F1": macro_f1,
    }


def mean_recall(hits_K: np.ndarray, positive_K: np.ndarray, absent: str = "skip") -> float | None:
    """The mean over labels of hits by positives.

    Args:
        hits_K: images that have the label among their k highest.
        positive_K: images that have the label.
        absent: a label that no image has is left out (``skip``), or stays in the mean with 0 (``zero``).
    """
    if absent == "skip":
        hits_K, positive_K = hits_K[positive_K > 0], positive_K[positive_K > 0]
    return float(np.mean(hits_K / np.maximum(positive_K, 1))) if len(hits_K) else None


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0


def _harmonic(first: float, second: float) -> float:
    return 2 * first * second / (first + second) if first + second else 0.0
