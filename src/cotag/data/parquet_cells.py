"""Pictures in cells of Parquet files: a row group is read whole, so the last ones are kept."""

from __future__ import annotations

import io
import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cotag.data.remote import RemoteFile
from cotag.errors import ImageError
from cotag.types.places import is_address

OPEN = 64
"""The most files that a process keeps open."""
KEPT = 1 << 26
"""The bytes of row groups that a process keeps, or the last row group where this is larger."""
AHEAD = 1 << 20
BYTES = "bytes"
_LOCK = threading.Lock()
_opened: OrderedDict[str, ParquetPictures] = OrderedDict()
_groups: OrderedDict[tuple[str, str, int], pa.Array] = OrderedDict()


def holds_pictures(kind: pa.DataType) -> bool:
    """Whether a column of this type holds pictures: bytes, or a struct with a field ``bytes``."""
    if pa.types.is_struct(kind):
        return kind.get_field_index(BYTES) >= 0 and _is_bytes(kind.field(BYTES).type)
    return _is_bytes(kind)


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


class ParquetPictures:
    """A Parquet file opened to read cells of it in any order.

    Args:
        place: its path or address.

    Raises:
        OSError, pa.ArrowException: it is not there, or no whole Parquet file.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self.stamp = self._stamp()
        remote = is_address(place)
        self.file = pq.ParquetFile(io.BufferedReader(RemoteFile(place), AHEAD) if remote else place)
        about = self.file.metadata
        rows = [about.row_group(number).num_rows for number in range(about.num_row_groups)]
        self.starts = np.concatenate(([0], np.cumsum(rows, dtype=np.int64)))

    def _stamp(self) -> tuple[int, ...]:
        if is_address(self.place):
            return ()
        about = Path(self.place).stat()
        return about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino

    def is_as_opened(self) -> bool:
        """Whether the file was not written since; an address is taken for unchanged."""
        return self.stamp == self._stamp()

    def column(self, name: str, group: int) -> pa.Array:
        """The pictures of a row group, as bytes."""
        kind = self.file.schema_arrow.field(name).type
        inner = pa.types.is_struct(kind)
        # Without threads: those that a process had are gone in its workers.
        table = self.file.read_row_group(group, columns=[f"{name}.{BYTES}" if inner else name], use_threads=False)
        cells = table[name].combine_chunks()
        cells = cells.combine_chunks() if isinstance(cells, pa.ChunkedArray) else cells
        return cells.field(BYTES) if inner else cells


def read_cell(place: str, part: str, where: str) -> bytes:
    """The picture in a cell; its row group stays in memory for the next.

    Args:
        place: path or address of a Parquet file.
        part: ``COLUMN/ROW``, the row counted from 0.
        where: names the picture in messages.

    Raises:
        ImageError: there is no such file, column or row, the cell is empty, or the file is damaged.
    """
    name, _, row = part.rpartition("/")
    try:
        with _LOCK:
            file = _file(place)
            if name not in file.file.schema_arrow.names or not row.isdecimal() or int(row) >= file.starts[-1]:
                raise ImageError(f"{where}: the file has no such cell; correct the reference or take it out")
            if not holds_pictures(file.file.schema_arrow.field(name).type):
                raise ImageError(f"{where}: the column holds no bytes; correct the reference or take it out")
            group = int(np.searchsorted(file.starts, int(row), side="right")) - 1
            cells = _group(file, name, group)
            cell = cells[int(row) - int(file.starts[group])].as_py()
    except (FileNotFoundError, NotADirectoryError):
        raise ImageError(f"{where}: there is no such file; correct the path or take it out") from None
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ImageError(
            f"{where}: cannot be read, the file is damaged or cut short ({reason}); fetch it again"
        ) from error
    return cell or b""


def _file(place: str) -> ParquetPictures:
    found = _opened.get(place)
    if found is None or not found.is_as_opened():
        for key in [key for key in _groups if key[0] == place]:
            del _groups[key]
        found = _opened[place] = ParquetPictures(place)
    _opened.move_to_end(place)
    while len(_opened) > OPEN:
        _opened.popitem(last=False)
    return found


def _group(file: ParquetPictures, name: str, number: int) -> pa.Array:
    key = (file.place, name, number)
    if key not in _groups:
        _groups[key] = file.column(name, number)
    _groups.move_to_end(key)
    while len(_groups) > 1 and sum(cells.nbytes for cells in _groups.values()) > KEPT:
        _groups.popitem(last=False)
    return _groups[key]


def largest_group(about: Any, name: str) -> int:
    """The bytes of the largest row group of a column, from the metadata of a file."""
    sizes = [0]
    for number in range(about.num_row_groups):
        group = about.row_group(number)
        columns = (group.column(place) for place in range(group.num_columns))
        sizes.append(
            sum(one.total_uncompressed_size for one in columns if one.path_in_schema in (name, f"{name}.{BYTES}"))
        )
    return max(sizes)


def cell_reference(file: str, name: str, row: int) -> str:
    """The reference of a cell."""
    return f"{os.fspath(file)}::{name}/{row}"
