"""CSV and Parquet files opened as Arrow tables, and where a row stands in them."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from cotag.data.parquet_cells import cell_reference, holds_pictures, largest_group
from cotag.data.shard_names import below, common_folder, files_of, is_pattern, split_of
from cotag.data.sources import PathLike, Source, first_bytes, require_file, short
from cotag.errors import DataError, FormatError, listing

LARGE_GROUP = 4e6
"""Bytes of pictures in a row group from which on it is said what that costs."""


@dataclass(frozen=True)
class Opened:
    """A table, and how its rows are named in messages.

    Attributes:
        root: the folder of its files.
        splits: for each row the split that its file's name tells, where there are several files; else empty.
        pictures: whether the table holds the pictures themselves; its references then name the cells.
        notes: what is worth saying.
    """

    table: pa.Table
    source: Source
    root: Path
    splits: list[str | None] = field(default_factory=list)
    pictures: bool = False
    notes: tuple[str, ...] = ()


def open_tables(path: PathLike, image: str, allowed: Collection[str]) -> Opened:
    """The table of a CSV or Parquet file, or of several Parquet files that a pattern stands for, one after the other.

    Args:
        image: the column of references or pictures.
        allowed: names of splits.

    Raises:
        FormatError: a file is neither.
        DataError: no file is there, the files have different columns, a line has more or fewer cells than the header,
            two columns have one name, or there is no row.
    """
    if not is_pattern(os.fspath(path)):
        file = require_file(path)
        parquet = first_bytes(file, 4) == b"PAR1"
        table, notes = _with_references(file, file.parent, image) if parquet else (_csv(file), [])
        _require_rows(table, file)
        source = Source(file, _row_name if parquet else lambda row: f"line {_line(file, row)}")
        return Opened(table, source, file.parent, pictures=_holds_references(table), notes=tuple(notes))
    files = files_of(os.fspath(path), "a table")
    root = common_folder(files)
    parts: list[pa.Table] = []
    told: list[str] = []
    for file in files:
        table, notes = _with_references(file, root, image)
        _require_rows(table, file)
        if parts and table.column_names != parts[0].column_names:
            odd = sorted({*table.column_names} ^ {*parts[0].column_names})
            raise DataError(f"{file}: has other columns than {files[0].name} ({listing(odd)}); give files of one kind")
        parts.append(table)
        told += notes
    try:
        whole = pa.concat_tables(parts, promote_options="permissive")
    except pa.ArrowException as error:
        raise DataError(
            f"{path}: the files do not fit together ({str(error).splitlines()[0]}); write them alike"
        ) from None
    ends = np.cumsum([len(part) for part in parts])

    def name(row: int) -> str:
        place = int(np.searchsorted(ends, row, side="right"))
        return f"{files[place].name} {_row_name(row - int(ends[place]) + len(parts[place]))}"

    splits = [split for part, file in zip(parts, files, strict=True) for split in [split_of(file, allowed)] * len(part)]
    pictures = _holds_references(parts[0])
    return Opened(whole, Source(Path(os.fspath(path)), name), root, splits, pictures, tuple(told[:1]))


def _holds_references(table: pa.Table) -> bool:
    """Whether ``_with_references`` made the first column."""
    return (table.field(0).metadata or {}).get(b"cotag") == b"cells"


def _require_rows(table: pa.Table, path: Path) -> None:
    double = [name for name, count in Counter(table.column_names).items() if count > 1]
    if double:
        raise DataError(f"{path}: column {double[0]!r} stands twice; give every column a name of its own")
    if not table.num_rows:
        raise DataError(f"{path}: has a header and no rows; give a row for each image")


def _row_name(row: int) -> str:
    return f"row {row + 1}"


def _with_references(path: Path, root: Path, image: str) -> tuple[pa.Table, list[str]]:
    """The table of a Parquet file, and notes; a column of pictures becomes one of references, marked, the first."""
    try:
        with pq.ParquetFile(path) as file:
            schema, about = file.schema_arrow, file.metadata
            if image not in schema.names or not holds_pictures(schema.field(image).type):
                return file.read(), []
            table = file.read(columns=[name for name in schema.names if name != image])
    except (pa.ArrowException, OSError) as error:
        raise FormatError(
            f"{path}: is not a whole Parquet file ({str(error).splitlines()[0]}); write it again"
        ) from None
    base = below(path, root)
    references = pa.array([cell_reference(base, image, row) for row in range(about.num_rows)], pa.string())
    size, notes = largest_group(about, image), []
    if size > LARGE_GROUP:
        notes.append(
            f"{path}: row groups hold up to {size / 1e6:.0f} MB of pictures, and in random order one is read for each "
            "picture; faster are groups of about 10 rows, tar shards (wds) and data.cache"
        )
    return table.add_column(0, pa.field(image, pa.string(), metadata={"cotag": "cells"}), references), notes


def _csv(path: Path) -> pa.Table:
    parse = pa.csv.ParseOptions(newlines_in_values=True)
    try:
        names = _header(path)
        as_text = pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
        return pa.csv.read_csv(path, parse_options=parse, convert_options=as_text)
    except (pa.ArrowException, OSError, csv.Error, UnicodeDecodeError) as error:
        _refuse_uneven(path)
        reason = str(error).splitlines()[0]
        raise FormatError(
            f"{path}: is not a table ({reason}); write a CSV file in UTF-8 with a header and commas"
        ) from None


def _header(path: Path) -> list[str]:
    return next(_rows(path), (1, []))[1]


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not empty, each with the number of its first line."""
    with path.open(encoding="utf-8-sig", newline="") as handle:
        reader = csv.reader(handle)
        start = 1
        for cells in reader:
            if cells:
                yield start, cells
            start = reader.line_num + 1


def _line(path: Path, row: int) -> int:
    """The line on which a row begins; found by reading again, since only an error asks for it."""
    for number, (line, _) in enumerate(_rows(path), -1):
        if number == row:
            return line
    return row + 2


def _refuse_uneven(path: Path) -> None:
    """Raise the error of the first row whose number of cells differs from the header's."""
    count = None
    try:
        for line, cells in _rows(path):
            if count is None:
                count = len(cells)
            elif len(cells) != count:
                raise DataError(
                    f"{path}: line {line}: has {len(cells)} cells and the header {count} ({short(','.join(cells))}); "
                    "put a cell that holds a comma in quotes"
                ) from None
    except (csv.Error, UnicodeDecodeError):
        return
