"""Targets of many images, dense or sparse, read by rows and by labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cotag.errors import ScoresError

# (place of a label in its strip, its scores of all images) -> scores of its known images, and of its positives
Split = Callable[[int, np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, eq=False)
class DenseTargets:
    """Targets as an array.

    Args:
        targets_NK: int8; 1 present, 0 absent, -1 unknown.
    """

    targets_NK: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """(N, K)"""
        return self.targets_NK.shape[0], self.targets_NK.shape[1]

    def rows(self, first: int, last: int) -> np.ndarray:
        """The targets of some images; int8 (last - first, K)."""
        return self.targets_NK[first:last]

    def strip(self, first: int, last: int) -> Split:
        """What splits the scores of the labels ``first`` to ``last - 1``."""
        targets_LN = np.ascontiguousarray(self.targets_NK[:, first:last].T)

        def split(place: int, score_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            target_N = targets_LN[place]
            positive = score_N[target_N == 1]
            return (score_N if target_N.min(initial=0) >= 0 else score_N[target_N >= 0]), positive

        return split


@dataclass(frozen=True, eq=False)
class SparseTargets:
    """Targets as lists of label numbers, for thousands of labels; what no list names is absent.

    Args:
        offsets: whole numbers (N + 1,); the positives of image n are ``labels[offsets[n] : offsets[n + 1]]``.
        labels: numbers of the positive labels, 0 to size - 1, each at most once for an image.
        size: K.
        unknown_offsets, unknown_labels: the unknown labels in the same way; none where not given.

    Raises:
        ScoresError: offsets or labels that cannot be, or a label that is named twice for an image.
    """

    offsets: np.ndarray
    labels: np.ndarray
    size: int
    unknown_offsets: np.ndarray | None = None
    unknown_labels: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.unknown_offsets is None or self.unknown_labels is None:
            object.__setattr__(self, "unknown_offsets", np.zeros_like(self.offsets))
            object.__setattr__(self, "unknown_labels", np.zeros(0, dtype=np.int32))
        keys = []
        for what in ("", "unknown_"):
            offsets, labels = getattr(self, f"{what}offsets"), getattr(self, f"{what}labels")
            if len(offsets) != len(self.offsets) or offsets[0] or offsets[-1] != len(labels):
                raise ScoresError(
                    f"{what}offsets: must be {len(self.offsets)} numbers from 0 to {len(labels)}, the number of "
                    f"{what}labels; given {len(offsets)}, ending at {offsets[-1]}"
                )
            if (np.diff(offsets) < 0).any():
                raise ScoresError(f"{what}offsets: must not fall; image {int((np.diff(offsets) < 0).argmax())} does")
            if len(labels) and not 0 <= labels.min() <= labels.max() < self.size:
                raise ScoresError(f"{what}labels: {labels.min()} to {labels.max()}; allowed: 0 to {self.size - 1}")
            keys.append(np.repeat(np.arange(len(offsets) - 1), np.diff(offsets)) * self.size + labels)
        key = np.sort(np.concatenate(keys))
        if (key[1:] == key[:-1]).any():
            row, label = divmod(int(key[1:][key[1:] == key[:-1]][0]), self.size)
            raise ScoresError(f"image {row}: label {label} stands twice, or as present and unknown; name it once")

    @property
    def shape(self) -> tuple[int, int]:
        """(N, K)"""
        return len(self.offsets) - 1, self.size

    def rows(self, first: int, last: int) -> np.ndarray:
        """The targets of some images; int8 (last - first, K)."""
        dense = np.zeros((last - first, self.size), dtype=np.int8)
        for value, offsets, labels in self._lists():
            part = offsets[first : last + 1]
            dense[np.repeat(np.arange(last - first), np.diff(part)), labels[part[0] : part[-1]]] = value
        return dense

    def of_labels(self, kept_K: np.ndarray) -> SparseTargets:
        """The targets of some labels, which are numbered anew; ``kept_K`` is bool."""
        number_K = np.cumsum(kept_K) - 1
        found = []
        for _, offsets, labels in self._lists():
            counted = np.concatenate(([0], np.cumsum(kept_K[labels])))
            found += [counted[offsets], number_K[labels[kept_K[labels]]]]
        return SparseTargets(found[0], found[1], int(kept_K.sum()), found[2], found[3])

    def strip(self, first: int, last: int) -> Split:
        """What splits the scores of the labels ``first`` to ``last - 1``."""
        by_label = []
        for _, offsets, labels in self._lists():
            chosen = np.flatnonzero((labels >= first) & (labels < last))
            chosen = chosen[np.argsort(labels[chosen], kind="stable")]
            rows = np.searchsorted(offsets, chosen, side="right") - 1
            by_label.append((rows, np.searchsorted(labels[chosen], np.arange(first, last + 1))))
        (positives, starts), (unknowns, unknown_starts) = by_label

        def split(place: int, score_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            unknown = unknowns[unknown_starts[place] : unknown_starts[place + 1]]
            positive = score_N[positives[starts[place] : starts[place + 1]]]
            return (np.delete(score_N, unknown) if len(unknown) else score_N), positive

        return split

    def _lists(self) -> list[tuple[int, np.ndarray, np.ndarray]]:
        assert self.unknown_offsets is not None
        assert self.unknown_labels is not None
        return [(1, self.offsets, self.labels), (-1, self.unknown_offsets, self.unknown_labels)]


Targets = DenseTargets | SparseTargets
