"""From what was counted to a report of every metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cotag.errors import ScoresError, SettingError, listing
from cotag.evaluation.average_precision import VARIANTS, ranked
from cotag.evaluation.calibration_error import brier_score, expected_calibration_error, sigmoid
from cotag.evaluation.columns import map_labels
from cotag.evaluation.images import Given, ImageMeasures, Order, measure_images
from cotag.evaluation.precision_recall import label_rates, mean_recall, precision_recall_f1
from cotag.evaluation.protocols import Protocol
from cotag.evaluation.targets import Targets
from cotag.types.frequency import NAMES, Groups
from cotag.types.labels import LabelSpace

K = 3


@dataclass(frozen=True)
class Report:
    """What ``evaluate`` found.

    Attributes:
        metrics: name -> number, with the names of the field (mAP, OP, OR, OF1, CP, CR, CF1, mR@3 ...): ratios in
            [0, 1], only ``coverage_error`` counts labels; None where nothing defines it.
        protocol: how the numbers were computed.
        labels: one dictionary per label: label, group, positives, known, prevalence, AP, precision, recall, F1,
            threshold (a probability), ECE, Brier.
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


@dataclass(frozen=True, eq=False)
class Subject:
    """Scores of N images and K labels beside their targets, dense or sparse; and what ranks them, if not they do."""

    scores_NK: np.ndarray
    targets: Targets
    kind: str
    label_space: LabelSpace
    order: Order | None = None


class Columns:
    """The numbers of each label that follow from its ranked scores; float64 (K,), NaN where nothing defines them.

    Attributes:
        ap_K: average precision by the protocol's rule.
        ece_K, brier_K: expected calibration error and Brier score.
        known_K, positive_K: images of which the label is known, and that have it.
    """

    def __init__(self, subject: Subject, protocol: Protocol) -> None:
        rule = VARIANTS[protocol.average_precision]

        def measure(known: np.ndarray, positive: np.ndarray) -> Sequence[float]:
            ap = rule(*ranked(known, positive))
            # Sorted, so an infinite one or one that is no number stands at an end.
            if len(known) and not (np.isfinite(known[0]) and np.isfinite(known[-1])):
                raise ScoresError("a score is not finite; look for it with numpy.isfinite")
            if subject.kind == "logit":
                known, positive = sigmoid(known), sigmoid(positive)
            ece, brier = expected_calibration_error(known, positive), brier_score(known, positive)
            return ap, ece, brier, len(known), len(positive)

        found = map_labels(measure, subject.scores_NK, subject.targets)
        self.ap_K, self.ece_K, self.brier_K = found[:, 0], found[:, 1], found[:, 2]
        self.known_K, self.positive_K = found[:, 3].astype(np.int64), found[:, 4].astype(np.int64)
        self.prevalence_K = np.where(self.known_K > 0, self.positive_K / np.maximum(self.known_K, 1), np.nan)


def judge(
    subject: Subject,
    given: Given,
    protocol: Protocol,
    groups: Groups | None,
    thresholds: Sequence[float | None],
    words: str,
    k: int | None,
) -> Report:
    """Every metric of a subject.

    Args:
        given: which labels are given to some images.
        groups: head, middle and tail, if any.
        thresholds: the probability from which on each label is given, for the table.
        words: how labels are given.
        k: of the numbers at k; the protocol's, or 3.

    Raises:
        SettingError: a k that is under 1 or not the protocol's.
        ScoresError: a label without positives, where the protocol makes that an error.
    """
    k = k if k is not None else protocol.top_k or K
    if k < 1 or (protocol.top_k or k) != k:
        allowed = f"protocol {protocol.name} is of k = {protocol.top_k}" if protocol.top_k else "give 1 or more"
        raise SettingError(f"k = {k}: {allowed}")
    columns = Columns(subject, protocol)
    _refuse_absent(columns, subject.label_space, protocol)
    images = measure_images(subject.scores_NK, subject.targets, given, protocol, k, subject.order)
    metrics = {**_of_labels(columns, groups), **_of_counts(images, protocol, k), **_of_images(images)}
    metrics.update(ECE=_mean(columns.ece_K), Brier=_mean(columns.brier_K))
    told = f"; {groups.told}" if groups else ""
    has, size = int((columns.positive_K > 0).sum()), len(subject.label_space)
    coverage = f"mAP, CP and CR over all {size} labels"
    if has < size and protocol.no_positives == "skip":
        coverage = f"mAP, CP and CR over {has} of {size} labels (the others have no known positive)"
    elif has < size:
        coverage = f"mAP over {has} of {size} labels (the others have no known positive), CP and CR over all"
    table = _table(subject.label_space, columns, images, protocol, groups, thresholds)
    return Report(metrics, f"{protocol.describe()}{told}; {words}", table, coverage)


