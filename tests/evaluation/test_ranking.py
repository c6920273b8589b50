from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from cotag.evaluation.ranking import lower_unknown, rank_labels, top_labels

# image 0: positives at ranks 1 and 3 of 3; image 1: tied scores; image 2: none; image 3: the best is unknown
SCORES = np.array([[3.0, 2.0, 1.0], [1.0, 1.0, 0.0], [1.0, 2.0, 3.0], [9.0, 1.0, 0.0]])
TARGETS = np.array([[1, 0, 1], [1, 0, 0], [0, 0, 0], [-1, 1, 0]], dtype=np.int8)


def test_by_hand() -> None:
    found = rank_labels(SCORES, TARGETS)
    assert found.ranking_loss_N.tolist() == [0.5, 0.5, 0, 0]
    assert found.coverage_error_N.tolist() == [3, 2, 0, 1]
    assert found.average_precision_N.tolist() == pytest.approx([(1 + 2 / 3) / 2, 0.5, 1, 1])
    np.testing.assert_equal(found.one_error_N, [0, 0.5, np.nan, 0])


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_equals_scikit_learn(levels: int) -> None:
    random = np.random.default_rng(levels)
    targets = (random.random((200, 7)) < 0.3).astype(np.int8)
    targets[:3] = [[0], [1], [0]]
    scores = random.integers(0, levels, targets.shape).astype(np.float32)
    found = rank_labels(scores, targets)
    # With scipy 1.18 the ranks of float32 scores, and so scikit-learn's mean, are float32 too.
    scores = scores.astype(np.float64)
    wanted = sklearn_metrics.label_ranking_average_precision_score(targets, scores)
    assert found.average_precision_N.mean() == pytest.approx(wanted, abs=1e-12)
    wanted = sklearn_metrics.coverage_error(targets, scores)
    assert found.coverage_error_N.mean() == pytest.approx(wanted, abs=1e-12)
    wanted = sklearn_metrics.label_ranking_loss(targets, scores)
    assert found.ranking_loss_N.mean() == pytest.approx(wanted, abs=1e-12)


def test_equals_torchmetrics() -> None:
    import torch
    from torchmetrics.functional.classification import (
        multilabel_coverage_error,
        multilabel_ranking_average_precision,
        multilabel_ranking_loss,
    )

    random = np.random.default_rng(0)
    targets = (random.random((300, 9)) < 0.3).astype(np.int8)
    targets[:, 0] = 1
    scores = random.random(targets.shape).astype(np.float32)
    found = rank_labels(scores, targets)
    pair = torch.from_numpy(scores), torch.from_numpy(targets).long()
    assert found.average_precision_N.mean() == pytest.approx(
        float(multilabel_ranking_average_precision(*pair, 9)), abs=1e-6
    )
    assert found.ranking_loss_N.mean() == pytest.approx(float(multilabel_ranking_loss(*pair, 9)), abs=1e-6)
    assert found.coverage_error_N.mean() == pytest.approx(float(multilabel_coverage_error(*pair, 9)), abs=1e-5)


def test_unknown_labels_are_as_if_they_were_not_there() -> None:
    random = np.random.default_rng(0)
    targets = (random.random((50, 6)) < 0.4).astype(np.int8)
    scores = random.integers(0, 9, targets.shape).astype(np.float32)
    wider_scores = np.insert(scores, 3, random.integers(0, 9, 50), axis=1)
    wider = np.insert(targets, 3, -1, axis=1)
    for one, two in zip(rank_labels(scores, targets), rank_labels(wider_scores, wider), strict=True):
        np.testing.assert_equal(one, two)


@given(st.integers(1, 40), st.integers(0, 5))
def test_the_k_highest(k: int, seed: int) -> None:
    scores = np.random.default_rng(seed).integers(0, 4, (5, 30)).astype(np.float32)
    wanted = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    assert np.array_equal(top_labels(scores, k), wanted)


def test_unknown_labels_take_no_place_among_the_k_highest() -> None:
    scores, targets = np.array([[3.0, 2.0, 1.0, 0.0]]), np.array([[-1, 1, -1, 0]], dtype=np.int8)
    assert top_labels(lower_unknown(scores, targets), 2).tolist() == [[1, 3]]
    # Too few are known: the unknown ones follow, each once.
    assert top_labels(lower_unknown(scores, targets), 4).tolist() == [[1, 3, 0, 2]]
