"""How often each label is present, and how often that is known, among the images that train."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LabelCounts:
    """Counts of the images that train.

    Attributes:
        present_K: images that have each label, int64.
        known_K: images of which it is known whether they have it, int64.
    """

    present_K: np.ndarray
    known_K: np.ndarray

    @classmethod
    def of(cls, targets_NK: np.ndarray) -> LabelCounts:
        """Count targets: 1 present, 0 absent, -1 unknown."""
        return cls((targets_NK == 1).sum(0), (targets_NK >= 0).sum(0))
