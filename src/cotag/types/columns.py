"""The columns of an Index: their Arrow types, and plain values turned into them."""

from __future__ import annotations

from collections.abc import Iterator
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
MOST_TEXT = 2**31 - 2**20
"""The most bytes of text that a column holds with offsets of 32 bits, some left for the offsets' own."""
BLOCK = 2**19
"""So many rows are gathered at a time: ten million at once would take gigabytes on the way."""


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
        if not isinstance(values, pa.Array | pa.ChunkedArray):
            values = _from_plain(values, kind)
        if kind == pa.string():
            return _text(values)
        if isinstance(values, pa.ChunkedArray):
            values = values.combine_chunks()
        if pa.types.is_dictionary(kind) and not pa.types.is_dictionary(values.type):
            values = values.cast(pa.string()).dictionary_encode()
        return values if values.type == kind else values.cast(kind)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise DataError(f"column {name!r}: {str(error).splitlines()[0]}; it must hold {kind}") from error


def _text(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Text in one piece; with offsets of 64 bits where it is more than those of 32 bits reach."""
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        values = values.cast(pa.string())
    wide = values.nbytes > MOST_TEXT
    values = values.cast(pa.large_string() if wide else pa.string())
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


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
    offsets = integers(array.offsets)
    first, last = int(offsets[0]), int(offsets[-1])
    return (offsets - first if first else offsets), array.values.slice(first, last - first)


def codes_of(column: pa.ChunkedArray) -> tuple[np.ndarray, list[str]]:
    """A dictionary column as (int32 (N,) places among its names, -1 for null; the names)."""
    column = column.unify_dictionaries()
    if not column.num_chunks:
        return np.zeros(0, dtype=np.int32), []
    parts = [integers(chunk.indices.fill_null(-1) if chunk.null_count else chunk.indices) for chunk in column.chunks]
    codes = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return codes, column.chunk(0).dictionary.to_pylist()


def integers(array: pa.Array) -> np.ndarray:
    """Numbers of 32 bits without nulls as numpy, without a copy.

    Arrow's own ``to_numpy`` imports pandas first, which takes longer than an Index takes to open.
    """
    if not len(array):
        return np.zeros(0, dtype=np.int32)
    return np.frombuffer(array.buffers()[1], dtype=np.int32)[array.offset : array.offset + len(array)]


def gather(offsets: np.ndarray, values: np.ndarray, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The entries of some rows of a list column, a block of rows at a time: (places in ``rows`` int64, the entries)."""
    for begin in range(0, len(rows), BLOCK):
        block = rows[begin : begin + BLOCK]
        starts = offsets[block].astype(np.int64)
        lengths = offsets[block + 1] - starts
        before = np.concatenate(([0], np.cumsum(lengths)[:-1]))
        places = np.repeat(np.arange(begin, begin + len(block)), lengths)
        yield places, values[np.repeat(starts - before, lengths) + np.arange(len(places))]


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
