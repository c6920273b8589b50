"""Cross-fitting: what a fitted decision is worth on images that it was not fitted on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cotag.errors import SettingError
from cotag.evaluation.decision import Decision
from cotag.evaluation.decision_fit import DecisionFit, totals
from cotag.evaluation.objective import Objective, totals_of
from cotag.evaluation.resampling import resample_counts
from cotag.types.scores import Scores

RESAMPLES = 1000
LEVEL = 0.95
PLAIN = {"threshold 0.5": Decision(), "top 3": Decision("top_k", k=3)}


@dataclass(frozen=True)
class Value:
    """What a decision is worth.

    Attributes:
        value: of the objective.
        bound: the OP or OR that the objective bounds; None where it bounds nothing.
        interval: 95 % bootstrap interval over images, the decisions held fixed.
        difference: of the cross-fitted value from this one, with its paired interval; None for the cross-fitted one.
    """

    value: float
    bound: float | None
    interval: tuple[float, float]
    difference: tuple[float, float, float] | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON object; only what is defined."""
        found: dict[str, Any] = {"value": self.value, "interval": list(self.interval)}
        if self.bound is not None:
            found["bound"] = self.bound
        if self.difference is not None:
            found["difference"], found["difference_interval"] = self.difference[0], list(self.difference[1:])
        return found


@dataclass(frozen=True)
class CrossFit:
    """A fitted decision and what it is worth.

    Attributes:
        decision: fitted on all images.
        objective: what it was fitted for.
        naive: the decision on the images that it was fitted on, which is too good.
        cross_fitted: each fold decided by a decision that was fitted without it, and all folds measured together. If
            the scores come from a model that did not train on these images, that is without bias what as many new
            images are worth of which each is decided by one of these decisions, fitted on all folds but one. (For CF1,
            one decision for all images is worth a little more than several that differ.)
        plain: the same of the threshold 0.5 and of the 3 highest labels.
    """

    decision: Decision
    objective: Objective
    naive: Value
    cross_fitted: Value
    plain: dict[str, Value]

    @property
    def gap(self) -> float:
        """How much better the naive value is than the cross-fitted one; also where smaller is better."""
        gap = self.naive.value - self.cross_fitted.value
        return -gap if self.objective.name == "cost" else gap

    def to_json(self) -> dict[str, Any]:
        """A JSON object: the objective, its values, and the decision."""
        return {
            "objective": self.objective.describe(),
            "naive": self.naive.to_json(),
            "cross_fitted": self.cross_fitted.to_json(),
            "gap": self.gap,
            "plain": {name: value.to_json() for name, value in self.plain.items()},
            "decision": self.decision.to_json(),
            "words": self.decision.describe(),
        }


def cross_fit(scores: Scores, how: DecisionFit, folds: int = 5, seed: int = 0, resamples: int = RESAMPLES) -> CrossFit:
    """Fit a decision, and measure it on images that it was not fitted on.

    Args:
        folds: 2 or more, drawn at random.
        seed: of the folds and of the bootstrap.
        resamples: of the bootstrap, 1 or more.

    Raises:
        SettingError: there are fewer images than folds, or nothing to fit on.
    """
    decision = how.fit(scores)
    # Labels that are not evaluated count in no value either.
    part, inner = how.part(scores), replace(how, evaluated_only=False)
    given = {"naive": inner.fit(part).apply(part), "cross_fitted": decide_out_of_fold(part, inner, folds, seed)}
    given.update({name: plain.apply(part) for name, plain in PLAIN.items()})
    reached = _values(given, part, how.objective, resamples, seed)
    plain = {name: reached[name] for name in PLAIN}
    return CrossFit(decision, how.objective, reached["naive"], reached["cross_fitted"], plain)


def decide_out_of_fold(scores: Scores, how: DecisionFit, folds: int, seed: int) -> np.ndarray:
    """The labels that are given to each image by a decision that was fitted without its fold; bool (N, K).

    Raises:
        SettingError: there are fewer images than folds, or nothing to fit on.
    """
    folds_N = random_folds(len(scores), folds, seed)
    given_NK = np.zeros(scores.targets_NK.shape, dtype=bool)
    for fold in range(folds):
        rest, held_out = np.flatnonzero(folds_N != fold), np.flatnonzero(folds_N == fold)
        if not (scores.targets_NK[rest] == 1).any():
            raise SettingError(f"fold {fold} of {folds} holds every known positive; give more images, or another seed")
        given_NK[held_out] = how.fit(scores.subset(rest)).apply(scores.subset(held_out))
    return given_NK


def random_folds(rows: int, folds: int, seed: int) -> np.ndarray:
    """The fold of each row, from 0, of sizes that differ by at most one; int64 (N,).

    Drawn without regard to the labels: folds that are stratified have the share of positives that the decision was
    fitted to, and so flatter it (in simulations by a twelfth of what the naive value does).

    Raises:
        SettingError: there are fewer rows than folds, or fewer than 2 folds.
    """
    if not 2 <= folds <= rows:
        raise SettingError(f"{rows} images cannot be put into {folds} folds; give 2 folds or more, and as many images")
    return np.random.default_rng(seed).permutation(np.arange(rows) % folds)


def _values(
    given: dict[str, np.ndarray], scores: Scores, objective: Objective, resamples: int, seed: int
) -> dict[str, Value]:
    """Values, intervals, and the differences of the cross-fitted value, all on the same resamples."""
    positive_NK, known_NK = scores.targets_NK == 1, scores.targets_NK >= 0
    weights_RN = resample_counts(positive_NK, resamples, np.random.default_rng(seed)).T
    positives_RK = (weights_RN @ positive_NK.astype(np.float32)).astype(np.float64)
    point, drawn, bounds = {}, {}, {}
    for name, given_NK in given.items():
        found = totals(given_NK, scores.targets_NK)
        bound = objective.bound(found)
        point[name], bounds[name] = float(objective.value(found)), None if bound is None else float(bound)
        correct_RK = (weights_RN @ (given_NK & positive_NK).astype(np.float32)).astype(np.float64)
        predicted_RK = (weights_RN @ (given_NK & known_NK).astype(np.float32)).astype(np.float64)
        drawn[name] = objective.value(totals_of(correct_RK, predicted_RK, positives_RK, len(scores)))
    values = {}
    for name in given:
        difference = None
        if name != "cross_fitted":
            low, high = _interval(drawn["cross_fitted"] - drawn[name])
            difference = (point["cross_fitted"] - point[name], low, high)
        values[name] = Value(point[name], bounds[name], _interval(drawn[name]), difference)
    return values


def _interval(values_R: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(values_R, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
