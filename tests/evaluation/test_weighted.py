from __future__ import annotations

import numpy as np
import pytest

from cotag.evaluation.metrics import average_precisions
from cotag.evaluation.weighted import BLOCK, weighted_average_precisions


def example(images: int = 90, labels: int = 6, steps: int = 8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores on a coarse grid, targets of which some are unknown, and counts with zeros."""
    random = np.random.default_rng(steps)
    targets = (random.random((images, labels)) < np.linspace(0.05, 0.7, labels)).astype(np.int8)
    scores = np.round((random.normal(size=targets.shape) + targets) * steps).astype(np.float32)
    targets[random.random(targets.shape) < 0.2] = -1
    counts = random.integers(0, 4, (images, BLOCK + 30)).astype(np.float32)
    return scores, targets, counts


@pytest.mark.parametrize("steps", [1, 8, 10**5])
def test_counts_of_one_are_the_plain_average_precision(steps: int) -> None:
    scores, targets, _ = example(steps=steps)
    found = weighted_average_precisions(scores, targets, np.ones((len(scores), 2), dtype=np.float32))
    wanted = average_precisions(scores, targets)
    np.testing.assert_allclose(found, np.stack([wanted, wanted], axis=1), atol=5e-16, rtol=0)


@pytest.mark.parametrize("steps", [1, 8, 10**5])
def test_counts_are_the_average_precision_of_repeated_rows(steps: int) -> None:
    scores, targets, counts = example(steps=steps)
    found = weighted_average_precisions(scores, targets, counts)
    assert found.shape == (scores.shape[1], counts.shape[1])
    for place in (0, 1, BLOCK - 1, BLOCK, counts.shape[1] - 1):
        rows = np.repeat(np.arange(len(scores)), counts[:, place].astype(int))
        wanted = average_precisions(scores[rows], targets[rows])
        np.testing.assert_allclose(found[:, place], wanted, atol=1e-12, rtol=0)


def slow(scores: np.ndarray, targets: np.ndarray, rule: str) -> float:
    """From the definition, one threshold after the other."""
    points = []
    for limit in sorted(set(scores), reverse=True):
        hits = int(((scores >= limit) & (targets == 1)).sum())
        points.append((hits / int((targets == 1).sum()), hits / int(((scores >= limit) & (targets >= 0)).sum())))
    best = [(recall, max(p for r, p in points if r >= recall)) for recall, _ in points]
    if rule == "voc07":
        levels = [n / 10 for n in range(11)]
        return sum(max((p for r, p in points if r >= level - 1e-9), default=0.0) for level in levels) / 11
    recalls = [0.0, *[recall for recall, _ in best]]
    return sum((b - a) * p for a, b, (_, p) in zip(recalls[:-1], recalls[1:], best, strict=True))


@pytest.mark.parametrize("rule", ["voc07", "voc_envelope"])
def test_the_other_rules_on_repeated_rows(rule: str) -> None:
    scores, targets, counts = example(images=40)
    targets = np.abs(targets)
    found = weighted_average_precisions(scores, targets, counts, rule)
    for place in range(5):
        rows = np.repeat(np.arange(len(scores)), counts[:, place].astype(int))
        wanted = [slow(scores[rows, k], targets[rows, k], rule) for k in range(scores.shape[1])]
        np.testing.assert_allclose(found[:, place], wanted, atol=1e-12, rtol=0)


def test_a_label_without_positives_has_none_and_a_perfect_one_is_1() -> None:
    scores = np.array([[3.0, 1.0, 0.0], [2.0, 5.0, 0.0], [1.0, 0.0, 0.0]])
    targets = np.array([[1, 0, -1], [0, 0, -1], [0, 0, -1]], dtype=np.int8)
    found = weighted_average_precisions(scores, targets, np.array([[1.0], [2.0], [0.0]]))
    np.testing.assert_array_equal(found, [[1.0], [np.nan], [np.nan]])


def test_large_counts_are_summed_exactly() -> None:
    scores = np.arange(4.0)[:, None]
    targets = np.array([[1], [0], [1], [0]], dtype=np.int8)
    counts = np.array([[1.0], [2.0**24], [1.0], [1.0]])
    found = weighted_average_precisions(scores, targets, counts)
    # from the top: 1 absent, 1 present, 2**24 absent, 1 present
    assert found[0, 0] == pytest.approx((1 / 2 + 2 / (2**24 + 3)) / 2, abs=1e-16)