def _refuse_absent(columns: Columns, space: LabelSpace, protocol: Protocol) -> None:
    absent = [name for name, count in zip(space.names, columns.positive_K, strict=True) if not count]
    if absent and protocol.no_positives == "error":
        raise ScoresError(
            f"protocol {protocol.name}: no known positive for {listing(absent)}, so their recall divides by zero; "
            "judge other images, or choose a protocol that skips such labels"
        )


def _of_labels(columns: Columns, groups: Groups | None) -> dict[str, float | None]:
    has = columns.positive_K > 0
    weighted = float(np.average(columns.ap_K[has], weights=columns.positive_K[has])) if has.any() else None
    found = {"mAP": _mean(columns.ap_K), "mAP_weighted": weighted}
    found["chance_mAP"] = _mean(np.where(has, columns.prevalence_K, np.nan))
    if groups:
        found.update({f"mAP_{name}": _mean(columns.ap_K[groups.members(name)]) for name in NAMES})
    return found


def _of_counts(images: ImageMeasures, protocol: Protocol, k: int) -> dict[str, float | None]:
    """Precision, recall and F1 of what is given and of the k highest, recall at k, and the Hamming loss."""
    options = (protocol.never_predicted, protocol.no_positives, protocol.class_f1)
    found = precision_recall_f1(images.given.correct_K, images.given.predicted_K, images.positive_K, *options)
    at_k = precision_recall_f1(images.top.correct_K, images.top.predicted_K, images.positive_K, *options)
    found.update({f"{name}@{k}": value for name, value in at_k.items()})
    positives = images.positive_K.sum()
    recalls = {absent: mean_recall(images.hits_K, images.positive_K, absent) for absent in ("zero", "skip")}
    found[f"mR@{k}"] = recalls["zero" if protocol.no_positives == "zero" else "skip"]
    found.update({f"mR@{k}_{absent}": value if positives else None for absent, value in recalls.items()})
    found[f"R@{k}"] = float(images.hits_K.sum() / positives) if positives else None
    wrong = images.given.predicted_K + images.positive_K - 2 * images.given.correct_K
    counted = images.known_K.sum()
    found["hamming_loss"] = float(wrong.sum() / counted) if counted else None
    return found


def _of_images(images: ImageMeasures) -> dict[str, float | None]:
    return {
        "subset_accuracy": _mean(images.right_N),
        "ranking_loss": _mean(images.ranking.ranking_loss_N),
        "coverage_error": _mean(images.ranking.coverage_error_N),
        "LRAP": _mean(images.ranking.average_precision_N),
        "one_error": _mean(images.ranking.one_error_N),
    }


def _table(
    space: LabelSpace,
    columns: Columns,
    images: ImageMeasures,
    protocol: Protocol,
    groups: Groups | None,
    thresholds: Sequence[float | None],
) -> list[dict[str, Any]]:
    given = images.given
    rates = label_rates(given.correct_K, given.predicted_K, images.positive_K, protocol.no_positives)
    numbers = {
        "prevalence": columns.prevalence_K,
        "AP": columns.ap_K,
        "precision": rates.precision_K,
        "recall": rates.recall_K,
        "F1": rates.f1_K,
        "ECE": columns.ece_K,
        "Brier": columns.brier_K,
    }
    return [
        {
            "label": name,
            "group": groups.group_K[label] if groups else None,
            "positives": int(columns.positive_K[label]),
            "known": int(columns.known_K[label]),
            **{what: _number(values_K[label]) for what, values_K in numbers.items()},
            "threshold": thresholds[label],
        }
        for label, name in enumerate(space.names)
    ]


def _mean(values: np.ndarray) -> float | None:
    """The mean of those that are defined; sorted first, so that the order of the images changes no digit."""
    values = np.sort(values[~np.isnan(values)])
    return float(values.mean()) if len(values) else None


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
