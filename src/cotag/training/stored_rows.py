"""Rows of arrays that lie on disk, read when they are asked for."""

from __future__ import annotations

from typing import Any

import numpy as np


class StoredRows:
    """Rows out of memory-mapped arrays, as if they were one array.

    ``rows[numbers]`` reads them into a plain array, ``rows.of(numbers)`` names a part of them without reading.

    Args:
        arrays: memory-mapped, (any number, ...) each.
        places_N2: for each row the number of its array and the row there.
        row_shape: of one row.
        dtype: of all arrays.
        keeps: what must live as long as the rows are in use.
    """

    def __init__(
        self, arrays: list[np.ndarray], places_N2: np.ndarray, row_shape: tuple[int, ...], dtype: Any, keeps: Any = None
    ) -> None:
        self.arrays, self.places_N2 = arrays, places_N2
        self.shape, self.dtype = (len(places_N2), *row_shape), np.dtype(dtype)
        self.keeps = keeps

    def __len__(self) -> int:
        return len(self.places_N2)

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """The size of all rows in bytes."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def __getitem__(self, numbers: Any) -> np.ndarray:
        places = self.places_N2[numbers]
        if places.ndim == 1:
            return np.array(self.arrays[places[0]][places[1]])
        found = np.empty((len(places), *self.shape[1:]), dtype=self.dtype)
        for number in np.unique(places[:, 0]):
            here = np.flatnonzero(places[:, 0] == number)
            found[here] = self.arrays[number][places[here, 1]]
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)

    def of(self, numbers: np.ndarray) -> StoredRows:
        """The rows of these numbers, in their order; nothing is read."""
        return StoredRows(self.arrays, self.places_N2[numbers], self.shape[1:], self.dtype, self.keeps)


Rows = np.ndarray | StoredRows


def part_of(rows: Rows, numbers: np.ndarray) -> Rows:
    """The rows of these numbers; what lies on disk stays there."""
    return rows.of(numbers) if isinstance(rows, StoredRows) else rows[numbers]


def joined_rows(first: Rows, second: Rows) -> Rows:
    """The rows of both; what lies on disk stays there."""
    if not (isinstance(first, StoredRows) and isinstance(second, StoredRows)):
        return np.concatenate([np.asarray(first), np.asarray(second)])
    moved = second.places_N2 + np.array([len(first.arrays), 0], dtype=second.places_N2.dtype)
    places = np.concatenate([first.places_N2, moved])
    keeps = (first.keeps, second.keeps)
    return StoredRows([*first.arrays, *second.arrays], places, first.shape[1:], first.dtype, keeps)
