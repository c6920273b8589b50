"""Panoptic scene graphs: the predicates of each image, and with a full file the objects that they hold between."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from cotag.data.assembly import assemble, label_lists, space_of
from cotag.data.psg_objects import object_columns
from cotag.data.references import best_folder, images_root, inside
from cotag.data.sources import PathLike, Source, column, entries, load_json, no_collection, short
from cotag.errors import DataError, FormatError, listing
from cotag.types.index import Index
from cotag.types.labels import NOT_EVALUATED, LabelSpace

KEYS = ("data", "predicate_classes")
SPLITS = ("train", "val", "test")
VAGUE = ("over", "in front of", "beside", "on", "in", "attached to")


def read_psg(path: PathLike, /, *, images: PathLike | None = None, missing: str = "stop") -> Index:
    """Read ``psg_cls_basic.json``, ``psg_cls_advanced.json`` or ``psg.json``.

    The labels are the predicate classes in the file's order, with their place as source id; the six vague ones have
    the group ``not evaluated``, the others ``evaluated``. Each record is a row: where an image stands twice, the
    second id ends in ``#2``, which is noted. The labels of a record without relations are absent, and
    unknown if it is one of the test images, whose relations are withheld.
    Where records have triplets and ``segments_info``, the objects (categories: things, then stuff), the triplets and
    the segment map are read too.

    Args:
        path: the JSON file.
        images: the COCO root that file names (``train2017/...jpg``) start from; where not given, the file's
            folder, the folder above, or ``coco`` in one of them.
        missing: rows whose image is not there: ``stop``, ``skip`` (left out, noted) or ``keep``.

    Raises:
        FormatError: the file is not JSON or lacks a list of the format.
        DataError: the file or an image is missing, or a record is wrong; named by its image id.
    """
    path = Path(path)
    with no_collection():
        value = load_json(path)
        columns, space, object_space, notes = _columns(value, path)
    here = path.parent
    folders = [Path(os.path.normpath(here / name)) for name in (".", "coco", "..", "../coco")]
    references = columns["image"]
    root = images_root(images) if images is not None else best_folder(references, folders)
    ids = columns["id"]
    source = Source(path, lambda row: f"image id {ids[row]}")
    columns["image"] = inside(references, root, root, here, source)
    if "segments" in columns:
        maps = columns["segments"]
        checked = inside([name or "none" for name in maps], root, root, here, source)
        columns["segments"] = [path if name else None for name, path in zip(maps, checked, strict=True)]
    looked = [root] if images is not None else folders
    return assemble(
        columns, space, source, root, missing=missing, looked=looked, object_space=object_space, notes=notes
    )


def _columns(value: dict[str, Any], path: Path) -> tuple[dict[str, Any], LabelSpace, LabelSpace | None, list[str]]:
    """The columns, the two label spaces and the notes of a file's content."""
    found = entries(value, "data", path, KEYS)
    space = _predicates(value, path)
    given = [str(name) for name in column(found, "image_id", f"{path}: 'data'", (str, int))]
    splits = _splits(value, given, path)
    ids, notes = _unique(given, path)
    relations = [_relations(entry, name, path) for entry, name in zip(found, ids, strict=True)]
    withheld = np.array([split == "test" and not held for split, held in zip(splits, relations, strict=True)])
    rows, labels = _pairs(relations, ids, space, path)
    blank = np.flatnonzero(withheld)
    size = len(space)
    columns: dict[str, Any] = {
        "id": ids,
        "image": column(found, "file_name", f"{path}: 'data'", (str,)),
        "positives": label_lists(rows, labels, len(ids), size),
        "unknowns": label_lists(np.repeat(blank, size), np.tile(np.arange(size), len(blank)), len(ids), size),
        "split": splits,
    }
    if len(blank):
        notes.append(f"{path}: the relations of {len(blank)} test images are withheld; their labels are unknown")
    if not any("segments_info" in entry for entry in found):
        return columns, space, None, notes
    more, object_space = object_columns(value, found, relations, ids, path)
    return columns | more, space, object_space, notes


def _predicates(value: dict[str, Any], path: Path) -> LabelSpace:
    if not isinstance(value.get("predicate_classes"), list):
        raise FormatError(f"{path}: has no list 'predicate_classes'; expected {' and '.join(map(repr, KEYS))}")
    names = [str(name).strip() for name in value["predicate_classes"]]
    groups = tuple(NOT_EVALUATED if name in VAGUE else "evaluated" for name in names)
    return space_of(path, names, source_ids=tuple(range(len(names))), groups=groups)


def _splits(value: dict[str, Any], given: list[str], path: Path) -> list[str | None]:
    """The split of each record, by the lists of image ids; null where none has it."""
    split_of: dict[str, str] = {}
    for split in SPLITS:
        listed = value.get(f"{split}_image_ids") or []
        if not isinstance(listed, list):
            raise FormatError(f"{path}: '{split}_image_ids' is {short(listed)}; it must be a list of image ids")
        for name in map(str, listed):
            if split_of.setdefault(name, split) != split:
                raise DataError(
                    f"{path}: image id {name} is in '{split_of[name]}_image_ids' and in '{split}_image_ids'; "
                    "keep it in one of them"
                )
    return [split_of.get(name) for name in given]


def _unique(given: list[str], path: Path) -> tuple[list[str], list[str]]:
    """Ids that stand once each: the second record of an image gets ``#2``."""
    seen: dict[str, int] = {}
    ids = []
    for name in given:
        seen[name] = seen.get(name, 0) + 1
        ids.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    again = [name for name, count in seen.items() if count > 1]
    note = f"{path}: {len(again)} images have several records; each is a row of its own: {listing(again, 3)}"
    return ids, [note] if again else []


def _relations(entry: dict[str, Any], name: str, path: Path) -> list[Any]:
    held = entry.get("relations") or []
    if not isinstance(held, list):
        raise DataError(f"{path}: image id {name}: relations is {short(held)}; it must be a list")
    return held


def _pairs(relations: list[list[Any]], ids: list[str], space: LabelSpace, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Row and label of every relation, whether it is a predicate id or a triplet that ends in one."""
    rows = np.repeat(np.arange(len(relations)), [len(held) for held in relations])
    flat = [one for held in relations for one in held]
    labels = [one[2] if isinstance(one, list) and len(one) == 3 else one for one in flat]
    for row, label in zip(rows, labels, strict=True):
        if type(label) is not int or not 0 <= label < len(space):
            raise DataError(
                f"{path}: image id {ids[row]}: relation {short(label)} is not a predicate id; "
                f"allowed: 0 to {len(space) - 1}, the places in 'predicate_classes'"
            )
    return rows, np.array(labels, dtype=np.int64)
