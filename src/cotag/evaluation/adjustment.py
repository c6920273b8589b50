"""What the labels' scores are changed by before they are ranked."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cotag.errors import SettingError
from cotag.types.scores import Scores

OFFSETS, MULTIPLIERS = "logit_offsets", "multipliers"
SCALES = (OFFSETS, MULTIPLIERS)


@dataclass(frozen=True)
class Adjustment:
    """A number for each label by which its score is changed before the labels of an image are ranked.

    Args:
        scale: ``logit_offsets``: the values are added to the logits (the odds are multiplied by exp(value));
            ``multipliers``: the probabilities are multiplied by the values, which are above 0. A product may be over 1;
            it ranks labels and is no probability.
        values: K finite numbers.

    Source: for the multipliers eq. 2 of S. Zhang's report on PSG classification (NTU CE7454, 2022).

    Raises:
        SettingError: a value that is not finite, or a multiplier of 0 or less.
    """

    scale: str
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        assert self.scale in SCALES
        object.__setattr__(self, "values", tuple(float(value) for value in self.values))
        if not all(map(math.isfinite, self.values)):
            raise SettingError(f"{self.scale}: every value must be a finite number")
        if self.scale == MULTIPLIERS and min(self.values, default=1) <= 0:
            raise SettingError(f"multipliers: {min(self.values):g} is given; every multiplier must be above 0")

    def order(self, scores: Scores) -> np.ndarray:
        """What the labels are ranked by: changed logits, or logarithms of changed probabilities; float64 (N, K)."""
        if self.scale == OFFSETS:
            return logits_of(scores) + np.array(self.values)
        return log_probabilities_of(scores) + np.log(self.values)

    def describe(self) -> str:
        """In words, for a report."""
        what = "odds" if self.scale == OFFSETS else "probabilities"
        factors = np.exp(np.array(self.values)) if self.scale == OFFSETS else np.array(self.values)
        changed = np.unique(factors[factors != 1])
        if len(changed) == 1 and (factors == 1).any():
            count = int((factors != 1).sum())
            return f"the {what} of {count} of {len(factors)} labels were multiplied by {changed[0]:.4g}"
        low, high = factors.min(), factors.max()
        return f"the labels' {what} were multiplied by {low:.3g}" + (f" to {high:.3g}" if high > low else "")


def logits_of(scores: Scores) -> np.ndarray:
    """The scores as logits; float64 (N, K), finite also at the probabilities 0 and 1."""
    values = scores.scores_NK.astype(np.float64)
    if scores.kind == "logit":
        return values
    values = np.clip(values, np.finfo(np.float64).tiny, 1 - np.finfo(np.float64).epsneg)
    logits_NK: np.ndarray = np.log(values) - np.log1p(-values)
    return logits_NK


def log_probabilities_of(scores: Scores) -> np.ndarray:
    """Logarithms of the probabilities; float64 (N, K), finite also at 0, which counts as the smallest number there is.

    They rank as the probabilities do, and keep apart what a product of small probabilities would round to one.
    """
    values = scores.scores_NK.astype(np.float64)
    if scores.kind == "logit":
        found: np.ndarray = -np.logaddexp(0, -values)
        return found
    return np.log(np.maximum(values, np.finfo(np.float64).tiny))
