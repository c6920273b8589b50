"""Pascal VOC: the folders ``JPEGImages``, ``Annotations`` and ``ImageSets/Main`` of VOC 2007 and 2012."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cotag.data.assembly import assemble, label_lists, object_lists, space_of
from cotag.data.references import images_folder, inside
from cotag.data.sources import SPLITS, PathLike, Source, choice, require_folder
from cotag.data.voc_sets import ClassLines, class_lines, split_of_ids
from cotag.data.voc_xml import Annotations, read_annotations
from cotag.errors import DataError, FormatError, listing
from cotag.types.index import Index
from cotag.types.labels import LabelSpace

LABELS = ("imagesets", "xml")


@dataclass(frozen=True)
class _Labels:
    """Pairs of a row and a label id, by what is known of them."""

    positives: tuple[np.ndarray, np.ndarray]
    difficult: tuple[np.ndarray, np.ndarray]
    unknowns: tuple[np.ndarray, np.ndarray]


def read_voc(
    path: PathLike, /, *, images: PathLike | None = None, labels: str | None = None, missing: str = "stop"
) -> Index:
    """Read a Pascal VOC folder.

    The labels are in alphabetical order, which for the 20 classes of VOC is their usual one. A label that an image
    has only as difficult is in the column ``difficult``. Where the data do not say (a test set without
    annotations), the labels are unknown. An image of ``train`` or ``val`` that is in ``trainval`` too is in the former.
    Boxes come from the XML files, where there are any: x and y count from 0, width and height include the last pixel.

    Args:
        path: the folder ``VOC2007`` or ``VOC2012``, or one that holds ``VOCdevkit`` or just one of these.
        images: the folder of the images; where not given, ``JPEGImages``.
        labels: where labels come from: ``imagesets`` (``<class>_<split>.txt``: 1 present, 0 difficult, -1 absent) or
            ``xml``; where not given, ``imagesets`` if there are such files.
        missing: rows whose image is not there: ``stop``, ``skip`` (left out, noted) or ``keep``.

    Raises:
        FormatError: the folder is not laid out in this way.
        DataError: a file is missing, or a line or an object is wrong; named by its file.
    """
    root = voc_root(path)
    main, xml = root / "ImageSets" / "Main", root / "Annotations"
    if labels is not None:
        choice("labels", labels, LABELS)
    lines = class_lines(main) if labels != "xml" else {}
    if labels == "imagesets" and not lines:
        raise DataError(f"{main}: there is no <class>_<split>.txt; add them or read with labels=xml")
    splits = split_of_ids(main)
    ids = list(splits) or _ids(lines, xml)
    if not ids:
        raise DataError(f"{root}: names no images; expected lists in ImageSets/Main or XML files in Annotations")
    annotations = read_annotations(xml, ids)
    names = sorted(lines or set(annotations.names))
    space = space_of(main if lines else xml, names)
    found = _from_lines(lines, ids, space, main) if lines else _from_objects(annotations, ids, space)
    columns = _columns(ids, [splits.get(name) for name in ids], found, annotations, space, root)
    folder = images_folder(images) if images is not None else root / "JPEGImages"
    base = folder if images is not None else root
    source = Source(root, lambda row: f"image id {ids[row]!r}")
    columns["image"] = inside(_files(ids, folder), folder, base, folder, source)
    notes = _notes(found, len(ids), root)
    return assemble(columns, space, source, base, missing=missing, looked=[folder], object_space=space, notes=notes)


def voc_root(path: PathLike) -> Path:
    """The folder with the three folders: the given one, or the only one in it or in its ``VOCdevkit``.

    Raises:
        DataError: there is no such folder, or there are several.
        FormatError: it is not laid out as VOC.
    """
    path = require_folder(path, "the VOC folder")
    if is_voc(path):
        return path
    within = path / "VOCdevkit" if (path / "VOCdevkit").is_dir() else path
    roots = [child for child in sorted(within.iterdir()) if child.is_dir() and is_voc(child)]
    if len(roots) > 1:
        raise DataError(f"{within}: holds {listing([root.name for root in roots])}; give the path of one of them")
    if not roots:
        raise FormatError(f"{path}: is no VOC folder; expected ImageSets/Main or Annotations with XML files in it")
    return roots[0]


def is_voc(path: Path) -> bool:
    """Whether a folder is laid out as VOC."""
    if (path / "ImageSets" / "Main").is_dir():
        return True
    xml = path / "Annotations"
    return xml.is_dir() and any(entry.name.endswith(".xml") for entry in os.scandir(xml))


def _ids(lines: ClassLines, xml: Path) -> list[str]:
    """The images where no split file lists them: those of the class files, or else those with an XML file."""
    if lines:
        return sorted({name for values in lines.values() for name in values})
    return sorted(file.stem for file in xml.glob("*.xml"))


def _from_lines(lines: ClassLines, ids: list[str], space: LabelSpace, main: Path) -> _Labels:
    """Labels of the class files; an image without a line in one is unknown there."""
    values = np.full((len(space), len(ids)), 2, dtype=np.int8)
    row_of = {name: row for row, name in enumerate(ids)}
    for label, name in enumerate(space.names):
        given = lines[name]
        strange = [one for one in given if one not in row_of]
        if strange:
            raise DataError(
                f"{main}: class {name!r}: images in no split file: {listing(strange, 3)}; add them to one, "
                f"such as {SPLITS[0]}.txt"
            )
        rows = np.fromiter((row_of[one] for one in given), dtype=np.int64, count=len(given))
        values[label, rows] = list(given.values())
    pairs = [np.nonzero(values == state)[::-1] for state in (1, 0, 2)]
    return _Labels(*[(rows, labels) for rows, labels in pairs])


def _from_objects(annotations: Annotations, ids: Sequence[str], space: LabelSpace) -> _Labels:
    """Labels of the XML files; an image without one is unknown for all labels."""
    size = len(space)
    keys = annotations.rows * size + np.array([space.id(name) for name in annotations.names], dtype=np.int64)
    sure = np.unique(keys[~annotations.difficult])
    doubtful = np.setdiff1d(keys[annotations.difficult], sure)
    blank = np.flatnonzero(~annotations.has_file)
    unknown = (np.repeat(blank, size), np.tile(np.arange(size), len(blank)))
    return _Labels((sure // size, sure % size), (doubtful // size, doubtful % size), unknown)


def _columns(
    ids: list[str], splits: list[str | None], found: _Labels, annotations: Annotations, space: LabelSpace, root: Path
) -> dict[str, Any]:
    count, size = len(ids), len(space)
    columns: dict[str, Any] = {
        name: label_lists(pairs[0], pairs[1], count, size)
        for name, pairs in (
            ("positives", found.positives),
            ("unknowns", found.unknowns),
            ("difficult", found.difficult),
        )
    }
    columns |= {"id": ids, "split": splits}
    if not annotations.has_file.any():
        return columns
    strange = [number for number, name in enumerate(annotations.names) if name not in space]
    if strange:
        number = strange[0]
        raise DataError(
            f"{root / 'Annotations' / ids[annotations.rows[number]]}.xml: object {annotations.names[number]!r} has no "
            "class file in ImageSets/Main; add one or read with labels=xml"
        )
    category = np.array([space.id(name) for name in annotations.names], dtype=np.int64)
    columns["objects"] = object_lists(annotations.rows, count, {"category": category, "boxes": annotations.boxes})
    columns |= {"width": annotations.widths, "height": annotations.heights}
    return columns


def _files(ids: Sequence[str], folder: Path) -> list[str]:
    """The images' file names, with the ending that they have on the disk; .jpg where they are missing."""
    names = sorted(item.name for item in os.scandir(folder)) if folder.is_dir() else []
    ending = {name.rpartition(".")[0]: name for name in names}
    return [ending.get(name, name + ".jpg") for name in ids]


def _notes(found: _Labels, count: int, root: Path) -> list[str]:
    unknown = len(np.unique(found.unknowns[0]))
    return [f"{root}: {unknown} of {count} images have labels that the files do not tell; unknown"] if unknown else []
