"""Decisions: how scores become labels."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cotag.errors import SettingError, suggestion
from cotag.types.scores import Scores

RULES = ("threshold",)


@dataclass(frozen=True)
class Decision:
    """A label is given where its probability is at least the threshold.

    Args:
        rule: ``threshold``.
        threshold: probability, above 0 and under 1; a logit is compared with the logit of it.
    """

    rule: str = "threshold"
    threshold: float = 0.5

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise SettingError(f"decide.rule = {self.rule!r} is not known{suggestion(self.rule, RULES)}")
        if not 0 < self.threshold < 1:
            raise SettingError(f"decide.threshold = {self.threshold}: must be above 0 and under 1")

    def apply(self, scores: Scores) -> np.ndarray:
        """Which labels are given; bool (N, K)."""
        limit = self.threshold
        if scores.kind == "logit":
            limit = math.log(limit / (1 - limit))
        given: np.ndarray = scores.scores_NK >= limit
        return given

    def describe(self) -> str:
        """The decision in words, for a report."""
        return f"a label is given at probability >= {self.threshold:g}"

    def to_json(self) -> dict[str, Any]:
        """A JSON object that makes the same decision again."""
        return asdict(self)
