"""A table of images: CSV or Parquet, with a column of label lists or one column for each label."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cotag.data.assembly import assemble, label_lists, space_of
from cotag.data.references import images_root, inside
from cotag.data.sources import SPLITS, PathLike, Source, choice, names_of, short
from cotag.data.table_cells import Found, column_labels, list_labels
from cotag.data.table_file import Opened, open_tables
from cotag.errors import DataError, SettingError, suggestion
from cotag.types.index import Index
from cotag.types.labels import LabelSpace
from cotag.types.places import Place

ORDERS = ("name", "seen")


@dataclass(frozen=True)
class _Columns:
    """Which column is what; ``listed`` is the column of label lists, or else ``labels`` are one for each label."""

    image: str
    listed: str | None
    labels: list[str]
    split: str | None
    id: str | None


def read_table(
    path: PathLike,
    /,
    *,
    image: str = "image",
    labels: str | None = None,
    separator: str = "|",
    split: str | None = None,
    splits: str | Iterable[str] = (),
    ignore: str | Iterable[str] = (),
    id: str | None = None,
    order: str = "name",
    images: PathLike | None = None,
    missing: str = "stop",
) -> Index:
    """Read a table with a row for each image.

    Where the table has the column ``labels``, it holds lists of label names (text with separators, or Parquet lists);
    an empty cell is an image without labels. Otherwise every column that is not named by another option is a label,
    with 1 for present, 0 for absent and an empty cell for unknown. Spaces around names do not count.

    Args:
        path: a CSV file in UTF-8 with a header and commas, a Parquet file, or a pattern of Parquet files, in which
            ``{00..12}`` stands for these numbers.
        image: the column of image references, or in Parquet of the pictures themselves: bytes, or structs with a
            field ``bytes``.
        labels: the column of label lists; where not given, ``labels`` if there is one.
        separator: what stands between the labels of a list.
        split: the column of split names; where not given, ``split`` if there is one. An empty cell is no split.
            Of several files without one, it is their folder or the beginning of their names, where that is a split.
        splits: further split names that are allowed beside ``train``, ``val``, ``test`` and ``trainval``.
        ignore: columns that are no labels.
        id: the column of ids; where not given, the references are.
        order: order of the labels: ``name`` (alphabetical) or ``seen`` (as they come in the file).
        images: the folder that references start from; where not given, the table's folder.
        missing: rows whose image is not there: ``stop``, ``skip`` (left out, noted) or ``keep``.

    Raises:
        FormatError: the file is not a table.
        DataError: a file, a column or an image is missing, an image stands twice, or a cell is wrong; named by its
            line.
    """
    choice("order", order, ORDERS)
    if not separator:
        raise SettingError("separator is empty; give the text between two labels, such as separator=;")
    allowed = {*SPLITS, *names_of(splits)}
    opened = open_tables(path, image, allowed)
    columns = _columns(opened, (image, labels, split, id), names_of(ignore))
    return _index_of(opened, columns, separator, allowed, order, images, missing)


def _index_of(
    opened: Opened,
    columns: _Columns,
    separator: str,
    allowed: set[str],
    order: str,
    images: PathLike | None,
    missing: str,
) -> Index:
    table, source = opened.table, opened.source
    if opened.pictures and images is not None:
        raise SettingError(f"images = {images}: column {columns.image!r} holds the pictures themselves; leave it out")
    root = images_root(images) if images is not None else opened.root
    built: dict[str, Any] = {
        "image": table[columns.image].to_pylist()
        if opened.pictures
        else _references(table[columns.image], root, source)
    }
    notes = list(opened.notes)
    if columns.listed is not None:
        found = list_labels(table[columns.listed], columns.listed, separator, source, notes)
    else:
        found = column_labels(table, columns.labels, source)
    space, label_columns = _labels(found, order, source.file, len(table))
    built.update(label_columns)
    if columns.split is not None:
        built["split"] = _splits(table[columns.split], columns.split, allowed, source)
    elif any(opened.splits):
        built["split"] = opened.splits
    if columns.id is not None:
        built["id"] = _as_text(table[columns.id], source)
    return assemble(built, space, source, root, missing=missing, notes=notes)


def _labels(found: Found, order: str, path: Path, count: int) -> tuple[LabelSpace, dict[str, pa.Array]]:
    """The labels in their order, and the columns that hold them."""
    place = np.arange(len(found.names)) if order == "seen" else np.argsort(np.argsort(np.array(found.names, object)))
    space = space_of(path, [found.names[number] for number in np.argsort(place)])
    parts = {"positives": found.positives, "unknowns": found.unknowns}
    return space, {name: label_lists(rows, place[seen], count, len(space)) for name, (rows, seen) in parts.items()}


def _columns(opened: Opened, given: tuple[str, str | None, str | None, str | None], ignore: list[str]) -> _Columns:
    """Say which column is what, or refuse; given are the options image, labels, split and id."""
    names, path = opened.table.column_names, opened.source.file
    image, labels, split, own = given
    options = zip(("image", "labels", "split", "id"), given, strict=True)
    for option, name in (*options, *(("ignore", one) for one in ignore)):
        if name is not None and name not in names:
            raise DataError(f"{path}: has no column {name!r}; read with {option}=COLUMN{suggestion(name, names)}")
    listed = labels if labels is not None else ("labels" if "labels" in names else None)
    parted = split if split is not None else ("split" if "split" in names else None)
    rest = [name for name in names if name not in {image, parted, own, *ignore}]
    if listed is None and not rest:
        raise DataError(f"{path}: has no label columns; expected a column 'labels' or one for each label")
    for name in rest if listed is None else []:
        if not name.strip():
            raise DataError(f"{path}: column {names.index(name) + 1} has no name; name it after its label or remove it")
    return _Columns(image, listed, rest, parted, own)


def _references(column: pa.ChunkedArray, root: Place, source: Source) -> list[str]:
    """The image references relative to the root, each once."""
    given = [(name or "").strip() for name in _as_text(column, source).to_pylist()]
    references = inside(given, root, root, source.file.parent, source)
    if len(set(references)) == len(references):
        return references
    first: dict[str, int] = {}
    for row, reference in enumerate(references):
        if reference in first:
            raise source.error(
                row,
                f"image {reference!r} stands already in {source.row(first[reference])}; keep one row for each image",
            )
        first[reference] = row
    return references


def _as_text(column: pa.ChunkedArray, source: Source) -> pa.ChunkedArray:
    try:
        return column.cast(pa.string())
    except pa.ArrowException:
        raise DataError(f"{source.file}: a column of {column.type} has no names in it; give one of text") from None


def _splits(column: pa.ChunkedArray, name: str, allowed: set[str], source: Source) -> pa.ChunkedArray:
    values = pc.utf8_trim_whitespace(_as_text(column, source))
    values = pc.if_else(pc.equal(values, ""), None, values)
    for value in pc.unique(values).drop_null().to_pylist():
        if value not in allowed:
            row = pc.index(values, pa.scalar(value)).as_py()
            ranked = [*SPLITS, *sorted(allowed - set(SPLITS))]
            raise source.error(
                row,
                f"column {name!r}: split {short(value)} is not known{suggestion(value, ranked)}; "
                "to allow further names read with splits=NAME,NAME",
            )
    return values
