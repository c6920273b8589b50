"""A folder for each label, with or without a folder for each split above."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cotag.data.assembly import assemble, label_lists, space_of
from cotag.data.sources import SPLITS, PathLike, Source, choice, names_of, require_folder
from cotag.errors import DataError, FormatError, listing
from cotag.types.index import Index

SAME = ("path", "name")
SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
        *(".avif", ".heic", ".heif", ".ppm", ".pgm", ".pbm", ".tga"),
    )
)


@dataclass
class _Found:
    """Pictures: their reference, the label folder that each lies in (None beside them), their split."""

    references: list[str] = field(default_factory=list)
    labels: list[str | None] = field(default_factory=list)
    splits: list[str | None] = field(default_factory=list)
    folders: set[str] = field(default_factory=set)
    others: list[str] = field(default_factory=list)


def read_folder(path: PathLike, /, *, splits: str | Iterable[str] = (), same: str = "path") -> Index:
    """Read ``<label>/<picture>``, or ``<split>/<label>/<picture>``.

    The first level is splits where every folder there is named ``train``, ``val``, ``test``, ``trainval`` or as
    ``splits`` says; otherwise it is labels. Labels are in alphabetical order. A picture beside the label folders has
    none of the labels; an empty label folder is a label; files that are no pictures by their ending are left out and
    noted.

    Args:
        path: the root folder.
        splits: further names of folders that are splits.
        same: what makes two files one image with both labels: ``path`` (nothing does) or ``name`` (the same file
            name in two label folders of a split).

    Raises:
        DataError: the folder is missing, or a label folder holds folders.
        FormatError: there are no label folders, or no pictures.
    """
    choice("same", same, SAME)
    root = require_folder(path, "the folder that holds a folder for each label")
    names, _ = listed(root)
    allowed = {*SPLITS, *names_of(splits)}
    found = _Found()
    if names and set(names) <= allowed:
        for split in names:
            _collect(root, split + "/", split, found)
    else:
        _collect(root, "", None, found)
    if not found.folders or not found.references:
        what = "no label folders" if not found.folders else f"no pictures ({', '.join(sorted(SUFFIXES))})"
        raise FormatError(f"{root}: holds {what}; expected <label>/<picture> or <split>/<label>/<picture>")
    space = space_of(root, sorted(found.folders))
    rows, firsts = _rows(found, same)
    pairs = [(row, space.id(label)) for row, label in zip(rows, found.labels, strict=True) if label is not None]
    pairs_M2 = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    columns = {
        "image": [found.references[place] for place in firsts],
        "positives": label_lists(pairs_M2[:, 0], pairs_M2[:, 1], len(firsts), len(space)),
        "split": [found.splits[place] for place in firsts],
    }
    notes = [f"{root}: {len(found.others)} files are no pictures and left out: {listing(found.others, 3)}"]
    source = Source(root, lambda row: columns["image"][row])
    return assemble(columns, space, source, root, notes=notes if found.others else ())


def listed(folder: Path) -> tuple[list[str], list[str]]:
    """The names of the folders and of the files in a folder, in order; hidden ones are passed over."""
    with os.scandir(folder) as items:
        seen = [(item.name, item.is_dir()) for item in items if not item.name.startswith(".")]
    return sorted(name for name, is_folder in seen if is_folder), sorted(
        name for name, is_folder in seen if not is_folder
    )


def is_picture(name: str) -> bool:
    """Whether a file is a picture by its ending."""
    return Path(name).suffix.lower() in SUFFIXES


def _collect(root: Path, prefix: str, split: str | None, found: _Found) -> None:
    """Add what lies in ``root/prefix``: pictures without label, and the label folders."""
    labels, loose = listed(root / prefix)
    _add(prefix, loose, None, split, found)
    for label in labels:
        folders, files = listed(root / prefix / label)
        if folders:
            raise DataError(
                f"{root / prefix / label}: is a label folder and holds folders ({listing(folders, 3)}); put its "
                "pictures into it directly, or if it is a split read with splits=NAME,NAME for all of the first level"
            )
        found.folders.add(label)
        _add(f"{prefix}{label}/", files, label, split, found)


def _add(prefix: str, files: list[str], label: str | None, split: str | None, found: _Found) -> None:
    pictures = [prefix + name for name in files if is_picture(name)]
    found.others += [prefix + name for name in files if not is_picture(name)]
    found.references += pictures
    found.labels += [label] * len(pictures)
    found.splits += [split] * len(pictures)


def _rows(found: _Found, same: str) -> tuple[list[int], list[int]]:
    """The row of each picture, and for each row its first picture."""
    if same == "path":
        every = list(range(len(found.references)))
        return every, every
    row_of: dict[tuple[str | None, str], int] = {}
    rows: list[int] = []
    firsts: list[int] = []
    for place, (reference, split) in enumerate(zip(found.references, found.splits, strict=True)):
        key = (split, reference.rpartition("/")[2])
        if key not in row_of:
            row_of[key] = len(firsts)
            firsts.append(place)
        rows.append(row_of[key])
    return rows, firsts
