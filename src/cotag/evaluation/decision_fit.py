"""Fitting a decision to scores, for an objective."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cotag.errors import SettingError, suggestion
from cotag.evaluation.adjustment import MULTIPLIERS, OFFSETS, Adjustment, log_probabilities_of
from cotag.evaluation.decision import Decision, highest, logits_of
from cotag.evaluation.objective import Objective, Totals, counts_of, totals_of
from cotag.evaluation.offset_fit import fit_group_offset, fit_label_offsets
from cotag.evaluation.threshold_fit import fit_label_thresholds, fit_threshold
from cotag.types.frequency import infrequent_labels
from cotag.types.labels import NOT_EVALUATED, LabelSpace
from cotag.types.scores import Scores

GROUP_RULES = {"group_offset": OFFSETS, "group_multiplier": MULTIPLIERS}
LABEL_RULES = {"label_offsets": OFFSETS, "label_multipliers": MULTIPLIERS}
ADJUSTING_RULES = {**GROUP_RULES, **LABEL_RULES}
FITTED_RULES = ("threshold", "label_thresholds", "top_k", "top_k_and_threshold", *GROUP_RULES, *LABEL_RULES)
SHRUNK_RULES = ("label_thresholds", *LABEL_RULES)
SHRINKAGE = 10.0
# Where k is not given, 1 to this many are tried.
MOST_K = 20


@dataclass(frozen=True)
class DecisionFit:
    """How a decision is fitted.

    ``threshold``: one for all labels. ``label_thresholds``: one for each label. ``top_k``: the k.
    ``top_k_and_threshold``: the k and one threshold, together. ``group_offset``: one logit offset for the infrequent
    labels, before a top-k. ``label_offsets``: one for each label, before a top-k. ``group_multiplier`` and
    ``label_multipliers``: the same with what the probabilities are multiplied by.

    A label's value is shrunk, on the logit scale, toward that of its group: with n positives it keeps the weight
    n / (n + shrinkage), and a label without positives takes the group's value alone. For thresholds the group's value
    is the one threshold of the labels of its group in the label space, itself shrunk in the same way toward that of
    all labels; without groups, it is that of all labels. For offsets it is the ``group_offset`` for an infrequent
    label, and 0 for another; for multipliers the ``group_multiplier``, and 1, with the logarithms shrunk.

    Args:
        objective: what is to be reached.
        rule: one of the eight.
        k: labels that a top-k looks at; where not given, 1 to 20 are tried (offsets and multipliers need it).
        shrinkage: 0 or more; 10 where not given.
        infrequent: names of the labels that offsets and multipliers treat as a group; where not given, the half of the
            labels that has the fewest positives in the scores that are fitted on.
        multiplier: of the infrequent labels' probabilities, above 0, for ``group_multiplier``; where not given, it is
            fitted.
        evaluated_only: labels of the group ``not evaluated`` are never given, and nothing is fitted to them.

    Raises:
        SettingError: an unknown rule, a value that is not allowed or missing, or one that the rule would not use.
    """

    objective: Objective
    rule: str = "label_thresholds"
    k: int | None = None
    shrinkage: float | None = None
    infrequent: tuple[str, ...] = ()
    multiplier: float | None = None
    evaluated_only: bool = False

    def __post_init__(self) -> None:
        rule = self.rule
        if rule not in FITTED_RULES:
            raise SettingError(f"rule {rule!r} is not known{suggestion(rule, FITTED_RULES)}")
        if self.objective.name == "mR" and (rule not in (*ADJUSTING_RULES, "top_k") or self.k is None):
            raise SettingError(f"objective mR@k goes with a k and one of the rules top_k, {', '.join(ADJUSTING_RULES)}")
        if self.k is not None and (rule in ("threshold", "label_thresholds") or self.k < 1):
            raise SettingError(f"rule {rule} with k = {self.k}: a top-k rule takes 1 or more, the others none")
        if self.k is None and rule in ADJUSTING_RULES:
            raise SettingError(f"rule {rule} needs k, how many labels an image is given")
        if self.shrinkage is not None and rule not in SHRUNK_RULES:
            raise SettingError(f"rule {rule} shrinks nothing: leave shrinkage out, or choose {SHRUNK_RULES[0]}")
        if self.shrinkage is not None and not 0 <= self.shrinkage < np.inf:
            raise SettingError(f"shrinkage = {self.shrinkage}: give a number of 0 or more")
        if self.infrequent and rule not in ADJUSTING_RULES:
            raise SettingError(f"rule {rule} has no infrequent labels: leave them out, or choose group_offset")
        if self.multiplier is not None and rule != "group_multiplier":
            raise SettingError(f"rule {rule} takes no multiplier: leave it out, or choose group_multiplier")
        if self.multiplier is not None and not 0 < self.multiplier < np.inf:
            raise SettingError(f"multiplier = {self.multiplier:g}: give a number above 0; 1 leaves all as it is")

    def fit(self, scores: Scores) -> Decision:
        """The decision that these scores ask for.

        Raises:
            SettingError: there is no positive to fit on.
            LabelSpaceError: an infrequent label is not among the labels.
        """
        part = self.part(scores)
        if not (part.targets_NK == 1).any():
            raise SettingError("the scores have no known positive, so no decision can be fitted; give other scores")
        found = getattr(self, f"_{self.rule}")(part, logits_of(part))
        about: dict[str, Any] = {"objective": self.objective.describe(), "rule": self.rule, "images": len(scores)}
        if self.rule in SHRUNK_RULES:
            about["shrinkage"] = self._shrinkage
        if "calibration" in scores.origin:
            about["calibration"] = scores.origin["calibration"]
        # A multiplier that is given is meant for whatever probabilities a model has.
        fitted = about if self.multiplier is None else {}
        whole = Decision(**found, label_space=part.label_space, fitted=fitted)
        return whole if part is scores else _widened(whole, scores.label_space)

    def part(self, scores: Scores) -> Scores:
        """The scores that count: all, or with ``evaluated_only`` those of the evaluated labels.

        Raises:
            SettingError: ``evaluated_only``, and the labels are all evaluated, or none is.
        """
        if not self.evaluated_only:
            return scores
        kept_K = scores.label_space.evaluated
        if kept_K.all() or not kept_K.any():
            which = "all" if kept_K.all() else "none"
            raise SettingError(
                f"evaluated_only leaves out the labels of the group {NOT_EVALUATED!r}, and {which} of these labels are "
                "evaluated; leave it out"
            )
        return scores.of_labels(kept_K)

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
        return self._adjusted(self._of_infrequent(scores, logits_NK))

    def _label_offsets(self, scores: Scores, logits_NK: np.ndarray) -> dict[str, Any]:
        assert self.k is not None
        start_K = self._of_infrequent(scores, logits_NK)
        fitted_K = fit_label_offsets(logits_NK, scores.targets_NK, start_K, self.k, self.objective)
        return self._adjusted(self._shrunk(fitted_K, start_K, (scores.targets_NK == 1).sum(0)))

    # A multiplier of probabilities is an offset of their logarithms.
    def _group_multiplier(self, scores: Scores, logits_NK: np.ndarray) -> dict[str, Any]:
        return self._group_offset(scores, log_probabilities_of(scores))

    def _label_multipliers(self, scores: Scores, logits_NK: np.ndarray) -> dict[str, Any]:
        return self._label_offsets(scores, log_probabilities_of(scores))

    def _of_infrequent(self, scores: Scores, values_NK: np.ndarray) -> np.ndarray:
        """What is added to the values of each label: the group's, and 0 for a label that is not infrequent."""
        assert self.k is not None
        size = values_NK.shape[1]
        members_K = np.isin(np.arange(size), [scores.label_space.id(name) for name in self.infrequent])
        if not self.infrequent:
            members_K = infrequent_labels((scores.targets_NK == 1).sum(0), "half")
        if self.multiplier is not None:
            return np.where(members_K, np.log(self.multiplier), 0.0)
        offset, _ = fit_group_offset(values_NK, scores.targets_NK, members_K, self.k, self.objective)
        return np.where(members_K, offset, 0.0)

    def _adjusted(self, added_K: np.ndarray) -> dict[str, Any]:
        scale = ADJUSTING_RULES[self.rule]
        values_K = np.exp(added_K) if scale == MULTIPLIERS else added_K
        if self.multiplier is not None:
            values_K = np.where(added_K != 0, self.multiplier, 1.0)
        return {"rule": "top_k", "k": self.k, "adjustment": Adjustment(scale, tuple(values_K.tolist()))}


