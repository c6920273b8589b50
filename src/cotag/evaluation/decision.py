"""Decisions: how scores become labels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from cotag.errors import LabelSpaceError, SettingError, suggestion
from cotag.types.labels import LabelSpace
from cotag.types.scores import Scores

RULES = ("threshold", "top_k", "top_k_and_threshold")
PER_LABEL = ("logit_thresholds", "logit_offsets")
# Rows are ranked in parts of about so many cells, so that a large table needs no second one.
CELLS = 1 << 22


@dataclass(frozen=True)
class Decision:
    """Which labels are given to an image.

    ``threshold``: those at or above the threshold; ``top_k``: the k highest; ``top_k_and_threshold``: those of the k
    highest that are at or above the threshold. Of equal scores the label that stands first ranks higher.

    Args:
        rule: one of the three.
        threshold: probability, above 0 and under 1; a logit is compared with the logit of it.
        k: how many labels the top-k rules look at, 1 or more.
        logit_thresholds: K thresholds on the logit scale, which stand in for ``threshold``.
        logit_offsets: K numbers that are added to the logits before they are ranked (the odds are multiplied by
            exp(offset)); the thresholds are compared with the logits as they are.
        label_space: the K labels; needed with values for each label, which then refuse any other labels.
        fitted: how the values were found, for whoever reads the file; of it, ``calibration`` (the origin of the scores
            that they were fitted on) is held against the scores that are decided.

    Raises:
        SettingError: an unknown rule, a value that is not allowed, or one that the rule would not use.
    """

    rule: str = "threshold"
    threshold: float = 0.5
    k: int | None = None
    logit_thresholds: tuple[float, ...] | None = None
    logit_offsets: tuple[float, ...] | None = None
    label_space: LabelSpace | None = None
    fitted: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise SettingError(f"decide.rule = {self.rule!r} is not known{suggestion(self.rule, RULES)}")
        if not 0 < self.threshold < 1:
            raise SettingError(f"decide.threshold = {self.threshold}: must be above 0 and under 1")
        if self.rule == "threshold" and (self.k is not None or self.logit_offsets is not None):
            raise SettingError("rule threshold ranks nothing: leave k and offsets out, or choose top_k_and_threshold")
        if self.rule != "threshold" and not (isinstance(self.k, int) and self.k >= 1):
            raise SettingError(f"rule {self.rule} with k = {self.k}: give a whole number of 1 or more")
        if self.rule == "top_k" and (self.logit_thresholds is not None or self.threshold != 0.5):
            raise SettingError("rule top_k has no threshold: leave it out, or choose top_k_and_threshold")
        for name in PER_LABEL:
            if getattr(self, name) is not None:
                object.__setattr__(self, name, self._per_label(name))

    def _per_label(self, name: str) -> tuple[float, ...]:
        values = tuple(float(value) for value in getattr(self, name))
        if self.label_space is None or len(values) != len(self.label_space):
            size = None if self.label_space is None else len(self.label_space)
            raise SettingError(f"{name}: {len(values)} values for a label space of {size} labels; give one for each")
        if not all(map(math.isfinite, values)):
            raise SettingError(f"{name}: every value must be a finite number")
        return values

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
        given_NK = np.ones(scores.scores_NK.shape, dtype=bool)
        if self.rule != "threshold":
            given_NK = self._highest(scores)
        if self.rule != "top_k":
            given_NK &= self._above(scores)
        return given_NK

    def _above(self, scores: Scores) -> np.ndarray:
        if self.logit_thresholds is not None:
            above: np.ndarray = logits_of(scores) >= np.array(self.logit_thresholds)
            return above
        limit = self.threshold
        if scores.kind == "logit":
            limit = math.log(limit / (1 - limit))
        above = scores.scores_NK >= limit
        return above

    def _highest(self, scores: Scores) -> np.ndarray:
        assert self.k is not None
        if self.logit_offsets is None:
            return highest(scores.scores_NK, self.k)
        return highest(logits_of(scores) + np.array(self.logit_offsets), self.k)

    def describe(self) -> str:
        """The decision in words, for a report."""
        limit = f"at probability >= {self.threshold:g}"
        if self.logit_thresholds is not None:
            values = np.array(self.logit_thresholds)
            low, high = _probability(values.min()), _probability(values.max())
            limit = f"at its own threshold (probability {low:.3g} to {high:.3g} over {len(values)} labels)"
            if values.min() == values.max():
                limit = f"at probability >= {low:.4g} (logit {values[0]:.4g})"
        if self.rule == "threshold":
            return f"a label is given {limit}"
        text = f"a label is given among the {self.k} highest"
        if self.logit_offsets is not None:
            odds = np.exp(np.array(self.logit_offsets))
            text += f", after the labels' odds were multiplied by {odds.min():.3g} to {odds.max():.3g}"
        return text if self.rule == "top_k" else f"{text}, {limit}"

    def to_json(self) -> dict[str, Any]:
        """A JSON object that makes the same decision again: what the rule uses, values for each label by name."""
        value: dict[str, Any] = {"rule": self.rule}
        if self.rule != "top_k" and self.logit_thresholds is None:
            value["threshold"] = self.threshold
        if self.k is not None:
            value["k"] = self.k
        if self.label_space is not None:
            value["label_space"] = self.label_space.hash
            for name in PER_LABEL:
                if (given := getattr(self, name)) is not None:
                    value[name] = dict(zip(self.label_space.names, given, strict=True))
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
        known = [item.name for item in fields(cls)]
        for key in given:
            if key not in known:
                raise SettingError(f"decision: {key!r} is not known{suggestion(key, known)}")
        recorded = given.pop("label_space", None)
        if recorded is not None:
            given["label_space"] = label_space
        for name in PER_LABEL:
            if given.get(name) is None:
                continue
            LabelSpace(tuple(given[name])).require_same(label_space, f"{name} of the decision, and the labels")
            given[name] = tuple(given[name].values())
        if recorded not in (None, label_space.hash):
            raise LabelSpaceError(
                f"the decision was made for other labels ({recorded}) than these ({label_space.hash}); fit it again"
            )
        try:
            return cls(**given)
        except TypeError as error:
            raise SettingError(f"decision: {error}; fit it again") from None


def logits_of(scores: Scores) -> np.ndarray:
    """The scores as logits; float64 (N, K), finite also at the probabilities 0 and 1."""
    values = scores.scores_NK.astype(np.float64)
    if scores.kind == "logit":
        return values
    values = np.clip(values, np.finfo(np.float64).tiny, 1 - np.finfo(np.float64).epsneg)
    logits_NK: np.ndarray = np.log(values) - np.log1p(-values)
    return logits_NK


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
