"""Which format a path has, by what lies there."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from pathlib import Path

from cotag.data import coco, psg
from cotag.data.folder import is_picture, listed
from cotag.data.sources import SPLITS, first_bytes
from cotag.data.voc import voc_root
from cotag.errors import DataError, FormatError

TABLES = ("labels.csv", "labels.parquet")
SOUGHT_IN_FILE = (
    "a saved index (.arrow), a Parquet file, JSON with 'images', 'annotations' and 'categories' (coco) or with 'data' "
    "and 'predicate_classes' (psg), a .csv file (table), a .tar file (wds)"
)
SOUGHT_IN_FOLDER = (
    "annotations/instances_<split>.json (coco), ImageSets/Main or Annotations/*.xml (voc), labels.csv or "
    "labels.parquet (table), .tar files (wds), at least two folders with pictures (folder)"
)
INDEX = "index"
JSON_KEYS = {"coco": coco.KEYS, "psg": psg.KEYS}


def recognize(path: Path) -> tuple[str, Path]:
    """The format of a path and the path to read; the format ``index`` is a saved Index.

    Raises:
        FormatError: nothing is there, or none of the formats is recognized; says what was looked for.
    """
    if path.is_dir():
        return _folder_format(path)
    if not path.is_file():
        raise FormatError(f"{path}: there is no such file or folder; check the path, or give format:path")
    found = _file_format(path)
    if found is None:
        raise FormatError(f"{path}: the format is not recognized; looked for {SOUGHT_IN_FILE}; give format:path")
    return found, path


def _file_format(path: Path) -> str | None:
    head = first_bytes(path, 64)
    if head.startswith(b"ARROW1"):
        return INDEX
    if head.startswith(b"PAR1"):
        return "table"
    if head.lstrip().startswith(b"{"):
        return _json_format(path)
    return {".csv": "table", ".tar": "wds"}.get(path.suffix.lower())


def _json_format(path: Path) -> str | None:
    """By the keys' names alone: parsing a large file twice would take seconds."""
    with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for name, keys in JSON_KEYS.items():
            if all(content.find(b'"' + key.encode() + b'"') >= 0 for key in keys):
                return name
    return None


def _folder_format(path: Path) -> tuple[str, Path]:
    if any((path / "annotations").glob("instances_*.json")):
        return "coco", path
    if _is(voc_root, path):
        return "voc", path
    tables = [path / name for name in TABLES if (path / name).is_file()]
    if len(tables) == 1:
        return "table", tables[0]
    if any(path.glob("*.tar")):
        return "wds", path
    if _label_folders(path) >= 2:
        return "folder", path
    raise FormatError(f"{path}: the format is not recognized; looked for {SOUGHT_IN_FOLDER}; give format:path")


def _is(check: Callable[[Path], object], path: Path) -> bool:
    try:
        check(path)
    except FormatError:
        return False
    except DataError:
        return True
    return True


def _label_folders(path: Path) -> int:
    """How many folders hold pictures, on the first level, or below folders that are splits."""
    names, _ = listed(path)
    splits = names if names and set(names) <= set(SPLITS) else []
    labels = {label for split in splits for label in listed(path / split)[0] if _has_pictures(path / split / label)}
    return len(labels) if splits else sum(_has_pictures(path / name) for name in names)


def _has_pictures(folder: Path) -> bool:
    return any(is_picture(name) for name in listed(folder)[1])
