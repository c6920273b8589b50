"""The columns of an Index: their Arrow types, and plain values turned into them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

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
DIFFICULT = ("unknown", "positive", "absent")


def empty_lists(count: int) -> pa.Array:
    """``count`` empty lists of label ids."""
    return pa.ListArray.from_arrays(pa.array(np.zeros(count + 1, dtype=np.int32)), pa.array([], pa.int32()))


def as_arrow(values: Any, kind: pa.DataType) -> pa.Array:
    """Plain values, numpy or Arrow as an Arrow array of one type."""
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if isinstance(values, pa.Array):
        if values.type == kind:
            return values
        return values.dictionary_encode().cast(kind) if pa.types.is_dictionary(kind) else values.cast(kind)
    if pa.types.is_dictionary(kind):
        return pa.array(values, pa.string()).dictionary_encode()
    if kind == LIST and len(values) and not isinstance(values[0], list):
        values = [np.asarray(value, dtype=np.int32) for value in values]
    return pa.array(values, kind)


def row_numbers(offsets: np.ndarray) -> np.ndarray:
    """For each entry of a list column the row it belongs to; int64."""
    return np.repeat(np.arange(len(offsets) - 1, dtype=np.int64), np.diff(offsets))
