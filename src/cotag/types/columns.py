"""The columns of an Index: their Arrow types, and plain values turned into them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from cotag.errors import DataError

LIST = pa.list_(pa.int32())
OBJECTS = pa.list_(
    pa.struct(
        {
            "category": pa.int32(),
            "box": pa.list_(pa.float32(), 4),
            "mask": pa.binary(),
            "crowd": pa.bool_(),
            "segment": pa.int32(),
        }
    )
)
TRIPLETS = pa.list_(pa.struct({"subject": pa.int32(), "predicate": pa.int32(), "object": pa.int32()}))

SCHEMA: dict[str, pa.DataType] = {
    "id": pa.string(),
    "image": pa.string(),
    "positives": LIST,
    "unknowns": LIST,
    "difficult": LIST,
    "split": pa.dictionary(pa.int32(), pa.string()),
    "width": pa.int32(),
    "height": pa.int32(),
    "objects": OBJECTS,
    "segments": pa.string(),
    "triplets": TRIPLETS,
}
LISTS = ("positives", "unknowns", "difficult")
DIFFICULT = ("unknown", "positive", "absent")


def empty_lists(count: int) -> pa.Array:
    """``count`` empty lists of label ids."""
    return pa.ListArray.from_arrays(pa.array(np.zeros(count + 1, dtype=np.int32)), pa.array([], pa.int32()))


def as_arrow(name: str, values: Any) -> pa.Array:
    """A column's plain values, numpy or Arrow as an Arrow array of the column's type.

    Raises:
        DataError: the values cannot be of that type.
    """
    kind = SCHEMA[name]
    try:
        if isinstance(values, pa.ChunkedArray):
            values = values.combine_chunks()
        if not isinstance(values, pa.Array):
            values = _from_plain(values, kind)
        if pa.types.is_dictionary(kind) and not pa.types.is_dictionary(values.type):
            values = values.cast(pa.string()).dictionary_encode()
        return values if values.type == kind else values.cast(kind)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise DataError(f"column {name!r}: {str(error).splitlines()[0]}; it must hold {kind}") from error


def _from_plain(values: Any, kind: pa.DataType) -> pa.Array:
    if pa.types.is_dictionary(kind):
        return pa.array(values, pa.string())
    if kind != LIST and not pa.types.is_integer(kind):
        return pa.array(values, kind)
    # given the type, Arrow would cut 0.5 down to 0 without a word; a cast refuses
    found = pa.array(values)
    if pa.types.is_list(found.type) and pa.types.is_string(found.type.value_type):
        raise TypeError("label ids are numbers, and these are text")
    return found


def list_parts(column: pa.ChunkedArray) -> tuple[np.ndarray, pa.Array]:
    """A list column as (offsets int (N + 1,) from 0, all entries), without a copy where it lies in one piece."""
    array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    offsets = array.offsets.to_numpy()
    first, last = int(offsets[0]), int(offsets[-1])
    return (offsets - first if first else offsets), array.values.slice(first, last - first)


def row_numbers(offsets: np.ndarray) -> np.ndarray:
    """For each entry of a list column the row it belongs to; int64."""
    return np.repeat(np.arange(len(offsets) - 1, dtype=np.int64), np.diff(offsets))


def checked_rows(rows: Any, count: int) -> np.ndarray:
    """Row numbers as int64.

    Raises:
        DataError: a row is not from 0 to ``count - 1``, or ``rows`` is a mask.
    """
    rows = np.asarray(rows)
    if not rows.size:
        return rows.astype(np.int64)
    if not np.issubdtype(rows.dtype, np.integer):
        raise DataError(f"rows are {rows.dtype}; give row numbers (numpy.flatnonzero makes them of a mask)")
    if rows.min() < 0 or rows.max() >= count:
        outside = rows[(rows < 0) | (rows >= count)][0]
        raise DataError(f"row {outside} does not exist; there are the rows 0 to {count - 1}")
    return rows.astype(np.int64, copy=False)
