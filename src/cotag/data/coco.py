"""COCO instance annotations: one JSON file, or a root with ``annotations/instances_<split>.json``."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cotag.data.assembly import assemble, label_lists, object_lists, space_of
from cotag.data.coco_masks import masks_of
from cotag.data.references import best_folder, images_root, inside
from cotag.data.sources import (
    PathLike,
    Source,
    choice,
    column,
    entries,
    load_json,
    no_collection,
    require_file,
    short,
)
from cotag.errors import DataError, LabelSpaceError
from cotag.types.index import Index
from cotag.types.labels import LabelSpace
from cotag.types.places import Place

ORDERS = ("id", "name")
KEYS = ("images", "annotations", "categories")
PREFIX = "instances_"
LARGEST = 1e9


@dataclass(frozen=True)
class _Part:
    """What one annotation file holds: N images and M annotations."""

    file: Path
    split: str | None
    space: LabelSpace
    ids: list[str]
    references: list[str]
    sizes: dict[str, pa.Array]
    rows: np.ndarray
    fields: dict[str, Any]

    @property
    def source(self) -> Source:
        return Source(self.file, lambda row: f"image id {self.ids[row]}")


def read_coco(
    path: PathLike,
    /,
    *,
    images: PathLike | None = None,
    order: str = "id",
    masks: bool = False,
    missing: str = "stop",
) -> Index:
    """Read COCO instance annotations.

    The ids are COCO's image ids as text; category ids are kept as the labels' source ids, supercategories as their
    groups. A crowd counts as presence, an image without annotations is kept, and an image's objects are in the
    order of the file. The split is the part of the file's name after ``instances_``, or null.

    Args:
        path: a JSON file, or a root that holds ``annotations/instances_<split>.json`` for one or more splits.
        images: the folder that the file names start from, or that has a folder for each split; where not given,
            ``images``, ``images/<split>`` and ``<split>`` beside the annotations, whichever holds the files.
        order: order of the labels: ``id`` (by category id) or ``name`` (alphabetical).
        masks: whether to encode the segmentations as masks; takes about 30 s for 100,000 images.
        missing: rows whose image is not there: ``stop``, ``skip`` (left out, noted) or ``keep``.

    Raises:
        FormatError: the file is not JSON or lacks a list of the format.
        DataError: a file or an image is missing, or an entry is wrong; named by its id.
        LabelSpaceError: the files of a root have different categories, or a name stands twice.
    """
    choice("order", order, ORDERS)
    path = Path(path)
    with no_collection():
        parts = [_part(file, order, masks) for file in annotation_files(path)]
    _check_agreement(parts)
    top = path if path.is_dir() else None
    base = images_root(images) if images is not None else top
    folders = [_folders(part, base) for part in parts]
    chosen = [best_folder(part.references, tried) for part, tried in zip(parts, folders, strict=True)]
    root = base or chosen[0]
    references = [
        inside(part.references, folder, root, part.file.parent, part.source)
        for part, folder in zip(parts, chosen, strict=True)
    ]
    return _joined(parts, references, root, missing, list(itertools.chain(*folders)), path)


def annotation_files(path: Path) -> list[Path]:
    """The annotation files that a path stands for: itself, or those of a root.

    Raises:
        DataError: there are none.
    """
    if not path.is_dir():
        return [require_file(path)]
    files = sorted((path / "annotations").glob(f"{PREFIX}*.json"))
    if not files:
        raise DataError(f"{path}: there is no annotations/{PREFIX}<split>.json; give the JSON file itself")
    return files


def _part(file: Path, order: str, masks: bool) -> _Part:
    value = load_json(file)
    lists = {key: entries(value, key, file, KEYS) for key in KEYS}
    space, category_of = _categories(lists["categories"], file, order)
    found = lists["images"]
    where = f"{file}: 'images'"
    ids = [str(given) for given in column(found, "id", where, (int, str))]
    row_of = {name: row for row, name in enumerate(ids)}
    if len(row_of) != len(ids):
        double = next(name for row, name in enumerate(ids) if row_of[name] != row)
        raise DataError(f"{file}: image id {double} stands twice in 'images'; keep one entry for each image")
    sizes = {key: _pixels(found, key, ids, file) for key in ("width", "height")}
    rows, fields = _annotations(lists["annotations"], file, row_of, category_of)
    if masks:
        fields["mask"] = masks_of(lists["annotations"], rows, sizes["width"], sizes["height"], file)
    split = file.stem.removeprefix(PREFIX) if file.stem.startswith(PREFIX) else None
    return _Part(file, split, space, ids, column(found, "file_name", where, (str,)), sizes, rows, fields)


def _categories(found: list[dict[str, Any]], file: Path, order: str) -> tuple[LabelSpace, dict[str, int]]:
    """The label space, and from a category id as text to the label id."""
    where = f"{file}: 'categories'"
    ids = column(found, "id", where, (int, str))
    names = [name.strip() for name in column(found, "name", where, (str,))]
    if len(set(map(str, ids))) != len(ids):
        double = next(one for one in ids if list(map(str, ids)).count(str(one)) > 1)
        raise DataError(f"{file}: category id {double!r} stands twice in 'categories'; give each an id of its own")
    keys = names if order == "name" else [(isinstance(one, str), one) for one in ids]
    ranked = sorted(range(len(ids)), key=lambda place: keys[place])
    groups = [str(group) if (group := found[place].get("supercategory")) else None for place in ranked]
    space = space_of(
        file,
        [names[place] for place in ranked],
        source_ids=tuple(ids[place] for place in ranked),
        groups=tuple(groups) if any(groups) else None,
    )
    return space, {str(ids[place]): label for label, place in enumerate(ranked)}


def _pixels(found: list[dict[str, Any]], key: str, ids: Sequence[str], file: Path) -> pa.Array:
    values = [entry.get(key) for entry in found]
    try:
        return pa.array(values, pa.int32())
    except (pa.ArrowException, OverflowError, TypeError):
        row = next(row for row, value in enumerate(values) if not _is_pixels(value))
        raise DataError(
            f"{file}: image id {ids[row]}: {key} is {short(values[row])}; it must be a number of pixels or absent"
        ) from None


def _is_pixels(value: Any) -> bool:
    return value is None or (type(value) is int and abs(value) < 2**31)


def _annotations(
    found: list[dict[str, Any]], file: Path, row_of: dict[str, int], category_of: dict[str, int]
) -> tuple[np.ndarray, dict[str, Any]]:
    """For each annotation its row, and its category, box and crowd flag."""
    rows = _places(found, "image_id", row_of, file, "'images'")
    categories = _places(found, "category_id", category_of, file, "'categories'")
    crowd = np.array([bool(entry.get("iscrowd")) for entry in found], dtype=bool)
    return rows, {"category": categories, "boxes": _boxes(found, file), "crowd": crowd}


def _places(found: list[dict[str, Any]], key: str, place_of: dict[str, int], file: Path, known: str) -> np.ndarray:
    try:
        places = (place_of[str(entry[key])] for entry in found)
        return np.fromiter(places, dtype=np.int64, count=len(found))
    except KeyError:
        number = next(number for number, entry in enumerate(found) if str(entry.get(key)) not in place_of)
        given = f"{key} {short(found[number][key])} is not in {known}" if key in found[number] else f"has no {key!r}"
        raise DataError(f"{file}: {name_of(found, number)}: {given}; add it there or remove the annotation") from None


def name_of(found: list[dict[str, Any]], number: int) -> str:
    """An annotation's name for messages: its id, or its place where it has none."""
    return f"annotation id {short(found[number]['id'])}" if "id" in found[number] else f"annotation number {number}"


