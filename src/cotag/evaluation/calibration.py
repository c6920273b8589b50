"""Calibration: turning scores into probabilities that keep what they promise."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from cotag.errors import LabelSpaceError, ScoresError, SettingError, suggestion
from cotag.evaluation.calibration_error import BINS, sigmoid
from cotag.evaluation.cross_fit import random_folds
from cotag.evaluation.curves import label_curve, upper_hull
from cotag.evaluation.decision import logits_of
from cotag.types.labels import LabelSpace
from cotag.types.scores import Scores

METHODS = ("temperature", "platt", "isotonic")
MOST_STEPS = 100
# A fit of few cells may separate them: probabilities stay as far from 0 and 1 as so many cells could show.
STEEPEST = 50.0


@dataclass(frozen=True, eq=False)
class Calibration:
    """Maps the scores of each label to probabilities; never to another order within a label.

    Attributes:
        label_space: the K labels that it was fitted for.
        method: ``temperature``, ``platt`` or ``isotonic``.
        slopes, intercepts: float64 (K,): the probability is that of the logit slope * logit + intercept.
        steps: for ``isotonic``, label by label: the logits, ascending, from which on each of the probabilities holds;
            empty for a label without positives or without negatives, which keeps slope and intercept.
        fitted: on what (images, origin), for whoever reads the file.
    """

    label_space: LabelSpace
    method: str
    slopes: np.ndarray
    intercepts: np.ndarray
    steps: tuple[tuple[np.ndarray, np.ndarray], ...] = ()
    fitted: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def name(self) -> str:
        """The method and 12 hexadecimal digits of all values; calibrated scores carry it as their origin."""
        steps = [[part.tolist() for part in pair] for pair in self.steps]
        text = json.dumps([self.label_space.hash, self.slopes.tolist(), self.intercepts.tolist(), steps])
        return f"{self.method}:{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    @property
    def kind(self) -> str:
        """Of the scores that it gives: ``logit``, which loses nothing near 0 and 1, or ``probability`` with steps."""
        return "probability" if self.steps else "logit"

    def apply(self, scores: Scores) -> Scores:
        """The same images with calibrated scores (float64, of this ``kind``), whose origin names the calibration.

        Raises:
            LabelSpaceError: the calibration was fitted for other labels.
            ScoresError: the scores are calibrated already.
        """
        self.label_space.require_same(scores.label_space, "calibration and scores")
        if "calibration" in scores.origin:
            raise ScoresError(
                f"the scores are calibrated already ({scores.origin['calibration']}); give those that the model itself "
                "gave"
            )
        logits_NK = logits_of(scores)
        found_NK = logits_NK * self.slopes + self.intercepts
        if self.steps:
            found_NK = sigmoid(found_NK)
        for k, (starts, probabilities) in enumerate(self.steps):
            if len(starts):
                place = np.searchsorted(starts, logits_NK[:, k], side="right") - 1
                found_NK[:, k] = probabilities[np.maximum(place, 0)]
        return replace(scores, scores_NK=found_NK, kind=self.kind, origin={**scores.origin, "calibration": self.name})

    def describe(self) -> str:
        """The calibration in words."""
        if self.method == "temperature":
            return f"all logits are divided by {1 / self.slopes[0]:.4g}"
        size = len(self.label_space)
        if self.steps:
            counts = [len(starts) for starts, _ in self.steps if len(starts)]
            few, many = (min(counts), max(counts)) if counts else (0, 0)
            return f"{len(counts)} of {size} labels have rising steps of their own, {few} to {many} of them"
        kept = int(((self.slopes == 1) & (self.intercepts == 0)).sum())
        low, high = self.slopes.min(), self.slopes.max()
        text = f"each label's logit is multiplied by a slope of its own ({low:.3g} to {high:.3g}) and moved"
        return f"{text}; {kept} of {size} labels keep their logits" if kept else text

    def to_json(self) -> dict[str, Any]:
        """A JSON object that makes the same calibration again: values for each label by name."""
        names = self.label_space.names
        value: dict[str, Any] = {"method": self.method, "label_space": self.label_space.hash}
        value["slopes"] = dict(zip(names, self.slopes.tolist(), strict=True))
        value["intercepts"] = dict(zip(names, self.intercepts.tolist(), strict=True))
        if self.steps:
            value["steps"] = {
                name: {"logits": starts.tolist(), "probabilities": probabilities.tolist()}
                for name, (starts, probabilities) in zip(names, self.steps, strict=True)
                if len(starts)
            }
        if self.fitted:
            value["fitted"] = dict(self.fitted)
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any], label_space: LabelSpace) -> Calibration:
        """Rebuild from ``to_json`` for a model or scores of these labels.

        Raises:
            LabelSpaceError: it was fitted for other labels, or for these in another order.
            SettingError: it is no calibration.
        """
        if not isinstance(value, Mapping) or value.get("method") not in METHODS:
            raise SettingError(f"calibration: has no method of {', '.join(METHODS)}; give what cotag calibrate saved")
        if value.get("label_space") != label_space.hash:
            raise LabelSpaceError(
                f"the calibration was fitted for other labels ({value.get('label_space')}) than these "
                f"({label_space.hash}); fit it again"
            )
        try:
            slopes, intercepts = (_by_name(value[key], label_space) for key in ("slopes", "intercepts"))
            steps: list[tuple[np.ndarray, np.ndarray]] = []
            for name in label_space.names if value["method"] == "isotonic" else ():
                step = value["steps"].get(name, {"logits": [], "probabilities": []})
                starts, probabilities = (np.array(step[key], dtype=np.float64) for key in ("logits", "probabilities"))
                if starts.shape != probabilities.shape:
                    raise ValueError(f"steps of {name!r}: {len(starts)} logits, {len(probabilities)} probabilities")
                steps.append((starts, probabilities))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise SettingError(f"calibration: is damaged ({error}); fit it again") from None
        return cls(label_space, value["method"], slopes, intercepts, tuple(steps), value.get("fitted", {}))


def _by_name(values: Mapping[str, float], label_space: LabelSpace) -> np.ndarray:
    found = np.array([values[name] for name in label_space.names], dtype=np.float64)
    if not np.isfinite(found).all():
        raise ValueError("a value is not finite")
    return found


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
    about = {"images": len(scores), "origin": scores.origin}
    if method == "temperature":
        known_NK = scores.targets_NK >= 0
        slopes[:] = fit_slope(logits_NK[known_NK], scores.targets_NK[known_NK] == 1)
        return Calibration(scores.label_space, method, slopes, intercepts, (), about)
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
    return Calibration(scores.label_space, method, slopes, intercepts, tuple(steps), about)


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
        fitted = fit_calibration(scores.subset(rest), method)
        found_NK[held_out] = fitted.apply(scores.subset(held_out)).probabilities()
    origin = {**scores.origin, "calibration": f"{method}, each fold by a fit without it ({folds} folds, seed {seed})"}
    return replace(scores, scores_NK=found_NK, kind="probability", origin=origin)


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
