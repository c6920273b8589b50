from __future__ import annotations

import numpy as np
import pytest

from cotag.errors import ScoresError
from cotag.evaluation.segmentation import confusion_counts, segmentation_metrics

TRUTH = np.array([[0, 0, 1], [1, 1, 255]])
GIVEN = np.array([[0, 1, 1], [1, 0, 2]])


def test_by_hand() -> None:
    counts = confusion_counts(GIVEN, TRUTH, 4)
    assert counts.tolist() == [[1, 1, 0, 0], [1, 2, 0, 0], [0] * 4, [0] * 4]
    found = segmentation_metrics(counts)
    assert found["IoU"] == [1 / 3, 2 / 4, None, None]
    assert found["mIoU"] == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert found["pixel_accuracy"] == pytest.approx(3 / 5)
    assert found["class_accuracy"] == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_a_class_that_is_only_predicted_has_iou_zero() -> None:
    found = segmentation_metrics(confusion_counts(np.array([2, 0]), np.array([0, 0]), 3))
    assert found["IoU"] == [0.5, None, 0.0]
    assert found["mIoU"] == 0.25
    assert found["class_accuracy"] == 0.5


def test_nothing_to_count() -> None:
    found = segmentation_metrics(confusion_counts(np.array([1]), np.array([255]), 2))
    assert found == {"pixel_accuracy": None, "class_accuracy": None, "mIoU": None, "IoU": [None, None]}


def test_equals_scikit_learn_over_images() -> None:
    from sklearn.metrics import jaccard_score

    random = np.random.default_rng(0)
    truth, given = random.integers(0, 5, (2, 3, 20, 20), dtype=np.uint8)
    counts = sum(confusion_counts(g, t, 5) for g, t in zip(given, truth, strict=True))
    wanted = jaccard_score(truth.ravel(), given.ravel(), average=None)
    assert segmentation_metrics(np.asarray(counts))["IoU"] == pytest.approx(wanted.tolist(), abs=1e-12)


@pytest.mark.parametrize(
    ("given", "truth", "said"),
    [
        (np.zeros(2, int), np.zeros(3, int), "shapes"),
        (np.array([7]), np.array([0]), "predicted classes from 7"),
        (np.array([0]), np.array([7]), "true classes from 7 to 7; allowed: 0 to 3"),
    ],
)
def test_what_is_refused(given: np.ndarray, truth: np.ndarray, said: str) -> None:
    with pytest.raises(ScoresError, match=said):
        confusion_counts(given, truth, 4)
