"""What must hold of the columns of an Index."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cotag.errors import DataError
from cotag.types.columns import LISTS, list_parts, row_numbers

if TYPE_CHECKING:
    from cotag.types.index import Index


def check_index(index: Index) -> None:
    """Raise DataError at the first row of an Index that cannot be right."""
    _check_names(index)
    _check_labels(index)
    if "objects" in index.table.column_names:
        _check_objects(index)
    if "triplets" in index.table.column_names:
        _check_triplets(index)


def _check_names(index: Index) -> None:
    for name in ("image", "id"):
        if index.table[name].null_count:
            row = pc.index(index.table[name].is_null(), True).as_py()
            raise DataError(f"row {row}: {name!r} is empty; give every image one")
    if pc.count_distinct(index.table["id"]).as_py() != len(index):
        counts = index.table["id"].value_counts()
        double = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")[0]
        raise DataError(f"image id {double.as_py()!r} stands twice; give every row an id of its own")


def _check_labels(index: Index) -> None:
    size = len(index.label_space)
    keys = []
    for name in LISTS:
        if name not in index.table.column_names:
            continue
        column = index.table[name]
        if column.null_count:
            row = pc.index(column.is_null(), True).as_py()
            raise DataError(f"row {row}: {name!r} is null; give an empty list where there are none")
        offsets, labels = list_parts(column)
        keys.append(row_numbers(offsets) * size + _inside(name, "label id", offsets, labels, size))
    unique, counts = np.unique(np.concatenate(keys), return_counts=True)
    if (counts > 1).any():
        row, label = divmod(int(unique[counts > 1][0]), size)
        raise DataError(
            f"row {row} ({index.ids_of([row])[0]}): label {index.label_space.names[label]!r} stands twice, "
            "or as present and as unknown; name it once"
        )


def _check_objects(index: Index) -> None:
    if index.object_space is None:
        raise DataError("objects are given without object_space; their categories count in it")
    offsets, objects = list_parts(index.table["objects"])
    _inside("objects", "category", offsets, objects.field("category"), len(index.object_space))


def _check_triplets(index: Index) -> None:
    offsets, triplets = list_parts(index.table["triplets"])
    _inside("triplets", "predicate", offsets, triplets.field("predicate"), len(index.label_space))
    rows = row_numbers(offsets)
    count = np.zeros(len(index), dtype=np.int64)
    if "objects" in index.table.column_names:
        count = np.diff(list_parts(index.table["objects"])[0])
    for name in ("subject", "object"):
        values = np.asarray(triplets.field(name))
        bad = np.flatnonzero((values < 0) | (values >= count[rows]))
        if len(bad):
            row = rows[bad[0]]
            raise DataError(
                f"row {row}: a triplet's {name} is object {values[bad[0]]}, and it has {count[row]} objects"
            )


def _inside(column: str, what: str, offsets: np.ndarray, numbers: pa.Array, size: int) -> np.ndarray:
    """The numbers, after it was seen that each is from 0 to ``size - 1``."""
    values = np.asarray(numbers.fill_null(-1))
    bad = np.flatnonzero((values < 0) | (values >= size))
    if len(bad):
        row = int(np.searchsorted(offsets, bad[0], side="right")) - 1
        raise DataError(f"row {row}: {what} {numbers[int(bad[0])]} in {column!r} is outside 0 to {size - 1}")
    return values
