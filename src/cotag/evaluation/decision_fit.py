"""Fitting a decision to scores, for an objective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cotag.errors import SettingError, suggestion
from cotag.evaluation.decision import Decision, highest, logits_of
from cotag.evaluation.objective import Objective, Totals, counts_of, totals_of
from cotag.evaluation.offset_fit import fit_group_offset, fit_label_offsets
from cotag.evaluation.threshold_fit import fit_label_thresholds, fit_threshold
from cotag.types.frequency import infrequent_labels
from cotag.types.scores import Scores

FITTED_RULES = ("threshold", "label_thresholds", "top_k", "top_k_and_threshold", "group_offset", "label_offsets")
SHRUNK_RULES = ("label_thresholds", "label_offsets")
OFFSET_RULES = ("group_offset", "label_offsets")
SHRINKAGE = 10.0
# Where k is not given, 1 to this many are tried.
MOST_K = 20


@dataclass(frozen=True)
class DecisionFit:
    """How a decision is fitted.

    ``threshold``: one for all labels. ``label_thresholds``: one for each label. ``top_k``: the k.
    ``top_k_and_threshold``: the k and one threshold, together. ``group_offset``: one logit offset for the infrequent
    labels, before a top-k. ``label_offsets``: one for each label, before a top-k.

    A label's value is shrunk, on the logit scale, toward that of its group: with n positives it keeps the weight
    n / (n + shrinkage), and a label without positives takes the group's value alone. For thresholds the group's value
    is the one threshold of the labels of its group in the label space, itself shrunk in the same way toward that of
    all labels; without groups, it is that of all labels. For offsets it is the ``group_offset`` for an infrequent
    label, and 0 for another.

    Args:
        objective: what is to be reached.
        rule: one of the six.
        k: labels that a top-k looks at; where not given, 1 to 20 are tried (an offset rule needs it).
        shrinkage: 0 or more; 10 where not given.
        infrequent: names of the labels that offsets treat as a group; where not given, the half of the labels that has
            the fewest positives in the scores that are fitted on.

    Raises:
        SettingError: an unknown rule, a value that is not allowed or missing, or one that the rule would not use.
    """

    objective: Objective
    rule: str = "label_thresholds"
    k: int | None = None
    shrinkage: float | None = None
    infrequent: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        rule = self.rule
        if rule not in FITTED_RULES:
            raise SettingError(f"rule {rule!r} is not known{suggestion(rule, FITTED_RULES)}")
        if self.objective.name == "mR" and (rule not in (*OFFSET_RULES, "top_k") or self.k is None):
            raise SettingError("objective mR@k goes with a k and the rule top_k, group_offset or label_offsets")
        if self.k is not None and (rule in ("threshold", "label_thresholds") or self.k < 1):
            raise SettingError(f"rule {rule} with k = {self.k}: a top-k rule takes 1 or more, the others none")
        if self.k is None and rule in OFFSET_RULES:
            raise SettingError(f"rule {rule} needs k, how many labels an image is given")
        if self.shrinkage is not None and rule not in SHRUNK_RULES:
            raise SettingError(f"rule {rule} shrinks nothing: leave shrinkage out, or choose {SHRUNK_RULES[0]}")
        if self.shrinkage is not None and not 0 <= self.shrinkage < np.inf:
            raise SettingError(f"shrinkage = {self.shrinkage}: give a number of 0 or more")
        if self.infrequent and rule not in OFFSET_RULES:
            raise SettingError(f"rule {rule} has no infrequent labels: leave them out, or choose group_offset")

    def fit(self, scores: Scores) -> Decision:
        """The decision that these scores ask for.

        Raises:
            SettingError: there is no positive to fit on.
            LabelSpaceError: an infrequent label is not among the labels.
        """
        if not (scores.targets_NK == 1).any():
            raise SettingError("the scores have no known positive, so no decision can be fitted; give other scores")
        found = getattr(self, f"_{self.rule}")(scores, logits_of(scores))
        about: dict[str, Any] = {"objective": self.objective.describe(), "rule": self.rule, "images": len(scores)}
        if self.rule in SHRUNK_RULES:
            about["shrinkage"] = self._shrinkage
        if "calibration" in scores.origin:
            about["calibration"] = scores.origin["calibration"]
        return Decision(**found, label_space=scores.label_space, fitted=about)

    @property
    def _shrinkage(self) -> float:
        return SHRINKAGE if self.shrinkage is None else self.shrinkage

    def _threshold(self, scores: Scores, logits_NK: np.ndarray) -> dict[str, Any]:
        limit, _ = fit_threshold(logits_NK, scores.targets_NK, self.objective)
        return _thresholds("threshold", np.full(logits_NK.shape[1], limit))

    def _label_thresholds(self, scores: Scores, logits_NK: np.ndarray) -> dict[str, Any]:
        targets_NK, objective = scores.targets_NK, self.objective
        positives_K = (targets_NK == 1).sum(0)
        overall, _ = fit_threshold(logits_NK, targets_NK, objective)
        toward_K = np.full(logits_NK.shape[1], overall)
        groups = np.array(scores.label_space.groups or (), dtype=object)
        for group in {name for name in groups if name is not None}:
            of = groups == group
            own, _ = fit_threshold(logits_NK[:, of], targets_NK[:, of], objective)
            toward_K[of] = self._shrunk(np.array(own), np.array(overall), positives_K[of].sum())
        fitted_K = fit_label_thresholds(logits_NK, targets_NK, objective)
        return _thresholds("threshold", self._shrunk(fitted_K, toward_K, positives_K))

    def _shrunk(self, own: np.ndarray, toward: np.ndarray, positives: np.ndarray) -> np.ndarray:
        weight = positives / np.maximum(positives + self._shrinkage, 1e-300)
        found: np.ndarray = weight * own + (1 - weight) * toward
        return found

    def _top_k(self, scores: Scores, logits_NK: np.ndarray) -> dict[str, Any]:
        def gain(k: int) -> float:
            return float(self.objective.gain(totals(highest(scores.scores_NK, k), scores.targets_NK)))

        return {"rule": "top_k", "k": max(self._tried(scores), key=gain)}

    def _top_k_and_threshold(self, scores: Scores, logits_NK: np.ndarray) -> dict[str, Any]:
        found = []
        for k in self._tried(scores):
            limit, gain = fit_threshold(logits_NK, scores.targets_NK, self.objective, highest(scores.scores_NK, k))
            found.append((gain, k, limit))
        _, k, limit = max(found, key=lambda item: item[0])
        return {**_thresholds("top_k_and_threshold", np.full(logits_NK.shape[1], limit)), "k": k}

    def _tried(self, scores: Scores) -> list[int]:
        return [self.k] if self.k else list(range(1, min(MOST_K, len(scores.label_space)) + 1))

    def _group_offset(self, scores: Scores, logits_NK: np.ndarray) -> dict[str, Any]:
        return self._offsets(self._infrequent_offsets(scores, logits_NK))

    def _label_offsets(self, scores: Scores, logits_NK: np.ndarray) -> dict[str, Any]:
        assert self.k is not None
        start_K = self._infrequent_offsets(scores, logits_NK)
        fitted_K = fit_label_offsets(logits_NK, scores.targets_NK, start_K, self.k, self.objective)
        return self._offsets(self._shrunk(fitted_K, start_K, (scores.targets_NK == 1).sum(0)))

    def _infrequent_offsets(self, scores: Scores, logits_NK: np.ndarray) -> np.ndarray:
        assert self.k is not None
        size = logits_NK.shape[1]
        named = [scores.label_space.id(name) for name in self.infrequent]
        fewest_K = infrequent_labels((scores.targets_NK == 1).sum(0), "half")
        members_K = np.isin(np.arange(size), named) if named else fewest_K
        offset, _ = fit_group_offset(logits_NK, scores.targets_NK, members_K, self.k, self.objective)
        return np.where(members_K, offset, 0.0)

    def _offsets(self, offsets_K: np.ndarray) -> dict[str, Any]:
        return {"rule": "top_k", "k": self.k, "logit_offsets": tuple(offsets_K.tolist())}


def _thresholds(rule: str, thresholds_K: np.ndarray) -> dict[str, Any]:
    return {"rule": rule, "logit_thresholds": tuple(thresholds_K.tolist())}


def totals(given_NK: np.ndarray, targets_NK: np.ndarray) -> Totals:
    """The totals of given labels against the targets."""
    return totals_of(*counts_of(given_NK, targets_NK), len(targets_NK))
