from __future__ import annotations

import math

import numpy as np
import pytest

from cotag.evaluation.calibration_error import brier_score, expected_calibration_error, sigmoid
from cotag.evaluation.metrics import evaluate
from cotag.types.labels import LabelSpace
from cotag.types.scores import Scores


def test_by_hand() -> None:
    known, positive = np.array([0.1, 0.15, 0.7, 0.9, 1.0]), np.array([0.15, 0.9, 1.0])
    wanted = (0.1**2 + 0.85**2 + 0.7**2 + 0.1**2 + 0) / 5
    assert brier_score(known, positive) == pytest.approx(wanted)
    # Two bins: 0.25 for 1 positive of 2; 2.6 for 2 of 3.
    assert expected_calibration_error(known, positive, bins=2) == pytest.approx((0.75 + 0.6) / 5)
    assert expected_calibration_error(np.array([0.5]), np.array([0.5]), bins=2) == 0.5
    assert math.isnan(brier_score(known[:0], known[:0]))
    assert math.isnan(expected_calibration_error(known[:0], known[:0]))


def test_equals_torchmetrics_and_scikit_learn() -> None:
    import torch
    from sklearn.metrics import brier_score_loss
    from torchmetrics.functional.classification import binary_calibration_error

    random = np.random.default_rng(0)
    known = np.sort(random.random(1000))
    true = random.random(1000) < known**2
    wanted = binary_calibration_error(torch.from_numpy(known), torch.from_numpy(true).long(), n_bins=15)
    assert expected_calibration_error(known, known[true]) == pytest.approx(float(wanted), abs=1e-6)
    assert brier_score(known, known[true]) == pytest.approx(brier_score_loss(true, known), abs=1e-12)


def test_logits_and_their_probabilities_agree_and_unknown_ones_are_left_out() -> None:
    random = np.random.default_rng(0)
    logits, targets = random.normal(size=(80, 3)) * 3, random.choice([-1, 0, 1], (80, 3)).astype(np.int8)
    ids, space = [str(n) for n in range(80)], LabelSpace(tuple("abc"))
    one = evaluate(Scores(ids, logits, targets, "logit", space))
    two = evaluate(Scores(ids, sigmoid(logits), targets, "probability", space))
    for name in ("ECE", "Brier"):
        assert one.metrics[name] == pytest.approx(two.metrics[name], abs=1e-12)
    known = targets[:, 0] >= 0
    wanted = np.mean((sigmoid(logits[known, 0]) - targets[known, 0]) ** 2)
    assert one.labels[0]["Brier"] == pytest.approx(wanted)


def test_far_logits() -> None:
    assert sigmoid(np.array([-1000.0, 0, 1000], dtype=np.float32)).tolist() == [0, 0.5, 1]
