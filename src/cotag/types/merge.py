"""Joining two indexes by label name."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa

from cotag.errors import DataError, suggestion
from cotag.types.columns import LISTS, OBJECTS, SCHEMA, TRIPLETS
from cotag.types.index import Index
from cotag.types.labels import LabelSpace
from cotag.types.places import place_of, whole

MISSING = ("unknown", "absent")


def merge(first: Index, second: Index, missing: str = "unknown", prefix: str = "") -> Index:
    """The rows of both, with the union of their labels, matched by name and never by position.

    Args:
        missing: what a label counts as in the rows of the index that does not know it: ``unknown`` (nobody
            looked for it) or ``absent``.
        prefix: put before every id of the second, where both use the same ids.

    Raises:
        DataError: an id stands in both.
    """
    if missing not in MISSING:
        raise DataError(f"missing={missing!r} is not known{suggestion(missing, MISSING)}")
    both = set(first.ids) & {prefix + name for name in second.ids}
    if both:
        raise DataError(f"image id {sorted(both)[0]!r} stands in both; give prefix=... for the second's ids")
    space = first.label_space.union(second.label_space)
    objects = first.object_space
    if second.object_space is not None:
        objects = objects.union(second.object_space) if objects else second.object_space
    same_root = whole(first.root) == whole(second.root)
    columns: dict[str, pa.Array] = {}
    parts = [_moved(index, space, objects, missing, not same_root) for index in (first, second)]
    if prefix:
        parts[1]["id"] = pa.array([prefix + name for name in second.ids])
    for name, kind in SCHEMA.items():
        if not any(name in part for part in parts):
            continue
        plain = pa.string() if name == "split" else kind
        columns[name] = pa.chunked_array(
            [
                part[name].cast(plain) if name in part else _empty(name, plain, len(index))
                for part, index in zip(parts, (first, second), strict=True)
            ]
        ).combine_chunks()
    return Index.build(columns, space, first.root if same_root else ".", objects, first.notes + second.notes)


def _empty(name: str, kind: pa.DataType, count: int) -> pa.Array:
    return pa.array([[]] * count, kind) if pa.types.is_list(kind) else pa.nulls(count, kind)


def _moved(
    index: Index, space: LabelSpace, objects: LabelSpace | None, missing: str, absolute: bool
) -> dict[str, pa.Array]:
    """The columns of an index with label ids of another label space."""
    place = index.label_space.positions_in(space).astype(np.int32)
    columns = {name: index.table[name].combine_chunks() for name in index.table.column_names}
    for name in LISTS:
        if name in columns:
            offsets, labels = index.lists(name)
            columns[name] = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(place[labels]))
    absent = np.setdiff1d(np.arange(len(space)), place).astype(np.int32)
    if missing == "unknown" and len(absent):
        offsets, labels = index.lists("unknowns")
        moved = [np.concatenate((place[labels[a:b]], absent)) for a, b in itertools.pairwise(offsets)]
        columns["unknowns"] = pa.array(moved, SCHEMA["unknowns"])
    if absolute:
        columns["image"] = pa.array([whole(place) for place in index.images()])
    if "triplets" in columns:
        columns["triplets"] = _renumbered(columns["triplets"], "predicate", place, TRIPLETS)
    if "objects" in columns and index.object_space is not None and objects is not None:
        columns["objects"] = _renumbered(
            columns["objects"], "category", index.object_space.positions_in(objects).astype(np.int32), OBJECTS
        )
    if absolute and "segments" in columns:
        columns["segments"] = pa.array(
            [None if name is None else whole(place_of(index.root, name)) for name in columns["segments"].to_pylist()],
            pa.string(),
        )
    return columns


def _renumbered(lists: pa.Array, key: str, place: np.ndarray, kind: pa.DataType) -> pa.Array:
    """A list-of-struct column with one field mapped through ``place``."""
    lists = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    values = lists.flatten()
    fields = {field.name: values.field(field.name) for field in values.type}
    fields[key] = pa.array(place[fields[key].to_numpy(zero_copy_only=False)])
    struct = pa.StructArray.from_arrays(list(fields.values()), names=list(fields))
    offsets = np.concatenate(([0], np.cumsum(np.asarray(lists.value_lengths().fill_null(0))))).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), struct).cast(kind)
