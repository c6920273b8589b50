"""Index: one row per image, in Arrow columns; no pixels and no Python object per row."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cotag.errors import DataError, FormatError, suggestion
from cotag.storage import whole_file
from cotag.types.checks import check_index
from cotag.types.columns import DIFFICULT, SCHEMA, as_arrow, checked_rows, empty_lists, list_parts
from cotag.types.labels import LabelSpace
from cotag.types.places import Place, place_of, root_of, whole


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
    """

    table: pa.Table
    label_space: LabelSpace
    root: Place = field(default_factory=Path)
    object_space: LabelSpace | None = None
    notes: tuple[str, ...] = ()

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
        """The N ids as text."""
        found: list[str] = self.table["id"].to_pylist()
        return found

    def image(self, row: int) -> Place:
        """Where a row's image is: a path, or an address as text; see ``places``."""
        return place_of(self.root, self.table["image"][row].as_py())

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
                self._lists[name] = (offsets, values.to_numpy())
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
            offsets, labels = self.lists(name)
            starts, ends = offsets[rows], offsets[rows + 1]
            lengths = ends - starts
            places = np.repeat(starts - np.concatenate(([0], np.cumsum(lengths)[:-1])), lengths)
            targets[np.repeat(np.arange(len(rows)), lengths), labels[places + np.arange(lengths.sum())]] = value
        return targets

    def counts(self, name: str = "positives") -> np.ndarray:
        """How many images have each label in a list column; int64 (K,)."""
        return np.bincount(self.lists(name)[1], minlength=len(self.label_space))

    def splits(self) -> dict[str, int]:
        """The splits with their number of images, in the order of their first row."""
        values = self.table["split"].to_pandas()
        return {str(name): int(values.eq(name).sum()) for name in values.dropna().unique()}

    def rows_of(self, split: str) -> np.ndarray:
        """The row numbers of a split.

        Raises:
            DataError: there is no such split.
        """
        rows = np.flatnonzero(self.table["split"].to_pandas().eq(split).to_numpy(dtype=bool))
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
        about = {
            "cotag_index": 1,
            "label_space": self.label_space.to_json(),
            "object_space": self.object_space.to_json() if self.object_space else None,
            "root": whole(self.root),
            "notes": list(self.notes),
        }
        table = self.table.combine_chunks().unify_dictionaries().replace_schema_metadata({"cotag": json.dumps(about)})
        with (
            whole_file(path) as temporary,
            pa.OSFile(str(temporary), "wb") as sink,
            pa.ipc.new_file(sink, table.schema) as writer,
        ):
            writer.write_table(table, max_chunksize=max(1, len(self)))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Index:
        """Open what ``save`` wrote; the columns stay on disk and are mapped into memory.

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
        return cls(
            table,
            LabelSpace.from_json(about["label_space"]),
            root_of(about["root"]),
            LabelSpace.from_json(objects) if objects else None,
            tuple(about["notes"]),
        )
