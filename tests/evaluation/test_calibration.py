"""Calibration: against scikit-learn and slow searches, and what it does to scores that lie."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from cotag.errors import LabelSpaceError, ScoresError, SettingError
from cotag.evaluation.calibration import (
    METHODS,
    Calibration,
    calibrate_out_of_fold,
    fit_calibration,
    fit_isotonic,
    fit_platt,
    fit_slope,
    reliability_curve,
)
from cotag.evaluation.calibration_error import sigmoid
from cotag.evaluation.calibration_gain import calibration_gain
from cotag.types.labels import LabelSpace
from cotag.types.scores import Scores

SPACE = LabelSpace(("cat", "dog", "owl"))


def lying(rows: int = 1500, seed: int = 0) -> Scores:
    """Logits that are three times too sure."""
    random = np.random.default_rng(seed)
    true = random.normal(-1, 1.5, (rows, 3))
    targets = (random.random(true.shape) < sigmoid(true)).astype(np.int8)
    targets[random.random(true.shape) < 0.05] = -1
    return Scores([str(n) for n in range(rows)], (3 * true).astype(np.float32), targets, "logit", SPACE)


def test_the_temperature_is_found() -> None:
    found = fit_calibration(lying(), "temperature")
    assert found.slopes == pytest.approx([1 / 3] * 3, abs=0.03)
    assert (found.intercepts == 0).all()


def test_the_slope_is_the_most_likely_of_all() -> None:
    random = np.random.default_rng(1)
    logits = random.normal(0, 2, 80)
    present = random.random(80) < sigmoid(0.6 * logits)
    grid = np.geomspace(0.01, 10, 4001)
    losses = [np.sum(np.logaddexp(0, g * logits) - present * g * logits) for g in grid]
    assert fit_slope(logits, present) == pytest.approx(grid[np.argmin(losses)], rel=2e-3)


@pytest.mark.parametrize("seed", range(5))
def test_platt_is_logistic_regression_on_smoothed_targets(seed: int) -> None:
    random = np.random.default_rng(seed)
    logits = random.normal(3, 20, 60)
    present = random.random(60) < sigmoid(0.1 * logits - 1)
    positives, negatives = int(present.sum()), int((~present).sum())
    wanted = np.where(present, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    # Each cell counts as present with the weight of its smoothed target, and as absent with the rest.
    model = LogisticRegression(C=1e10, tol=1e-10, max_iter=10_000).fit(
        np.tile(logits, 2)[:, None], np.repeat([1, 0], 60), sample_weight=np.concatenate([wanted, 1 - wanted])
    )
    assert fit_platt(logits, present) == pytest.approx((model.coef_[0, 0], model.intercept_[0]), rel=1e-3, abs=1e-4)


def test_platt_never_turns_the_order_and_survives_separation() -> None:
    logits = np.array([-2.0, -1.0, 1.0, 2.0])
    slope, intercept = fit_platt(logits, logits < 0)
    assert (slope, intercept) == (0.0, 0.0)
    slope, intercept = fit_platt(logits, logits > 0)
    probabilities = sigmoid(slope * logits + intercept)
    assert (np.diff(probabilities) > 0).all()
    assert probabilities.max() < 0.9


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("decimals", [0, 1, 8])
def test_isotonic_is_that_of_scikit_learn(seed: int, decimals: int) -> None:
    random = np.random.default_rng(seed)
    logits = np.round(random.normal(size=50), decimals)
    present = random.random(50) < sigmoid(logits)
    starts, probabilities = fit_isotonic(logits, present)
    found = probabilities[np.searchsorted(starts, logits, side="right") - 1]
    wanted = IsotonicRegression().fit(logits, present.astype(float)).predict(logits)
    assert found == pytest.approx(wanted, abs=1e-12)
    assert (np.diff(starts) > 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_calibration_helps_images_that_it_did_not_see(method: str) -> None:
    scores = lying()
    gain = calibration_gain(scores, method)
    for row in gain.labels:
        assert row["ECE_after"] < row["ECE_before"] / 2
        assert row["Brier_after"] < row["Brier_before"]
    before, honest, naive = gain.values.values()
    assert naive["Brier"] < honest["Brier"] < before["Brier"]
    middle, low, high = gain.difference
    assert low < middle < high < 0
    assert middle == pytest.approx(honest["Brier"] - before["Brier"])
    assert gain.words.startswith("Calibrated, probabilities of new images are better")
    after = calibrate_out_of_fold(scores, method)
    assert after.kind == "probability"
    assert all(abs(point["probability"] - point["share"]) < 0.12 for point in reliability_curve(after, bins=5))
    assert any(abs(point["probability"] - point["share"]) > 0.12 for point in reliability_curve(scores, bins=5))


@pytest.mark.parametrize("method", METHODS)
def test_the_order_within_a_label_stays(method: str) -> None:
    scores = lying(200)
    found = fit_calibration(scores, method).apply(scores).probabilities()
    for k in range(3):
        assert (np.diff(found[np.argsort(scores.scores_NK[:, k]), k]) >= 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_labels_that_say_nothing_keep_their_scores(method: str) -> None:
    scores = lying(60)
    scores.targets_NK[:, 1], scores.targets_NK[:, 2] = 0, -1
    found = fit_calibration(scores, method)
    after = found.apply(scores)
    assert np.isfinite(after.scores_NK).all()
    if method != "temperature":
        assert after.probabilities()[:, 1:] == pytest.approx(sigmoid(scores.scores_NK[:, 1:]))
    assert calibration_gain(scores, method).labels[2]["ECE_after"] is None


def test_probabilities_are_calibrated_as_their_logits() -> None:
    scores = lying(300)
    logits = scores.scores_NK.astype(np.float64)
    same = Scores(scores.ids, sigmoid(logits), scores.targets_NK, "probability", SPACE)
    for method in METHODS:
        one, other = (fit_calibration(given, method).apply(given).probabilities() for given in (scores, same))
        assert one == pytest.approx(other, abs=1e-6)


def test_the_reliability_curve_is_that_of_a_hand_count() -> None:
    values = np.array([[0.0], [0.19], [0.2], [0.5], [1.0], [0.9]])
    targets = np.array([[0], [1], [1], [-1], [1], [0]])
    scores = Scores(list("abcdef"), values, targets, "probability", LabelSpace(("cat",)))
    assert reliability_curve(scores, 0, bins=5) == [
        {"probability": pytest.approx(0.095), "share": 0.5, "cells": 2},
        {"probability": pytest.approx(0.2), "share": 1.0, "cells": 1},
        {"probability": pytest.approx(0.95), "share": 0.5, "cells": 2},
    ]


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(SettingError, match="calibration 'plat' is not known; did you mean platt"):
        fit_calibration(lying(20), "plat")
    other = Scores(["a"], np.zeros((1, 3)), np.zeros((1, 3)), "logit", LabelSpace(("cat", "owl", "dog")))
    fitted = fit_calibration(lying(20), "platt")
    with pytest.raises(LabelSpaceError, match="calibration and scores"):
        fitted.apply(other)
    with pytest.raises(ScoresError, match=r"calibrated already \(platt:[0-9a-f]{12}\)"):
        fitted.apply(fitted.apply(lying(20)))
    absent = lying(20)
    absent.targets_NK[:] = 0
    with pytest.raises(SettingError, match="no known positive"):
        calibration_gain(absent, "platt")


@pytest.mark.parametrize("method", METHODS)
def test_json_makes_the_same_calibration(method: str) -> None:
    scores = lying(200)
    scores.targets_NK[:, 1] = 0
    fitted = fit_calibration(scores, method)
    again = Calibration.from_json(json.loads(json.dumps(fitted.to_json())), SPACE)
    assert again.name == fitted.name
    assert again.describe() == fitted.describe()
    one, other = fitted.apply(scores), again.apply(scores)
    assert one.kind == other.kind == ("probability" if method == "isotonic" else "logit")
    assert np.array_equal(one.scores_NK, other.scores_NK)
    assert one.origin == {"calibration": fitted.name}


def test_other_json_is_refused() -> None:
    value = fit_calibration(lying(200), "isotonic").to_json()
    with pytest.raises(LabelSpaceError, match="other labels"):
        Calibration.from_json(value, LabelSpace(("cat", "owl", "dog")))
    with pytest.raises(SettingError, match="has no method"):
        Calibration.from_json({"rule": "top_k"}, SPACE)
    for key in ("slopes", "intercepts", "steps"):
        with pytest.raises(SettingError, match="is damaged"):
            Calibration.from_json({**value, key: None}, SPACE)
    with pytest.raises(SettingError, match="is damaged"):
        Calibration.from_json({**value, "slopes": {**value["slopes"], "cat": float("nan")}}, SPACE)


def test_the_gain_of_noise_cannot_be_told() -> None:
    """Probabilities that keep what they promise are not improved."""
    random = np.random.default_rng(3)
    true = random.normal(-1, 1.5, (300, 3))
    targets = (random.random(true.shape) < sigmoid(true)).astype(np.int8)
    scores = Scores([str(n) for n in range(300)], true, targets, "logit", SPACE)
    gain = calibration_gain(scores, "isotonic")
    before, honest, naive = (value["Brier"] for value in gain.values.values())
    assert naive < before < honest
    assert not gain.words.startswith("Calibrated, probabilities of new images are better")
    assert calibration_gain(scores, "temperature").words.startswith("Whether")
