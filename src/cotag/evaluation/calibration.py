"""Calibration: turning scores into probabilities that keep what they promise."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cotag.errors import SettingError, suggestion
from cotag.evaluation.calibration_error import BINS, brier_score, expected_calibration_error, sigmoid
from cotag.evaluation.cross_fit import random_folds
from cotag.evaluation.curves import label_curve, upper_hull
from cotag.evaluation.decision import logits_of
from cotag.types.labels import LabelSpace
from cotag.types.scores import Scores

METHODS = ("temperature", "platt", "isotonic")
MOST_STEPS = 100
# A fit of few cells may separate them: probabilities stay as far from 0 and 1 as so many cells could show.
STEEPEST = 50.0


@dataclass(frozen=True)
class Calibration:
    """Maps the scores of each label to probabilities; never to another order within a label.

    Attributes:
        label_space: the K labels that it was fitted for.
        slopes, intercepts: float64 (K,): the probability is that of the logit slope * logit + intercept.
        steps: for ``isotonic``, label by label: the logits, ascending, from which on each of the probabilities holds;
            empty for a label without positives or without negatives, which keeps slope and intercept.
    """

    label_space: LabelSpace
    slopes: np.ndarray
    intercepts: np.ndarray
    steps: tuple[tuple[np.ndarray, np.ndarray], ...] = field(default=())

    def apply(self, scores: Scores) -> Scores:
        """The same images with calibrated probabilities (float64).

        Raises:
            LabelSpaceError: the calibration was fitted for other labels.
        """
        self.label_space.require_same(scores.label_space, "calibration and scores")
        logits_NK = logits_of(scores)
        found_NK = sigmoid(logits_NK * self.slopes + self.intercepts)
        for k, (starts, probabilities) in enumerate(self.steps):
            if len(starts):
                place = np.searchsorted(starts, logits_NK[:, k], side="right") - 1
                found_NK[:, k] = probabilities[np.maximum(place, 0)]
        return Scores(scores.ids, found_NK, scores.targets_NK, "probability", scores.label_space, scores.origin)


def fit_calibration(scores: Scores, method: str) -> Calibration:
    """Fit on the known cells of images that did not train the model.

    Args:
        method: ``temperature``: all logits are divided by one number; ``platt``: each label has a slope and an
            intercept; ``isotonic``: each label has the rising steps that fit best. A label without a known positive or
            without a known negative keeps its logits under ``platt`` and ``isotonic``.

    Source: Guo et al., On Calibration of Modern Neural Networks, 2017 (temperature); Platt, Probabilistic Outputs for
    Support Vector Machines, 1999, with its smoothed targets (platt); Zadrozny and Elkan, 2002 (isotonic).

    Raises:
        SettingError: an unknown method.
    """
    if method not in METHODS:
        raise SettingError(f"calibration {method!r} is not known{suggestion(method, METHODS)}")
    logits_NK, size = logits_of(scores), len(scores.label_space)
    slopes, intercepts = np.ones(size), np.zeros(size)
    if method == "temperature":
        known_NK = scores.targets_NK >= 0
        slopes[:] = fit_slope(logits_NK[known_NK], scores.targets_NK[known_NK] == 1)
        return Calibration(scores.label_space, slopes, intercepts)
    steps: list[tuple[np.ndarray, np.ndarray]] = []
    for k in range(size):
        known_N = scores.targets_NK[:, k] >= 0
        present = scores.targets_NK[known_N, k] == 1
        fits = 0 < present.sum() < len(present)
        if method == "platt" and fits:
            slopes[k], intercepts[k] = fit_platt(logits_NK[known_N, k], present)
        if method == "isotonic":
            empty = (np.zeros(0), np.zeros(0))
            steps.append(fit_isotonic(logits_NK[known_N, k], present) if fits else empty)
    return Calibration(scores.label_space, slopes, intercepts, tuple(steps))


def fit_slope(logits_M: np.ndarray, present_M: np.ndarray) -> float:
    """1 / temperature, above 0 and at most 50: the factor that makes the targets most likely."""
    low, high = 1e-3, STEEPEST
    # The log-likelihood is concave in the factor, so its slope changes sign once.
    for _ in range(MOST_STEPS):
        middle = float(np.sqrt(low * high))
        if np.sum(logits_M * (present_M - sigmoid(middle * logits_M))) > 0:
            low = middle
        else:
            high = middle
    return float(np.sqrt(low * high)) if len(logits_M) else 1.0


def fit_platt(logits_M: np.ndarray, present_M: np.ndarray) -> tuple[float, float]:
    """Slope (0 or more) and intercept of a logistic regression on the logits, with Platt's smoothed targets."""
    positives = int(present_M.sum())
    negatives = len(present_M) - positives
    wanted = np.where(present_M, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    center, scale = float(logits_M.mean()), float(logits_M.std()) or 1.0
    design_M2 = np.stack([(logits_M - center) / scale, np.ones(len(logits_M))], axis=1)
    weights = np.array([0.0, np.log((positives + 1) / (negatives + 1))])
    loss = _log_loss(design_M2 @ weights, wanted)
    for _ in range(MOST_STEPS):
        probability = sigmoid(design_M2 @ weights)
        gradient = design_M2.T @ (probability - wanted)
        curvature = (design_M2 * (probability * (1 - probability))[:, None]).T @ design_M2
        step = np.linalg.solve(curvature + 1e-9 * np.eye(2), gradient)
        # A whole step may overshoot far from the optimum.
        while (tried := _log_loss(design_M2 @ (weights - step), wanted)) > loss and np.abs(step).max() > 1e-12:
            step = step / 2
        weights, gained, loss = weights - step, loss - tried, tried
        if gained <= 1e-12 * loss:
            break
    if weights[0] < 0:
        # Scores that rank a label the wrong way round say nothing: its share of positives is the best left.
        return 0.0, float(np.log((positives + 1) / (negatives + 1)))
    return float(weights[0] / scale), float(weights[1] - weights[0] * center / scale)


def _log_loss(logits: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.sum(np.logaddexp(0, logits) - wanted * logits))


def fit_isotonic(logits_M: np.ndarray, present_M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each step begins, ascending logits, and its probability, ascending.

    The least-squares rising fit has as its values the slopes of the concave hull of the counts of positives against
    the counts of images, both from the highest score on; pool-adjacent-violators finds the same.
    """
    curve = label_curve(logits_M, present_M.astype(np.int8))
    x = np.append(curve.predicted, len(logits_M))
    y = np.append(curve.correct, curve.positives)
    limits = np.append(curve.thresholds, logits_M.min())
    if x[-2] == x[-1]:
        x, y, limits = x[:-1], y[:-1], limits[:-1]
    corners = upper_hull(x, y)
    probabilities = np.diff(y[corners]) / np.diff(x[corners])
    return limits[corners][1:][::-1], probabilities[::-1]


def calibrate_out_of_fold(scores: Scores, method: str, folds: int = 5, seed: int = 0) -> Scores:
    """Probabilities of each image by a calibration that was fitted without its fold.

    Raises:
        SettingError: an unknown method, or fewer images than folds.
    """
    folds_N = random_folds(len(scores), folds, seed)
    found_NK = np.zeros(scores.scores_NK.shape)
    for fold in range(folds):
        rest, held_out = np.flatnonzero(folds_N != fold), np.flatnonzero(folds_N == fold)
        found_NK[held_out] = fit_calibration(scores.subset(rest), method).apply(scores.subset(held_out)).scores_NK
    return Scores(scores.ids, found_NK, scores.targets_NK, "probability", scores.label_space, scores.origin)


def reliability_curve(scores: Scores, label: int | None = None, bins: int = BINS) -> list[dict[str, Any]]:
    """Mean probability, share of positives and number of cells of each bin that holds any.

    Args:
        label: position of one label; all labels together where not given.
        bins: of equal width; a probability on a border counts in the upper bin, 1 in the last.
    """
    columns = slice(None) if label is None else slice(label, label + 1)
    targets_NK = scores.targets_NK[:, columns]
    known_NK = targets_NK >= 0
    probability = scores.probabilities()[:, columns][known_NK].astype(np.float64)
    present = targets_NK[known_NK] == 1
    place = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], probability, side="right")
    cells = np.bincount(place, minlength=bins)
    sums, hits = np.bincount(place, probability, bins), np.bincount(place, present, bins)
    return [
        {"probability": float(sums[b] / cells[b]), "share": float(hits[b] / cells[b]), "cells": int(cells[b])}
        for b in range(bins)
        if cells[b]
    ]


def calibration_gain(scores: Scores, method: str, folds: int = 5, seed: int = 0) -> list[dict[str, Any]]:
    """ECE and Brier score of each label before and after, cross-fitted: no image calibrates itself.

    Returns:
        one dictionary for each label: label, ECE_before, ECE_after, Brier_before, Brier_after; None without a known
        image.
    """
    after = calibrate_out_of_fold(scores, method, folds, seed)
    found = []
    for k, name in enumerate(scores.label_space.names):
        row: dict[str, Any] = {"label": name}
        for when, given in (("before", sigmoid(logits_of(scores)[:, k])), ("after", after.scores_NK[:, k])):
            known_N = scores.targets_NK[:, k] >= 0
            positive_P = np.sort(given[scores.targets_NK[:, k] == 1])
            known = np.sort(given[known_N])
            ece, brier = expected_calibration_error(known, positive_P), brier_score(known, positive_P)
            row[f"ECE_{when}"], row[f"Brier_{when}"] = (None if np.isnan(v) else float(v) for v in (ece, brier))
        found.append(row)
    return found
