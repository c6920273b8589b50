from __future__ import annotations

import math

import numpy as np
import pytest

from cotag.evaluation.resampling import SAFE_POSITIVES, resample_counts, strata_of


def drawn(positive: np.ndarray, resamples: int = 400, seed: int = 0) -> np.ndarray:
    return resample_counts(positive, resamples, np.random.default_rng(seed))


def long_tail(images: int = 120, labels: int = 40, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.random((images, labels)) < np.geomspace(0.005, 0.5, labels)


def test_no_label_loses_its_last_positive() -> None:
    positive = long_tail()
    counts = positive.sum(0)
    assert (counts == 1).any()
    assert (counts == 0).any()
    left = positive.T.astype(float) @ drawn(positive)
    assert left[counts > 0].min() >= 1
    assert not left[counts == 0].any()


def test_a_plain_draw_would_lose_labels() -> None:
    positive = long_tail()
    counts = np.random.default_rng(0).multinomial(len(positive), np.full(len(positive), 1 / len(positive)), 400).T
    assert ((positive.T.astype(float) @ counts)[positive.any(0)] == 0).any(0).mean() > 0.5


@pytest.mark.parametrize("seed", range(20))
def test_labels_whose_positives_rarer_labels_took(seed: int) -> None:
    random = np.random.default_rng(seed)
    positive = random.random((12, 9)) < random.choice([0.1, 0.3, 0.8], 9)
    left = positive.T.astype(float) @ drawn(positive, 200)
    assert left[positive.any(0)].min(initial=1) >= 1
    strata = strata_of(positive)
    assert set(strata) - {0} == set(range(1, strata.max() + 1))


def test_a_stratum_is_split_for_a_label_that_has_no_image_left() -> None:
    positive = np.zeros((100, 3), dtype=bool)
    positive[[0, 1], 0] = True
    positive[[2, 3], 1] = True
    positive[[1, 2], 2] = True
    np.testing.assert_array_equal(strata_of(positive)[:5], [1, 3, 2, 2, 0])


def test_a_label_that_has_a_whole_stratum_of_another_needs_none() -> None:
    positive = np.zeros((100, 2), dtype=bool)
    positive[[1], 0] = True
    positive[[0, 1], 1] = True
    np.testing.assert_array_equal(strata_of(positive)[:3], [0, 1, 0])


def test_frequent_labels_need_no_stratum() -> None:
    positive = np.zeros((200, 3), dtype=bool)
    for k in range(3):
        positive[10 * k : 10 * k + math.ceil(SAFE_POSITIVES + math.log(3)), k] = True
    assert not strata_of(positive).any()
    assert (positive.T.astype(float) @ drawn(positive, 2000)).min() >= 1


def test_each_resample_has_as_many_images_and_each_stratum_its_own_size() -> None:
    positive = long_tail()
    strata, counts = strata_of(positive), drawn(positive)
    assert (counts.sum(0) == len(positive)).all()
    for number in range(strata.max() + 1):
        assert (counts[strata == number].sum(0) == (strata == number).sum()).all()
    # an image is drawn once on average, those of the common stratum with the variance of a draw with replacement
    common = counts[strata == 0]
    assert common.mean() == pytest.approx(1, abs=1e-12)
    assert common.var() == pytest.approx(1 - 1 / len(common), rel=0.05)


def test_the_seed_decides() -> None:
    positive = long_tail()
    np.testing.assert_array_equal(drawn(positive, seed=3), drawn(positive, seed=3))
    assert (drawn(positive, seed=3) != drawn(positive, seed=4)).any()


@pytest.mark.parametrize("positive", [np.zeros((5, 2), dtype=bool), np.ones((1, 1), dtype=bool), np.ones((4, 1)) > 0])
def test_no_positives_one_image_one_label(positive: np.ndarray) -> None:
    assert (drawn(positive, 7).sum(0) == len(positive)).all()
