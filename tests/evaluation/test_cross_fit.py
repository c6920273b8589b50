"""The cross-fitted value: unbiased where the truth is known, while the naive one is optimistic."""

from __future__ import annotations

import numpy as np
import pytest

from cotag.evaluation.cross_fit import cross_fit, decide_out_of_fold, random_folds
from cotag.evaluation.decision import Decision
from cotag.evaluation.decision_fit import DecisionFit, totals
from cotag.evaluation.objective import Objective
from cotag.types.labels import LabelSpace
from cotag.types.scores import Scores

PREVALENCE = np.array([0.5, 0.3, 0.15, 0.06])
SHIFT = np.array([1.0, 1.5, 2.0, 1.5])
SPACE = LabelSpace(tuple(f"l{k}" for k in range(len(PREVALENCE))))
DRAWS, IMAGES, FOLDS = 200, 200, 5


def draw(random: np.random.Generator) -> Scores:
    """Images whose logits are normal: with the label's shift where it is present, and 0 where not."""
    targets = (random.random((IMAGES, len(PREVALENCE))) < PREVALENCE).astype(np.int8)
    logits = random.normal(size=targets.shape) + SHIFT * targets
    return Scores([str(n) for n in range(IMAGES)], logits, targets, "logit", SPACE)


def worth(objective: Objective, thresholds_NK: np.ndarray, seed: list[int]) -> float:
    """What thresholds are worth on as many new images, each with its own; the mean over ten such sets.

    As many, since means of ratios depend a little on how many images they are measured on, whatever decides.
    """
    values = []
    for number in range(10):
        new = draw(np.random.default_rng([*seed, number]))
        values.append(float(objective.value(totals(new.scores_NK >= thresholds_NK, new.targets_NK))))
    return float(np.mean(values))


def fitted(how: DecisionFit, scores: Scores) -> np.ndarray:
    found = how.fit(scores).logit_thresholds
    assert found is not None
    return np.array(found)


def errors(how: DecisionFit) -> tuple[np.ndarray, np.ndarray]:
    """By how much the naive and the cross-fitted value are better than the truth, for each draw."""
    naive, crossed = [], []
    objective = how.objective
    for number in range(DRAWS):
        scores = draw(np.random.default_rng([0, number]))
        own = np.tile(fitted(how, scores), (IMAGES, 1))
        value = float(objective.value(totals(scores.scores_NK >= own, scores.targets_NK)))
        naive.append(value - worth(objective, own, [1, number]))
        folds = random_folds(IMAGES, FOLDS, number)
        parts = [fitted(how, scores.subset(np.flatnonzero(folds != fold))) for fold in range(FOLDS)]
        value = float(objective.value(totals(decide_out_of_fold(scores, how, FOLDS, number), scores.targets_NK)))
        crossed.append(value - worth(objective, np.stack(parts)[folds], [2, number]))
    sign = -1 if objective.name == "cost" else 1
    return sign * np.array(naive), sign * np.array(crossed)


@pytest.mark.parametrize(
    "objective",
    [Objective("cost", None, 1.0, 3.0), Objective("OF1"), Objective("macro_F1"), Objective("CF1")],
    ids=lambda objective: objective.name,
)
def test_the_cross_fitted_value_is_unbiased_and_the_naive_one_optimistic(objective: Objective) -> None:
    naive, crossed = errors(DecisionFit(objective))
    error = np.sqrt(DRAWS)
    assert naive.mean() > 4 * naive.std(ddof=1) / error
    assert abs(crossed.mean()) < 2 * crossed.std(ddof=1) / error


def test_no_fold_is_decided_by_what_saw_it() -> None:
    scores = draw(np.random.default_rng(3))
    how = DecisionFit(Objective("OF1"))
    folds = random_folds(IMAGES, FOLDS, 9)
    assert sorted(np.bincount(folds)) == [IMAGES // FOLDS] * FOLDS
    given = decide_out_of_fold(scores, how, FOLDS, 9)
    held_out = np.flatnonzero(folds == 2)
    # Other targets in a fold change nothing of what is given in it, and something in the others.
    targets = scores.targets_NK.copy()
    targets[held_out] = 1 - targets[held_out]
    changed = decide_out_of_fold(Scores(scores.ids, scores.scores_NK, targets, "logit", SPACE), how, FOLDS, 9)
    assert (changed[held_out] == given[held_out]).all()
    assert (changed != given).any()


def test_values_and_differences_are_of_the_same_images() -> None:
    scores = draw(np.random.default_rng(4))
    objective = Objective("OF1")
    found = cross_fit(scores, DecisionFit(objective), resamples=200)
    plain = float(objective.value(totals(Decision("top_k", k=3).apply(scores), scores.targets_NK)))
    assert found.plain["top 3"].value == pytest.approx(plain)
    difference = found.plain["top 3"].difference
    assert difference is not None
    assert difference[0] == pytest.approx(found.cross_fitted.value - plain)
    assert difference[1] < difference[0] < difference[2]
    naive = found.naive.difference
    assert naive is not None
    assert naive[0] == pytest.approx(-found.gap)
    again = cross_fit(scores, DecisionFit(objective), resamples=200)
    assert again.to_json() == found.to_json()


def test_a_cost_has_its_gap_in_the_same_direction() -> None:
    found = cross_fit(draw(np.random.default_rng(5)), DecisionFit(Objective("cost", None, 1, 5)), resamples=5)
    assert found.gap == pytest.approx(found.cross_fitted.value - found.naive.value)
    assert found.gap > 0