def _boxes(found: list[dict[str, Any]], file: Path) -> np.ndarray:
    """Boxes (M, 4), NaN where an annotation has none."""
    given = [entry.get("bbox") or [] for entry in found]
    boxes = np.full((len(given), 4), np.nan)
    has = np.array([box != [] for box in given], dtype=bool)
    try:
        boxes[has] = np.array([box for box in given if box != []], dtype=np.float64).reshape(-1, 4)
        bad = has & ~(np.abs(boxes) < LARGEST).all(axis=1)
    except (ValueError, TypeError, OverflowError):
        bad = np.array([box != [] and not _is_box(box) for box in given])
    if bad.any():
        number = int(np.flatnonzero(bad)[0])
        raise DataError(
            f"{file}: {name_of(found, number)}: bbox is {short(given[number])}; it must be four finite numbers "
            "(x, y, width, height), or absent"
        )
    return boxes


def _is_box(box: Any) -> bool:
    return isinstance(box, list) and len(box) == 4 and all(type(n) in (int, float) and abs(n) < LARGEST for n in box)


def _check_agreement(parts: list[_Part]) -> None:
    """Refuse files of a root that have different categories, or an image in common."""
    first = parts[0]
    seen: dict[str, Path] = {}
    for part in parts:
        if part.space != first.space:
            first.space.require_same(part.space, f"{first.file} and {part.file}")
            raise LabelSpaceError(
                f"{first.file} and {part.file}: the same category names have other ids or supercategories; "
                "give all files of a root the same categories"
            )
        both = next((name for name in part.ids if name in seen), None)
        if both is not None:
            raise DataError(f"{part.file}: image id {both} is also in {seen[both]}; read the files one by one")
        seen.update(dict.fromkeys(part.ids, part.file))


def _folders(part: _Part, base: Place | None) -> list[Place]:
    """Where the images of a part may be, the likeliest first: below ``base``, or beside the file."""
    split = part.split
    if isinstance(base, str):
        return [base]
    if base is not None:
        tried: list[Place] = [base / "images", base]
        return ([base / "images" / split, base / split] if split else []) + tried
    here = part.file.parent
    up = [".."] if split is None else [f"../images/{split}", f"../{split}", f"../../{split}"]
    return [Path(os.path.normpath(here / name)) for name in ("../images", *up, "images", ".")]


def _joined(
    parts: list[_Part], references: list[list[str]], root: Place, missing: str, looked: list[Place], path: Path
) -> Index:
    """One Index of all parts."""
    first = parts[0]
    starts = np.cumsum([0] + [len(part.ids) for part in parts])
    count = int(starts[-1])
    rows = np.concatenate([part.rows + start for part, start in zip(parts, starts[:-1], strict=True)])
    fields: dict[str, Any] = {name: np.concatenate([part.fields[name] for part in parts]) for name in first.fields}
    ids = list(itertools.chain(*(part.ids for part in parts)))
    columns: dict[str, Any] = {
        "id": ids,
        "image": list(itertools.chain(*references)),
        "positives": label_lists(rows, fields["category"], count, len(first.space)),
        "split": list(itertools.chain(*([part.split] * len(part.ids) for part in parts))),
        "objects": object_lists(rows, count, fields),
    }
    for key in ("width", "height"):
        columns[key] = pa.concat_arrays([part.sizes[key] for part in parts])
    source = Source(path, lambda row: f"image id {ids[row]}")
    return assemble(columns, first.space, source, root, missing=missing, looked=looked, object_space=first.space)
