"""The file of an Index, and how an Index reaches another process."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from cotag.errors import DataError, FormatError
from cotag.storage import whole_file
from cotag.types.labels import LabelSpace
from cotag.types.places import Place, root_of, whole

if TYPE_CHECKING:
    from cotag.types.index import Index


@dataclass(frozen=True)
class SavedFile:
    """A file as it was when it was opened.

    Attributes:
        path: absolute.
        size: in bytes.
        changed: when it was written last, in nanoseconds.
    """

    path: Path
    size: int
    changed: int

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> SavedFile:
        """The file as it is now."""
        about = Path(path).stat()
        return cls(Path(path).resolve(), about.st_size, about.st_mtime_ns)

    def is_unchanged(self) -> bool:
        """Whether the same file is still there."""
        try:
            return SavedFile.of(self.path) == self
        except OSError:
            return False


def write_index(index: Index, path: str | os.PathLike[str]) -> None:
    """Write an Index as one Arrow file of one record batch."""
    about = {
        "cotag_index": 1,
        "label_space": index.label_space.to_json(),
        "object_space": index.object_space.to_json() if index.object_space else None,
        "root": whole(index.root),
        "notes": list(index.notes),
    }
    table = index.table.combine_chunks().unify_dictionaries().replace_schema_metadata({"cotag": json.dumps(about)})
    with (
        whole_file(path) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, table.schema) as writer,
    ):
        writer.write_table(table, max_chunksize=max(1, len(index)))


def read_index(path: str | os.PathLike[str]) -> tuple[pa.Table, LabelSpace, Place, LabelSpace | None, tuple[str, ...]]:
    """The columns of a file, mapped into memory, and what stands beside them; as ``Index`` takes them.

    Raises:
        FormatError: the file is not an index.
    """
    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        about = json.loads((table.schema.metadata or {}).get(b"cotag", b"{}"))
        if "cotag_index" not in about:
            raise FormatError(f"{path}: is an Arrow file of something else; give one that Index.save wrote")
    except FileNotFoundError:
        raise FormatError(f"{path}: there is no such file; give the path of a saved index") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        raise FormatError(
            f"{path}: is not a saved index ({str(error).splitlines()[0]}); give one that Index.save wrote"
        ) from error
    objects = about["object_space"]
    return (
        table,
        LabelSpace.from_json(about["label_space"]),
        root_of(about["root"]),
        LabelSpace.from_json(objects) if objects else None,
        tuple(about["notes"]),
    )


def reopened(kind: type[Index], file: SavedFile) -> Index:
    """The Index that another process loaded.

    Raises:
        DataError: the file was replaced meanwhile.
    """
    if not file.is_unchanged():
        raise DataError(f"{file.path}: was changed while it was used; start again")
    return kind.load(file.path)


def as_bytes(table: pa.Table) -> bytes:
    """The columns as an Arrow stream; of a part of a table that part alone."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.unify_dictionaries())
    found: bytes = sink.getvalue().to_pybytes()
    return found


def received(kind: type[Index], columns: bytes, parts: tuple[Any, ...]) -> Index:
    """The Index that another process sent."""
    return kind(pa.ipc.open_stream(columns).read_all(), *parts)
