"""Decisions: how scores become labels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from cotag.errors import LabelSpaceError, SettingError, suggestion
from cotag.evaluation.adjustment import SCALES, Adjustment
from cotag.evaluation.adjustment import logits_of as logits_of
from cotag.types.labels import LabelSpace
from cotag.types.scores import Scores

RULES = ("threshold", "top_k", "top_k_and_threshold")
# Rows are ranked in parts of about so many cells, so that a large table needs no second one.
CELLS = 1 << 22


@dataclass(frozen=True)
class Decision:
    """Which labels are given to an image.

    ``threshold``: those at or above the threshold; ``top_k``: the k highest; ``top_k_and_threshold``: those of the k
    highest that are at or above the threshold. Of equal scores the label that stands first ranks higher; an excluded
    label takes no place among the k.

    Args:
        rule: one of the three.
        threshold: probability, above 0 and under 1; a logit is compared with the logit of it.
        k: how many labels the top-k rules look at, 1 or more.
        logit_thresholds: K thresholds on the logit scale, which stand in for ``threshold``.
        adjustment: what the scores are changed by before they are ranked; the thresholds are compared with the scores
            as they are.
        label_space: the K labels; needed with values for each label or with names, which then refuse any other labels.
        excluded: names of labels that are never given, such as those that are not evaluated.
        fitted: how the values were found, for whoever reads the file; of it, ``calibration`` (the origin of the scores
            that they were fitted on) is held against the scores that are decided.

    Raises:
        SettingError: an unknown rule, a value that is not allowed, or one that the rule would not use.
    """

    rule: str = "threshold"
    threshold: float = 0.5
    k: int | None = None
    logit_thresholds: tuple[float, ...] | None = None
    adjustment: Adjustment | None = None
    label_space: LabelSpace | None = None
    excluded: tuple[str, ...] = ()
    fitted: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise SettingError(f"decide.rule = {self.rule!r} is not known{suggestion(self.rule, RULES)}")
        if not 0 < self.threshold < 1:
            raise SettingError(f"decide.threshold = {self.threshold}: must be above 0 and under 1")
        if self.rule == "threshold" and (self.k is not None or self.adjustment is not None):
            raise SettingError(
                "rule threshold ranks nothing: leave k, offsets and multipliers out, or choose top_k_and_threshold"
            )
        if self.rule != "threshold" and not (isinstance(self.k, int) and self.k >= 1):
            raise SettingError(f"rule {self.rule} with k = {self.k}: give a whole number of 1 or more")
        if self.rule == "top_k" and (self.logit_thresholds is not None or self.threshold != 0.5):
            raise SettingError("rule top_k has no threshold: leave it out, or choose top_k_and_threshold")
        if self.adjustment is not None:
            self._require_each(self.adjustment.scale, len(self.adjustment.values))
        if self.logit_thresholds is not None:
            values = tuple(float(value) for value in self.logit_thresholds)
            self._require_each("logit_thresholds", len(values))
            if not all(map(math.isfinite, values)):
                raise SettingError("logit_thresholds: every value must be a finite number")
            object.__setattr__(self, "logit_thresholds", values)
        object.__setattr__(self, "excluded", tuple(self.excluded))
        if self.excluded and self.label_space is None:
            raise SettingError("excluded names labels: give the label space that they are in")
        if not self.givable(len(self.label_space or ()) or 1).any():
            raise SettingError("excluded names all labels, so none could be given; leave one out of it")

    def _require_each(self, name: str, count: int) -> None:
        size = None if self.label_space is None else len(self.label_space)
        if count != size:
            raise SettingError(f"{name}: {count} values for a label space of {size} labels; give one for each")

    def givable(self, size: int) -> np.ndarray:
        """Which of ``size`` labels may be given at all; bool (K,).

        Raises:
            LabelSpaceError: an excluded label is not among the labels.
        """
        found = np.ones(size, dtype=bool)
        if self.label_space is not None:
            found[[self.label_space.id(name) for name in self.excluded]] = False
        return found

    def apply(self, scores: Scores) -> np.ndarray:
        """Which labels are given; bool (N, K).

        Raises:
            LabelSpaceError: the decision was made for other labels.
            SettingError: it was fitted on scores with another calibration, or with none.
        """
        if self.label_space is not None:
            self.label_space.require_same(scores.label_space, "decision and scores")
        fitted, given = self.fitted.get("calibration"), scores.origin.get("calibration")
        if self.fitted and fitted != given:
            raise SettingError(
                f"the decision was fitted on scores with calibration {fitted or 'none'}, these have {given or 'none'}; "
                "fit it on scores such as these, or calibrate these in the same way"
            )
        if self.rule == "threshold":
            given_NK = self._above(scores)
        else:
            assert self.k is not None
            given_NK = highest(self.order(scores), self.k)
            if self.rule != "top_k":
                given_NK &= self._above(scores)
        return given_NK & self.givable(given_NK.shape[1]) if self.excluded else given_NK

    @property
    def reorders(self) -> bool:
        """Whether it ranks labels in another order than that of their scores."""
        return self.adjustment is not None or bool(self.excluded)

    def order(self, scores: Scores) -> np.ndarray:
        """What the labels of an image are ranked by, excluded ones lowest; finite, (N, K)."""
        found_NK = scores.scores_NK if self.adjustment is None else self.adjustment.order(scores)
        if not self.excluded:
            return found_NK
        return np.where(self.givable(found_NK.shape[1]), found_NK, np.finfo(found_NK.dtype).min)

    def _above(self, scores: Scores) -> np.ndarray:
        if self.logit_thresholds is not None:
            above: np.ndarray = logits_of(scores) >= np.array(self.logit_thresholds)
            return above
        limit = self.threshold
        if scores.kind == "logit":
            limit = math.log(limit / (1 - limit))
        above = scores.scores_NK >= limit
        return above

    def describe(self) -> str:
        """The decision in words, for a report."""
        limit = f"at probability >= {self.threshold:g}"
        if self.logit_thresholds is not None:
            values = np.array(self.logit_thresholds)
            low, high = _probability(values.min()), _probability(values.max())
            limit = f"at its own threshold (probability {low:.3g} to {high:.3g} over {len(values)} labels)"
            if values.min() == values.max():
                limit = f"at probability >= {low:.4g} (logit {values[0]:.4g})"
        never = f"; labels that are never given: {len(self.excluded)}" if self.excluded else ""
        if self.rule == "threshold":
            return f"a label is given {limit}{never}"
        text = f"a label is given among the {self.k} highest"
        if self.adjustment is not None:
            text += f", after {self.adjustment.describe()}"
        return (text if self.rule == "top_k" else f"{text}, {limit}") + never

    def to_json(self) -> dict[str, Any]:
        """A JSON object that makes the same decision again: what the rule uses, values for each label by name."""
        value: dict[str, Any] = {"rule": self.rule}
        if self.rule != "top_k" and self.logit_thresholds is None:
            value["threshold"] = self.threshold
        if self.k is not None:
            value["k"] = self.k
        if self.label_space is not None:
            value["label_space"] = self.label_space.hash
            adjusted = {self.adjustment.scale: self.adjustment.values} if self.adjustment else {}
            for name, given in {"logit_thresholds": self.logit_thresholds, **adjusted}.items():
                if given is not None:
                    value[name] = dict(zip(self.label_space.names, given, strict=True))
        if self.excluded:
            value["excluded"] = list(self.excluded)
        if self.fitted:
            value["fitted"] = dict(self.fitted)
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any], label_space: LabelSpace) -> Decision:
        """Rebuild from ``to_json`` for a model or scores of these labels.

        Raises:
            LabelSpaceError: the values were fitted for other labels, or for these in another order.
            SettingError: an unknown key or a value that is not allowed.
        """
        given = dict(value)
        known = [*(item.name for item in fields(cls) if item.name != "adjustment"), *SCALES]
        for key in given:
            if key not in known:
                raise SettingError(f"decision: {key!r} is not known{suggestion(key, known)}")
        recorded = given.pop("label_space", None)
        if recorded is not None:
            given["label_space"] = label_space
        for name in ("logit_thresholds", *SCALES):
            if given.get(name) is None:
                continue
            LabelSpace(tuple(given[name])).require_same(label_space, f"{name} of the decision, and the labels")
            given[name] = tuple(given[name].values())
        adjusted = [name for name in SCALES if given.get(name) is not None]
        if len(adjusted) > 1:
            raise SettingError(f"decision: has {' and '.join(adjusted)}; keep one of them")
        values = {name: given.pop(name, None) for name in SCALES}
        if adjusted:
            given["adjustment"] = Adjustment(adjusted[0], values[adjusted[0]])
        if recorded not in (None, label_space.hash):
            raise LabelSpaceError(
                f"the decision was made for other labels ({recorded}) than these ({label_space.hash}); fit it again"
            )
        try:
            return cls(**given)
        except TypeError as error:
            raise SettingError(f"decision: {error}; fit it again") from None


def highest(values_NK: np.ndarray, k: int) -> np.ndarray:
    """Which cells are among the k highest of their row; bool (N, K). Of equal ones the first count."""
    rows, size = values_NK.shape
    if k >= size:
        return np.ones(values_NK.shape, dtype=bool)
    found = np.zeros(values_NK.shape, dtype=bool)
    step = max(1, CELLS // size)
    for start in range(0, rows, step):
        part = values_NK[start : start + step]
        last = np.partition(part, size - k, axis=1)[:, size - k, None]
        above, equal = part > last, part == last
        room = k - above.sum(1, keepdims=True)
        found[start : start + step] = above | (equal & (np.cumsum(equal, axis=1) <= room))
    return found


def _probability(logit: float) -> float:
    return float(np.exp(-np.logaddexp(0, -logit)))
