"""Index: one row per image, in Arrow columns; no pixels and no Python object per row."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cotag.errors import DataError, suggestion
from cotag.types.checks import check_index
from cotag.types.columns import (
    BLOCK,
    DIFFICULT,
    SCHEMA,
    as_arrow,
    checked_rows,
    codes_of,
    empty_lists,
    gather,
    integers,
    list_parts,
)
from cotag.types.index_file import SavedFile, as_bytes, read_index, received, reopened, write_index
from cotag.types.labels import LabelSpace
from cotag.types.places import Place, place_of, root_of


@dataclass(frozen=True, eq=False)
class Index:
    """One row per image: its reference, its labels, its split, and where there are any its objects and relations.

    Columns of ``table`` (those after ``split`` only where the data have them):

    ``id``          text, unique
    ``image``       path relative to ``root`` or absolute, part of a file, or address; see ``places``
    ``positives``   list of label ids that are present
    ``unknowns``    list of label ids of which it is not known whether they are present
    ``difficult``   list of label ids that are present but were marked difficult (VOC)
    ``split``       text or null
    ``width``, ``height``   pixels
    ``objects``     list of {category (in ``object_space``), box (x, y, width, height in pixels), mask (COCO
                    compressed RLE, may be null), crowd, segment (id in the segment map, may be null)}
    ``segments``    path of the segment map, a PNG with id = R + 256 G + 65536 B
    ``triplets``    list of {subject, object: positions in ``objects``; predicate: a label id}

    Args:
        table: the columns; see ``build``, which checks them.
        label_space: the labels that the three lists count in.
        root: the folder, or address, that relative image references start from.
        object_space: the categories of ``objects``, where there are any.
        notes: what a reader found worth saying (a label spelled in two ways).
        file: the file that the columns are mapped from, which other processes then open themselves.
    """

    table: pa.Table
    label_space: LabelSpace
    root: Place = field(default_factory=Path)
    object_space: LabelSpace | None = None
    notes: tuple[str, ...] = ()
    file: SavedFile | None = None

    @classmethod
    def build(
        cls,
        columns: dict[str, Any],
        label_space: LabelSpace,
        root: str | os.PathLike[str] = ".",
        object_space: LabelSpace | None = None,
        notes: Sequence[str] = (),
    ) -> Index:
        """Make an Index of plain columns and check it.

        Args:
            columns: ``image`` and ``positives`` at least; lists, numpy or Arrow arrays of one length.
                ``id`` is the image reference where it is not given.

        Raises:
            DataError: columns of different lengths or of wrong types, an unknown column, a number out of range,
                an id that stands twice, or a label that is in two of the three lists of a row.
        """
        given = dict(columns)
        for name in given:
            if name not in SCHEMA:
                raise DataError(f"column {name!r} is not one of an index{suggestion(name, SCHEMA)}")
        for name in ("image", "positives"):
            if name not in given:
                raise DataError(f"column {name!r} is missing; an index needs image and positives")
        count = len(given["image"])
        given.setdefault("id", given["image"])
        given.setdefault("unknowns", empty_lists(count))
        given.setdefault("split", pa.nulls(count, pa.string()))
        for name, values in given.items():
            if len(values) != count:
                raise DataError(f"column {name!r} has {len(values)} rows and image has {count}; give one for each")
        arrays = {name: as_arrow(name, given[name]) for name in SCHEMA if name in given}
        index = cls(pa.table(arrays), label_space, root_of(root), object_space, tuple(notes))
        check_index(index)
        return index

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __repr__(self) -> str:
        splits = ", ".join(f"{name} {count}" for name, count in self.splits().items())
        return f"Index({len(self)} images, {len(self.label_space)} labels; {splits or 'no splits'})"

    @cached_property
    def ids(self) -> list[str]:
        """The N ids as text; of millions ``ids_of`` some rows takes less memory."""
        found: list[str] = self.table["id"].to_pylist()
        return found

    def ids_of(self, rows: np.ndarray | Sequence[int]) -> list[str]:
        """The ids of some rows."""
        found: list[str] = self.table["id"].take(pa.array(checked_rows(rows, len(self)))).to_pylist()
        return found

    def image(self, row: int) -> Place:
        """Where a row's image is: a path, or an address as text; see ``places``."""
        return place_of(self.root, self._images[row].as_py())

    @cached_property
    def _images(self) -> pa.ChunkedArray:
        return self.table["image"]

    def images(self) -> list[Place]:
        """Where all images are."""
        return [place_of(self.root, reference) for reference in self.table["image"].to_pylist()]

    @cached_property
    def _lists(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        return {}

    def lists(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """A list column as (offsets int (N + 1,), label ids int32), without a copy where it lies in one piece."""
        if name not in self._lists:
            if name not in self.table.column_names:
                self._lists[name] = (np.zeros(len(self) + 1, dtype=np.int32), np.zeros(0, dtype=np.int32))
            else:
                offsets, values = list_parts(self.table[name])
                self._lists[name] = (offsets, integers(values))
        return self._lists[name]

    def targets(self, rows: np.ndarray | None = None, difficult: str = "unknown") -> np.ndarray:
        """Dense targets: int8 (B, K), 1 present, 0 absent, -1 unknown.

        Args:
            rows: B row numbers; all rows where not given.
            difficult: what a label marked difficult counts as: ``unknown``, ``positive`` or ``absent``.

        Raises:
            DataError: a row does not exist, or ``difficult`` is something else.
        """
        if difficult not in DIFFICULT:
            raise DataError(f"difficult={difficult!r} is not known{suggestion(difficult, DIFFICULT)}")
        rows = np.arange(len(self)) if rows is None else checked_rows(rows, len(self))
        targets = np.zeros((len(rows), len(self.label_space)), dtype=np.int8)
        as_difficult = {"unknown": -1, "positive": 1, "absent": 0}[difficult]
        for name, value in (("unknowns", -1), ("difficult", as_difficult), ("positives", 1)):
            if name not in self.table.column_names or value == 0:
                continue
            for places, labels in gather(*self.lists(name), rows):
                targets[places, labels] = value
        return targets

    def entries(self, name: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The E labels that some rows have in a list column: (places in ``rows`` int64 (E,), label ids int32 (E,)).

        Raises:
            DataError: a row does not exist.
        """
        rows = checked_rows(rows, len(self))
        offsets, values = self.lists(name)
        count = sum(
            int((offsets[rows[start : start + BLOCK] + 1] - offsets[rows[start : start + BLOCK]]).sum(dtype=np.int64))
            for start in range(0, len(rows), BLOCK)
        )
        places_E, labels_E, filled = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int32), 0
        for places, labels in gather(offsets, values, rows):
            places_E[filled : filled + len(places)] = places
            labels_E[filled : filled + len(places)] = labels
            filled += len(places)
        return places_E, labels_E

    def counts(self, name: str = "positives", rows: np.ndarray | None = None) -> np.ndarray:
        """How many images have each label in a list column; int64 (K,).

        Args:
            rows: the images; all where not given.
        """
        size = len(self.label_space)
        if rows is None:
            return np.bincount(self.lists(name)[1], minlength=size)
        counts_K = np.zeros(size, dtype=np.int64)
        for _, labels in gather(*self.lists(name), checked_rows(rows, len(self))):
            counts_K += np.bincount(labels, minlength=size)
        return counts_K

    @cached_property
    def _splits(self) -> tuple[np.ndarray, list[str]]:
        return codes_of(self.table["split"])

    def splits(self) -> dict[str, int]:
        """The splits with their number of images, in the order of their first row."""
        codes, names = self._splits
        counts = np.bincount(codes + 1, minlength=len(names) + 1)[1:]
        first = {name: int(np.argmax(codes == code)) for code, name in enumerate(names) if counts[code]}
        return {name: int(counts[names.index(name)]) for name in sorted(first, key=first.__getitem__)}

    def rows_of(self, split: str) -> np.ndarray:
        """The row numbers of a split.

        Raises:
            DataError: there is no such split.
        """
        codes, names = self._splits
        rows = np.flatnonzero(codes == names.index(split)) if split in names else codes[:0]
        if not len(rows):
            raise DataError(f"split {split!r} has no images{suggestion(split, self.splits())}")
        return rows

    def split(self, name: str) -> Index:
        """The images of one split."""
        return self.subset(self.rows_of(name))

    def subset(self, rows: np.ndarray | Sequence[int]) -> Index:
        """The given rows, in the given order.

        Raises:
            DataError: a row does not exist.
        """
        return self._with(self.table.take(pa.array(checked_rows(rows, len(self)))))

    def with_split(self, names: Sequence[str | None]) -> Index:
        """The same images with other split names, one for each row.

        Raises:
            DataError: there are more or fewer names than rows.
        """
        if len(names) != len(self):
            raise DataError(f"{len(names)} split names are given for {len(self)} images; give one for each")
        place = self.table.column_names.index("split")
        return self._with(self.table.set_column(place, "split", as_arrow("split", names)))

    def _with(self, table: pa.Table) -> Index:
        return Index(table, self.label_space, self.root, self.object_space, self.notes)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one Arrow file that ``load`` maps into memory."""
        write_index(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Index:
        """Open what ``save`` wrote; the columns stay on disk and are mapped into memory.

        Raises:
            FormatError: the file is not an index.
        """
        return cls(*read_index(path), file=SavedFile.of(path))

    def __reduce__(self) -> tuple[Any, ...]:
        """For another process: the file, where there is one that did not change; else the columns."""
        if self.file is not None and self.file.is_unchanged():
            return reopened, (type(self), self.file)
        parts = (self.label_space, self.root, self.object_space, self.notes)
        return received, (type(self), as_bytes(self.table), parts)
