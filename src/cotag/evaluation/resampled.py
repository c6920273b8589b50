"""The headline numbers of many resamples at once, by any protocol."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from cotag.evaluation.decision import Decision
from cotag.evaluation.given import given_labels, highest_labels
from cotag.evaluation.judging import K
from cotag.evaluation.protocols import Protocol
from cotag.evaluation.weighted import weighted_average_precisions
from cotag.types.scores import Scores

RATES = ("CP", "CR", "CF1", "OP", "OR", "OF1", "macro_F1")


def headline_names(protocol: Protocol, k: int | None = None) -> tuple[str, ...]:
    """The names of ``headline_numbers``: mAP, the rates, the rates of the k highest labels (CP@3 ...) and mR@3.

    Args:
        k: the protocol's, or 3, where not given.
    """
    k = k or protocol.top_k or K
    return ("mAP", *RATES, *(f"{name}@{k}" for name in RATES), f"mR@{k}")


class Judged(NamedTuple):
    """What the headline numbers are found from, row by row.

    Attributes:
        scores_NK: any finite numbers of which higher means more likely.
        targets_NK: 1 present, 0 absent, -1 unknown.
        given_NK: bool; the labels that a decision gives.
        highest_NK: bool; the k highest labels of each image.
    """

    scores_NK: np.ndarray
    targets_NK: np.ndarray
    given_NK: np.ndarray
    highest_NK: np.ndarray


def judged(scores: Scores, decision: Decision | None, protocol: Protocol, k: int | None = None) -> Judged:
    """Scores with the labels that are given, by a decision and by rank; arguments as in ``evaluate``.

    Only labels that the protocol judges are kept.
    """
    given_NK = given_labels(scores, decision, protocol)
    rows = (
        scores.scores_NK,
        scores.targets_NK,
        given_NK,
        highest_labels(scores, decision, protocol, k or protocol.top_k or K),
    )
    kept_K = protocol.kept(scores.label_space)
    return Judged(*(rows if kept_K.all() else (cells_NK[:, kept_K] for cells_NK in rows)))


def headline_numbers(
    scores: Scores,
    decision: Decision | None,
    protocol: Protocol,
    counts_NR: np.ndarray,
    names: Collection[str] | None = None,
    k: int | None = None,
) -> dict[str, np.ndarray]:
    """The numbers that ``evaluate`` finds on the rows repeated as often as ``counts_NR`` says; float64 (R,) each.

    Args:
        decision: as in ``evaluate``.
        counts_NR: how often resample R holds image N; whole numbers, float32 or float64.
        names: only these; all where not given. Numbers that nothing defines are left out.
        k: as in ``evaluate``.
    """
    return judged_numbers(judged(scores, decision, protocol, k), protocol, counts_NR, names, k)


def judged_numbers(
    rows: Judged,
    protocol: Protocol,
    counts_NR: np.ndarray,
    names: Collection[str] | None = None,
    k: int | None = None,
) -> dict[str, np.ndarray]:
    """The same of rows that are judged already, with the same k."""
    k, targets_NK = k or protocol.top_k or K, rows.targets_NK
    wanted = set(headline_names(protocol, k) if names is None else names)
    found: dict[str, np.ndarray] = {}
    if "mAP" in wanted and (targets_NK == 1).any():
        variant = protocol.average_precision
        precisions_KR = weighted_average_precisions(rows.scores_NK, targets_NK, counts_NR, variant)
        found["mAP"] = np.nanmean(precisions_KR, axis=0)
    if wanted & set(RATES):
        found |= resampled_rates(rows.given_NK, targets_NK, counts_NR, protocol)
    if wanted & {f"{name}@{k}" for name in RATES}:
        within = protocol.top_k_rule == "score_and_threshold"
        top_NK = rows.highest_NK & rows.given_NK if within else rows.highest_NK
        rates = resampled_rates(top_NK, targets_NK, counts_NR, protocol)
        found |= {f"{name}@{k}": values_R for name, values_R in rates.items()}
    if f"mR@{k}" in wanted:
        absent = "zero" if protocol.no_positives == "zero" else "skip"
        found |= resampled_mean_recall(rows.highest_NK, targets_NK, counts_NR, k, absent)
    return {name: values_R for name, values_R in found.items() if name in wanted}


def resampled_rates(
    given_NK: np.ndarray, targets_NK: np.ndarray, counts_NR: np.ndarray, protocol: Protocol
) -> dict[str, np.ndarray]:
    """CP, CR, CF1, OP, OR, OF1 and macro_F1 of each resample; float64 (R,) each, none where no label counts.

    They are what ``precision_recall_f1`` finds on the rows repeated as often as ``counts_NR`` says.

    Args:
        given_NK: bool; the labels that a decision gives.
        targets_NK: 1 present, 0 absent, -1 unknown.
        counts_NR: how often resample R holds image N; whole numbers, float32 or float64.
        protocol: what it says of unknown targets and of labels without predictions or positives.
    """
    counted_NK = given_NK & (targets_NK >= 0) if protocol.unknown == "skip" else given_NK
    positive_NK = targets_NK == 1
    positive_KR = _totals(positive_NK, counts_NR)
    correct_KR = _totals(given_NK & positive_NK, counts_NR)
    predicted_KR = _totals(counted_NK, counts_NR)
    kept = np.ones(len(positive_KR), dtype=bool) if protocol.no_positives == "zero" else positive_NK.any(0)
    if not kept.any():
        return {}
    precision_KR = correct_KR / np.maximum(predicted_KR, 1)
    recall_KR = correct_KR / np.maximum(positive_KR, 1)
    f1_KR = 2 * correct_KR / np.maximum(predicted_KR + positive_KR, 1)
    class_precision, class_recall, macro_f1 = (rate[kept].mean(0) for rate in (precision_KR, recall_KR, f1_KR))
    if protocol.never_predicted == "phantom":
        predicted_KR = np.maximum(predicted_KR, 1)
    overall_precision = correct_KR.sum(0) / np.maximum(predicted_KR.sum(0), 1)
    overall_recall = correct_KR.sum(0) / np.maximum(positive_KR.sum(0), 1)
    return {
        "CP": class_precision,
        "CR": class_recall,
        "CF1": _harmonic(class_precision, class_recall) if protocol.class_f1 == "harmonic" else macro_f1,
        "OP": overall_precision,
        "OR": overall_recall,
        "OF1": _harmonic(overall_precision, overall_recall),
        "macro_F1": macro_f1,
    }


def resampled_mean_recall(
    highest_NK: np.ndarray, targets_NK: np.ndarray, counts_NR: np.ndarray, k: int, absent: str
) -> dict[str, np.ndarray]:
    """mR@k of each resample, as ``mean_recall`` finds it; float64 (R,), none where no label counts.

    Args:
        highest_NK: bool; the k highest labels of each image.
        absent: a label that no image has is left out (``skip``), or stays in the mean with 0 (``zero``).
    """
    positive_NK = targets_NK == 1
    kept = positive_NK.any(0) if absent == "skip" else np.ones(positive_NK.shape[1], dtype=bool)
    if not kept.any():
        return {}
    hits_KR, positive_KR = (_totals(cells_NK, counts_NR) for cells_NK in (highest_NK & positive_NK, positive_NK))
    return {f"mR@{k}": (hits_KR / np.maximum(positive_KR, 1))[kept].mean(0)}


def _totals(cells_NK: np.ndarray, counts_NR: np.ndarray) -> np.ndarray:
    """How many images of each resample have a cell set; float64 (K, R).

    The product is exact in float32 as well, as long as a column's sum is.
    """
    return (cells_NK.T.astype(counts_NR.dtype) @ counts_NR).astype(np.float64)


def _harmonic(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    total = first + second
    return np.divide(2 * first * second, total, out=np.zeros_like(total), where=total > 0)
