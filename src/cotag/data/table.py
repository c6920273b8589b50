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
from cotag.data.sources import SPLITS, PathLike, Source, choice, names_of, require_file, short
from cotag.data.table_cells import column_labels, list_labels
from cotag.data.table_file import open_table
from cotag.errors import DataError, SettingError, suggestion
from cotag.types.index import Index
from cotag.types.places import Place

ORDERS = ("name", "seen")


@dataclass(frozen=True)
class _Columns:
    """Which column is what; ``listed`` is the column of label lists, or else ``labels`` are one for each label."""

    image: str
    listed: str | None
    labels: list[str]
    split: str | None


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
    order: str = "name",
    images: PathLike | None = None,
    missing: str = "stop",
) -> Index:
    """Read a table with a row for each image.

    Where the table has the column ``labels``, it holds lists of label names (text with separators, or Parquet lists);
    an empty cell is an image without labels. Otherwise every column that is not named by another option is a label,
    with 1 for present, 0 for absent and an empty cell for unknown. Spaces around names do not count.

    Args:
        path: a CSV file in UTF-8 with a header and commas, or a Parquet file.
        image: the column of image references; they are the ids.
        labels: the column of label lists; where not given, ``labels`` if there is one.
        separator: what stands between the labels of a list.
        split: the column of split names; where not given, ``split`` if there is one. An empty cell is no split.
        splits: further split names that are allowed beside ``train``, ``val``, ``test`` and ``trainval``.
        ignore: columns that are no labels.
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
    path = require_file(path)
    table, source = open_table(path)
    columns = _columns(table.column_names, path, image, labels, split, names_of(ignore))
    root = images_root(images) if images is not None else path.parent
    references = _references(table[columns.image], root, source)
    notes: list[str] = []
    if columns.listed is not None:
        found = list_labels(table[columns.listed], columns.listed, separator, source, notes)
    else:
        found = column_labels(table, columns.labels, source)
    place = np.arange(len(found.names)) if order == "seen" else np.argsort(np.argsort(np.array(found.names, object)))
    names = [found.names[number] for number in np.argsort(place)]
    space = space_of(path, names)
    built: dict[str, Any] = {"image": references}
    for name, (rows, seen) in (("positives", found.positives), ("unknowns", found.unknowns)):
        built[name] = label_lists(rows, place[seen], len(references), len(space))
    if columns.split is not None:
        built["split"] = _splits(table[columns.split], columns.split, {*SPLITS, *names_of(splits)}, source)
    return assemble(built, space, source, root, missing=missing, notes=notes)


def _columns(
    names: list[str], path: Path, image: str, labels: str | None, split: str | None, ignore: list[str]
) -> _Columns:
    """Say which column is what, or refuse."""
    for option, name in (("image", image), ("labels", labels), ("split", split), *(("ignore", one) for one in ignore)):
        if name is not None and name not in names:
            raise DataError(f"{path}: has no column {name!r}; read with {option}=COLUMN{suggestion(name, names)}")
    listed = labels if labels is not None else ("labels" if "labels" in names else None)
    parted = split if split is not None else ("split" if "split" in names else None)
    rest = [name for name in names if name not in {image, parted, *ignore}]
    if listed is None and not rest:
        raise DataError(f"{path}: has no label columns; expected a column 'labels' or one for each label")
    for name in rest if listed is None else []:
        if not name.strip():
            raise DataError(f"{path}: column {names.index(name) + 1} has no name; name it after its label or remove it")
    return _Columns(image, listed, rest, parted)


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
