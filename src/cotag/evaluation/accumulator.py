"""Scores that come in batches, perhaps in several processes: gathered by row, each row once."""

from __future__ import annotations

from typing import Any

import numpy as np

from cotag.errors import ScoresError
from cotag.types.labels import LabelSpace
from cotag.types.scores import Scores


class Accumulator:
    """Collects batches of scores; rows that come twice (padded batches) are kept once.

    It can be pickled, so a process can send it to another (``accelerate.utils.gather_object([accumulator])``).

    Args:
        label_space: the K labels.
        kind: ``logit`` or ``probability``; declared, never guessed.
    """

    def __init__(self, label_space: LabelSpace, kind: str) -> None:
        self.label_space, self.kind = label_space, kind
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def add(self, rows: Any, scores: Any, targets: Any) -> None:
        """Take a batch; arrays, or tensors in main memory that need no gradient.

        Args:
            rows: whole numbers (B,), which name the images; the same in every process.
            scores: float32 or float64 (B, K).
            targets: (B, K); 1 present, 0 absent, -1 unknown.

        Raises:
            ScoresError: shapes that do not fit, or scores of half precision.
        """
        # Copies: a loader may write its next batch into the same memory.
        rows_B, scores_BK = np.array(np.asarray(rows), dtype=np.int64), np.array(np.asarray(scores))
        targets_BK = np.asarray(targets).astype(np.int8)
        shape = (len(rows_B), len(self.label_space))
        if scores_BK.shape != shape or targets_BK.shape != shape:
            raise ScoresError(f"batch: scores {scores_BK.shape} and targets {targets_BK.shape}; both must be {shape}")
        if scores_BK.dtype not in (np.float32, np.float64):
            raise ScoresError(f"batch: scores are {scores_BK.dtype}; allowed: float32, float64 (half loses ranks)")
        self._parts.append((rows_B, scores_BK, targets_BK))

    def merge(self, other: Accumulator) -> None:
        """Take all that another one collected, from another process for example.

        Raises:
            LabelSpaceError: it has other labels.
            ScoresError: it has another kind of scores.
        """
        self.label_space.require_same(other.label_space, "accumulators")
        if self.kind != other.kind:
            raise ScoresError(f"a {self.kind} and a {other.kind} cannot be ranked together; collect one kind")
        self._parts += other._parts

    def result(self) -> Scores:
        """The scores of all rows in rising order, each once as it came first; an id is the row as text.

        Raises:
            ScoresError: nothing was added, a row came with different targets, or a score is not allowed.
        """
        if not self._parts:
            raise ScoresError("nothing was collected; add a batch first")
        rows, scores, targets = (np.concatenate(some) for some in zip(*self._parts, strict=True))
        unique, first, place = np.unique(rows, return_index=True, return_inverse=True)
        changed = (targets != targets[first][place]).any(1)
        if changed.any():
            row = rows[changed.argmax()]
            raise ScoresError(f"row {row} came twice with different targets; give every image a row of its own")
        return Scores([str(row) for row in unique], scores[first], targets[first], self.kind, self.label_space)
