"""How many images have each label, and each pair of labels: what a label graph is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cotag.data.cooccurrence import pair_counts
from cotag.errors import DataError, SettingError, suggestion
from cotag.types.index import Index
from cotag.types.labels import LabelSpace

if TYPE_CHECKING:
    from scipy.sparse import csr_array

UNKNOWNS = ("absent", "left_out")


@dataclass(frozen=True, eq=False)
class LabelCounts:
    """Counts of labels and of pairs of labels over images.

    Args:
        label_space: the K labels.
        images: how many images were counted; None where a file does not say.
        counts_K: images with each label; int64.
        pairs_KK: images with both labels; sparse int64, symmetric, zero on the diagonal.
        unsure_KK: images with label A (row) where it is not known whether they have B (column), which
            ``conditional`` leaves out; sparse int64. None where an unknown label counts as absent.

    Raises:
        DataError: the numbers cannot be counts of images.
    """

    label_space: LabelSpace
    images: int | None
    counts_K: np.ndarray
    pairs_KK: csr_array
    unsure_KK: csr_array | None = None

    def __post_init__(self) -> None:
        from scipy.sparse import csr_array

        # a copy in one form: sorted, each pair once, no zeros
        pairs_KK = csr_array(self.pairs_KK, copy=True)
        pairs_KK.sum_duplicates()
        pairs_KK.eliminate_zeros()
        object.__setattr__(self, "pairs_KK", pairs_KK)
        _check_counts(self)

    def conditional(self) -> csr_array:
        """P(B | A) in row A and column B; float64 (K, K). A label without images has a row of zeros."""
        found = self.pairs_KK.astype(np.float64)
        known = np.repeat(self.counts_K, np.diff(found.indptr))
        if self.unsure_KK is not None:
            pairs = found.tocoo()
            known = known - np.asarray(self.unsure_KK[pairs.row, pairs.col]).ravel()
        # one division each, so that 2 of 5 is 0.4 and an edge at tau = 0.4
        found.data /= known
        return found

    def taken(self, order: np.ndarray) -> LabelCounts:
        """The counts of label ``order[k]`` at place k, under the names that stand there."""
        unsure_KK = None if self.unsure_KK is None else self.unsure_KK[order][:, order].tocsr()
        return LabelCounts(
            self.label_space, self.images, self.counts_K[order], self.pairs_KK[order][:, order].tocsr(), unsure_KK
        )


def count_labels(index: Index, rows: np.ndarray | None = None, unknown: str = "absent") -> LabelCounts:
    """Count in one pass which labels come together.

    Args:
        rows: the row numbers to count; all rows where not given.
        unknown: what an unknown or difficult label counts as: ``absent`` (as published), or ``left_out``: P(B | A) is
            then the share among the images with A where B is known.

    Raises:
        SettingError: ``unknown`` is something else.
        DataError: there is no image, or a row does not exist.
    """
    from scipy.sparse import csr_array

    if unknown not in UNKNOWNS:
        raise SettingError(f"graph.unknown = {unknown!r} is not known{suggestion(unknown, UNKNOWNS)}")
    images = len(index) if rows is None else len(rows)
    if not images:
        raise DataError("the label graph needs images to count; given none; check the data or the split")
    found = pair_counts(index, rows=rows)
    counts_K = found.diagonal()
    found.setdiag(0)
    unsure_KK = None
    if unknown == "left_out":
        unsure_KK = csr_array(pair_counts(index, "unknowns", rows) + pair_counts(index, "difficult", rows))
    return LabelCounts(index.label_space, images, counts_K, found, unsure_KK)


def _check_counts(given: LabelCounts) -> None:
    """Raise DataError where numbers cannot be counts of images with labels and pairs of labels."""
    names, counts_K, pairs_KK = given.label_space.names, given.counts_K, given.pairs_KK
    size = len(names)
    if counts_K.shape != (size,) or pairs_KK.shape != (size, size):
        shapes = f"{' x '.join(map(str, counts_K.shape))} counts and {' x '.join(map(str, pairs_KK.shape))} pairs"
        raise DataError(f"{shapes} are given for {size} labels; give one count for each label and K x K pairs")
    if counts_K.dtype != np.int64 or pairs_KK.dtype != np.int64:
        raise DataError(f"counts are {counts_K.dtype} and pairs {pairs_KK.dtype}; give whole numbers (int64)")
    if (counts_K < 0).any():
        label = int(np.argmin(counts_K))
        raise DataError(f"label {names[label]!r} has {counts_K[label]} images; give counts of 0 or more")
    if given.images is not None and counts_K.max() > given.images:
        label = int(np.argmax(counts_K))
        raise DataError(f"label {names[label]!r} has {counts_K[label]} of {given.images} images; give all images")
    pairs = pairs_KK.tocoo()
    for wrong, what in (
        (pairs.data < 0, "below 0"),
        ((pairs.row == pairs.col) & (pairs.data != 0), "a label with itself; set the diagonal to 0"),
        (pairs.data > np.minimum(counts_K[pairs.row], counts_K[pairs.col]), "more than one of them has alone"),
    ):
        if wrong.any():
            place = int(np.argmax(wrong))
            a, b = names[pairs.row[place]], names[pairs.col[place]]
            raise DataError(f"{a!r} and {b!r} come together in {pairs.data[place]} images: {what}")
    if (pairs_KK != pairs_KK.T).nnz:
        row, column = (int(part[0]) for part in (pairs_KK != pairs_KK.T).nonzero())
        raise DataError(
            f"pairs differ between {names[row]!r} and {names[column]!r} by direction; give images with both"
        )
