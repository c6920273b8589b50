"""CSV and Parquet files opened as Arrow tables, and where a row stands in them."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from cotag.data.sources import Source, first_bytes, short
from cotag.errors import DataError, FormatError


def open_table(path: Path) -> tuple[pa.Table, Source]:
    """The table of a Parquet file, or of a CSV file with all cells as text.

    Raises:
        FormatError: it is neither.
        DataError: a line has more or fewer cells than the header, two columns have one name, or there is no row.
    """
    parquet = first_bytes(path, 4) == b"PAR1"
    table = _parquet(path) if parquet else _csv(path)
    double = [name for name, count in Counter(table.column_names).items() if count > 1]
    if double:
        raise DataError(f"{path}: column {double[0]!r} stands twice; give every column a name of its own")
    if not table.num_rows:
        raise DataError(f"{path}: has a header and no rows; give a row for each image")
    return table, Source(path, _row_name if parquet else lambda row: f"line {_line(path, row)}")


def _row_name(row: int) -> str:
    return f"row {row + 1}"


def _parquet(path: Path) -> pa.Table:
    try:
        return pa.parquet.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise FormatError(
            f"{path}: is not a whole Parquet file ({str(error).splitlines()[0]}); write it again"
        ) from None


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
