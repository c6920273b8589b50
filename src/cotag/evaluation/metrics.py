"""Metrics of Scores: average precision, and precision, recall and F1 per label (C) and overall (O)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cotag.evaluation.decision import Decision
from cotag.types.scores import Scores

PROTOCOL = "default (exact AP; labels without positives skipped; unknown targets skipped)"


@dataclass(frozen=True)
class Report:
    """What ``evaluate`` found.

    Attributes:
        metrics: name -> ratio in [0, 1], with the names of the field (mAP, OP, OR, OF1, CP, CR, CF1); None where
            nothing defines it (no label has a known positive).
        protocol: how the numbers were computed.
        labels: one dictionary per label: label, positives, known, prevalence, AP, precision, recall, F1.
        coverage: how many labels each mean is over ("mAP over 75 of 80 labels").
    """

    metrics: dict[str, float | None]
    protocol: str
    labels: list[dict[str, Any]]
    coverage: str

    def to_json(self) -> dict[str, Any]:
        """A JSON object: metrics, protocol, labels, coverage."""
        return {
            "metrics": self.metrics,
            "protocol": self.protocol,
            "coverage": self.coverage,
            "labels": self.labels,
        }


def evaluate(scores: Scores, decision: Decision | None = None) -> Report:
    """Judge scores by the default protocol.

    Args:
        scores: of N images and K labels, with targets.
        decision: how scores become labels; a probability of at least 0.5 where not given.
    """
    decision = decision or Decision()
    targets_NK = scores.targets_NK
    known_NK, positive_NK = targets_NK >= 0, targets_NK == 1
    predicted_NK = decision.apply(scores) & known_NK
    precisions_K = average_precisions(scores.scores_NK, targets_NK)
    correct_K = (predicted_NK & positive_NK).sum(0)
    predicted_K, positive_K, known_K = predicted_NK.sum(0), positive_NK.sum(0), known_NK.sum(0)
    metrics: dict[str, float | None] = {"mAP": _mean(precisions_K)}
    metrics.update(precision_recall_f1(correct_K, predicted_K, positive_K))
    prevalence_K = np.divide(positive_K, known_K, out=np.full(len(known_K), np.nan), where=known_K > 0)
    has = positive_K > 0
    metrics["chance_mAP"] = _mean(np.where(has, prevalence_K, np.nan))
    precision_K = np.divide(correct_K, predicted_K, out=np.zeros(len(has)), where=predicted_K > 0)
    recall_K = np.divide(correct_K, positive_K, out=np.full(len(has), np.nan), where=has)
    total = np.where(has, predicted_K + positive_K, 0)
    f1_K = np.divide(2 * correct_K, total, out=np.full(len(has), np.nan), where=total > 0)
    labels = [
        {
            "label": name,
            "positives": int(positive_K[k]),
            "known": int(known_K[k]),
            "prevalence": _number(prevalence_K[k]),
            "AP": _number(precisions_K[k]),
            "precision": _number(precision_K[k]),
            "recall": _number(recall_K[k]),
            "F1": _number(f1_K[k]),
        }
        for k, name in enumerate(scores.label_space.names)
    ]
    coverage = f"mAP, CP and CR over {int(has.sum())} of {len(has)} labels (the others have no known positive)"
    if has.all():
        coverage = f"mAP, CP and CR over all {len(has)} labels"
    return Report(metrics, f"{PROTOCOL}; {decision.describe()}", labels, coverage)


def average_precisions(scores_NK: np.ndarray, targets_NK: np.ndarray) -> np.ndarray:
    """The exact average precision of each label; float64 (K,), NaN for a label without a known positive.

    Args:
        scores_NK: any finite numbers of which higher means more likely; ranked as they are.
        targets_NK: 1 present, 0 absent, -1 unknown (left out).

    Tied scores are one step, as in scikit-learn's ``average_precision_score``.
    """
    found = np.full(scores_NK.shape[1], np.nan)
    for k in range(scores_NK.shape[1]):
        known = targets_NK[:, k] >= 0
        score, positive = scores_NK[known, k], targets_NK[known, k] == 1
        total = int(positive.sum())
        if not total:
            continue
        order = np.argsort(-score, kind="stable")
        score, positive = score[order], positive[order]
        ends = np.append(np.flatnonzero(np.diff(score)), len(score) - 1)
        hits = np.cumsum(positive)[ends]
        found[k] = float(np.sum(np.diff(hits, prepend=0) * hits / (ends + 1)) / total)
    return found


def precision_recall_f1(
    correct_K: np.ndarray, predicted_K: np.ndarray, positive_K: np.ndarray
) -> dict[str, float | None]:
    """OP, OR, OF1, CP, CR and CF1 of counts per label.

    A label that is never predicted has precision 0; a label without positives is left out of CP and CR.
    OF1 and CF1 are the harmonic means of (OP, OR) and (CP, CR).
    """
    has = positive_K > 0
    if not has.any():
        return dict.fromkeys(("CP", "CR", "CF1", "OP", "OR", "OF1"))
    overall_precision = float(correct_K.sum() / predicted_K.sum()) if predicted_K.sum() else 0.0
    overall_recall = float(correct_K.sum() / positive_K.sum())
    class_precision = float(np.mean(correct_K[has] / np.maximum(predicted_K[has], 1)))
    class_recall = float(np.mean(correct_K[has] / positive_K[has]))
    return {
        "CP": class_precision,
        "CR": class_recall,
        "CF1": _harmonic(class_precision, class_recall),
        "OP": overall_precision,
        "OR": overall_recall,
        "OF1": _harmonic(overall_precision, overall_recall),
    }


def _harmonic(first: float, second: float) -> float:
    return 2 * first * second / (first + second) if first + second else 0.0


def _mean(values: np.ndarray) -> float | None:
    return float(np.nanmean(values)) if not np.isnan(values).all() else None


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
