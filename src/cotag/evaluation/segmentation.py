"""Intersection over union and pixel accuracy of segment maps."""

from __future__ import annotations

from typing import Any

import numpy as np

from cotag.errors import ScoresError


def confusion_counts(predicted: np.ndarray, truth: np.ndarray, classes: int, ignore: int | None = 255) -> np.ndarray:
    """How many pixels of each class are given each class; int64 (classes, classes), rows are the truth.

    The counts of several images are summed; ``segmentation_metrics`` takes the sum.

    Args:
        predicted: class numbers, of any shape.
        truth: class numbers of the same shape; a pixel of the value ``ignore`` does not count.
        classes: how many there are.
        ignore: None where every pixel counts.

    Raises:
        ScoresError: shapes that differ, or a class that does not exist.
    """
    if predicted.shape != truth.shape:
        raise ScoresError(f"segment maps of the shapes {predicted.shape} and {truth.shape} cannot be compared")
    counts = np.ones(truth.shape, dtype=bool) if ignore is None else truth != ignore
    given, true = predicted[counts].astype(np.int64), truth[counts].astype(np.int64)
    for what, values in (("predicted", given), ("true", true)):
        if len(values) and not 0 <= values.min() <= values.max() < classes:
            raise ScoresError(f"{what} classes from {values.min()} to {values.max()}; allowed: 0 to {classes - 1}")
    return np.bincount(true * classes + given, minlength=classes * classes).reshape(classes, classes)


def segmentation_metrics(confusion: np.ndarray) -> dict[str, Any]:
    """Pixel accuracy, mean accuracy of classes, mean IoU, and the IoU of each class.

    Args:
        confusion: of ``confusion_counts``.

    Returns:
        ``pixel_accuracy``, ``class_accuracy`` (over classes that are true anywhere), ``mIoU`` (over classes that are
        true or predicted anywhere), and ``IoU``, one number for each class; ratios in [0, 1], None where there is
        nothing to count.
    """
    hits, true, given = np.diag(confusion), confusion.sum(1), confusion.sum(0)
    union = true + given - hits
    iou = [float(hit / whole) if whole else None for hit, whole in zip(hits, union, strict=True)]
    accuracy = [float(hit / whole) for hit, whole in zip(hits, true, strict=True) if whole]
    present = [value for value in iou if value is not None]
    return {
        "pixel_accuracy": float(hits.sum() / confusion.sum()) if confusion.sum() else None,
        "class_accuracy": float(np.mean(accuracy)) if accuracy else None,
        "mIoU": float(np.mean(present)) if present else None,
        "IoU": iou,
    }
