"""Which labels images hold, as lists; what samplers look at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cotag.types.index import Index


@dataclass(frozen=True)
class Holdings:
    """The labels of N images, sparse: ten thousand labels of a million images are no matrix.

    Attributes:
        images: N.
        labels: K.
        rows_P, labels_P: of the P positives the image, from 0 to N - 1, and the label.
        rows_U, labels_U: the same of what is unknown, which counts neither as present nor as absent.
    """

    images: int
    labels: int
    rows_P: np.ndarray
    labels_P: np.ndarray
    rows_U: np.ndarray
    labels_U: np.ndarray

    @classmethod
    def of_index(cls, index: Index, rows: np.ndarray, difficult: str = "unknown") -> Holdings:
        """Of some images of an Index.

        Args:
            rows: N row numbers.
            difficult: what a label marked difficult counts as; see ``Index.targets``.
        """
        pairs: list[np.ndarray] = []
        for kind, column in (("positive", "positives"), ("unknown", "unknowns")):
            found = [index.entries(name, rows) for name in ((column, "difficult") if kind == difficult else (column,))]
            pairs += [np.concatenate(part) if len(found) > 1 else part[0] for part in zip(*found, strict=True)]
        return cls(len(rows), len(index.label_space), *pairs)

    @classmethod
    def of_targets(cls, targets_NK: np.ndarray) -> Holdings:
        """Of dense targets: 1, 0, or -1 for unknown."""
        return cls(*targets_NK.shape, *np.nonzero(targets_NK == 1), *np.nonzero(targets_NK == -1))

    def counts(self) -> np.ndarray:
        """Images that hold each label; int64 (K,)."""
        return np.bincount(self.labels_P, minlength=self.labels)

    def known(self) -> np.ndarray:
        """Images of which it is known whether they hold each label; int64 (K,)."""
        return self.images - np.bincount(self.labels_U, minlength=self.labels)

    def labels_of_each(self) -> np.ndarray:
        """How many labels each image holds; int64 (N,)."""
        return np.bincount(self.rows_P, minlength=self.images)

    def holding(self, members_K: np.ndarray) -> np.ndarray:
        """bool (N,): images that hold one of these labels, bool (K,)."""
        return np.bincount(self.rows_P[members_K[self.labels_P]], minlength=self.images) > 0

    def unsure(self, members_K: np.ndarray) -> np.ndarray:
        """bool (N,): images of which one of these labels is unknown."""
        return np.bincount(self.rows_U[members_K[self.labels_U]], minlength=self.images) > 0

    def histogram(self, factors_N: np.ndarray) -> np.ndarray:
        """How many images hold each label, each counted ``factors_N`` times; float64 (K,)."""
        return np.bincount(self.labels_P, weights=factors_N[self.rows_P], minlength=self.labels)
