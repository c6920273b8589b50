"""What fitting a tagger gave."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

RowsAndLogits = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Fitted:
    """What fitting gave besides the tagger's weights.

    Attributes:
        scores: for ``choose`` and ``test``, the rows int64 (N,) and float32 logits (N, K).
        history: a dictionary of numbers for each epoch or strength.
        seconds: how long the parts took.
        skipped: rows of images that could not be read, with the reason.
        weight_decay: the strength that was used.
        baseline: what a linear head reaches on the same features, in words; empty where the head is linear itself or
            nothing that it could use was computed.
    """

    scores: dict[str, RowsAndLogits]
    history: list[dict[str, float]]
    seconds: dict[str, float]
    skipped: dict[int, str] = field(default_factory=dict)
    weight_decay: float = 0.0
    baseline: str = ""
