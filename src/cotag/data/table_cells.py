"""The cells of a table turned into labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cotag.data.sources import Source, short
from cotag.errors import DataError

_NOTHING = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class Found:
    """Label names in the order in which the table has them, and pairs of a row and a place among them."""

    names: list[str]
    positives: tuple[np.ndarray, np.ndarray]
    unknowns: tuple[np.ndarray, np.ndarray] = (_NOTHING, _NOTHING)


def list_labels(column: pa.ChunkedArray, name: str, separator: str, source: Source, notes: list[str]) -> Found:
    """The labels of a column of lists.

    Args:
        column: N cells, text with separators or lists of text.
        name: the column's name.
        notes: takes a note where no cell holds the separator but the names look as if another were meant.

    Raises:
        DataError: a name is empty, or the column is of another type.
    """
    lists = column.combine_chunks()
    lists = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    if pa.types.is_dictionary(lists.type):
        lists = lists.cast(lists.type.value_type)
    if pa.types.is_null(lists.type):
        lists = lists.cast(pa.string())
    as_text = pa.types.is_string(lists.type) or pa.types.is_large_string(lists.type)
    if as_text:
        cells = pc.fill_null(pc.utf8_trim_whitespace(lists), "")
        lists = pc.if_else(pc.equal(cells, ""), None, pc.split_pattern(cells, separator))
    elif not (pa.types.is_list(lists.type) or pa.types.is_large_list(lists.type)):
        raise DataError(f"{source.file}: column {name!r} is of type {lists.type}; give text or lists of text")
    rows = np.asarray(pc.list_parent_indices(lists), dtype=np.int64)
    try:
        parts = pc.fill_null(pc.utf8_trim_whitespace(pc.list_flatten(lists).cast(pa.string())), "")
    except pa.ArrowException:
        raise DataError(f"{source.file}: column {name!r} is of type {lists.type}; give lists of text") from None
    empty = np.flatnonzero(pc.equal(parts, "").to_numpy(zero_copy_only=False))
    if len(empty):
        row = int(rows[empty[0]])
        raise source.error(row, f"column {name!r}: {short(column[row].as_py())} holds an empty label name; remove it")
    coded = parts.dictionary_encode()
    names: list[str] = coded.dictionary.to_pylist()
    if as_text and (np.diff(rows) > 0).all():
        other = next((sign for sign in ";,|" if any(sign in one for one in names)), None)
        if other is not None:
            notes.append(
                f"{source.file}: no cell of {name!r} holds the separator {separator!r}, but some hold {other!r}; "
                f"if that separates labels, read with separator={other}"
            )
    return Found(names, (rows, np.asarray(coded.indices, dtype=np.int64)))


def column_labels(table: pa.Table, labels: list[str], source: Source) -> Found:
    """The labels of a table with one column for each.

    Raises:
        DataError: a cell is not 1, 0 or empty.
    """
    positives, unknowns = [], []
    for name in labels:
        present, absent, empty = _states(table[name])
        wrong = np.flatnonzero(~(present | absent | empty))
        if len(wrong):
            row = int(wrong[0])
            raise source.error(
                row,
                f"label {name!r}: {short(table[name][row].as_py())} is not a target; allowed: 1 (present), 0 (absent), "
                f"empty (unknown); if it is a column of label lists read with labels={name}, if no label ignore={name}",
            )
        positives.append(np.flatnonzero(present))
        unknowns.append(np.flatnonzero(empty))
    return Found([name.strip() for name in labels], _pairs(positives), _pairs(unknowns))


def _pairs(rows: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate(rows), np.repeat(np.arange(len(rows)), [len(one) for one in rows])


def _states(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which cells are 1, which 0, which empty; a float that is not a number is none of them."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        cells = pc.fill_null(pc.utf8_trim_whitespace(column), "")
        return _among(cells, ["1", "1.0"]), _among(cells, ["0", "0.0"]), _among(cells, [""])
    empty = column.is_null().to_numpy()
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        values = column.cast(pa.float64(), safe=False).to_numpy()
        return (values == 1) & ~empty, (values == 0) & ~empty, empty
    nothing = np.zeros(len(column), dtype=bool)
    return nothing, nothing, empty


def _among(cells: pa.ChunkedArray, values: list[str]) -> np.ndarray:
    return np.asarray(pc.is_in(cells, value_set=pa.array(values, cells.type)).to_numpy(zero_copy_only=False))