def _widened(decision: Decision, label_space: LabelSpace) -> Decision:
    """A decision for some labels as one for all, which never gives the others."""
    small = decision.label_space
    assert small is not None
    places = small.positions_in(label_space)
    changed: dict[str, Any] = {}
    if decision.adjustment is not None:
        neutral = 1.0 if decision.adjustment.scale == MULTIPLIERS else 0.0
        values_K = np.full(len(label_space), neutral)
        values_K[places] = decision.adjustment.values
        changed["adjustment"] = Adjustment(decision.adjustment.scale, tuple(values_K.tolist()))
    if decision.logit_thresholds is not None:
        limits_K = np.zeros(len(label_space))
        limits_K[places] = decision.logit_thresholds
        changed["logit_thresholds"] = tuple(limits_K.tolist())
    excluded = tuple(name for name in label_space.names if name not in small)
    return replace(decision, **changed, label_space=label_space, excluded=excluded)


def _thresholds(rule: str, thresholds_K: np.ndarray) -> dict[str, Any]:
    return {"rule": rule, "logit_thresholds": tuple(thresholds_K.tolist())}


def totals(given_NK: np.ndarray, targets_NK: np.ndarray) -> Totals:
    """The totals of given labels against the targets."""
    return totals_of(*counts_of(given_NK, targets_NK), len(targets_NK))
