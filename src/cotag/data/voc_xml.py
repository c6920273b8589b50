"""The XML annotations of VOC: objects with a name, a box and a mark whether they are difficult."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from cotag.data.sources import short
from cotag.errors import DataError

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class Annotations:
    """The objects of N images.

    Attributes:
        rows: for each of M objects its row; int64 (M,).
        names: M class names.
        boxes: x, y, width, height in pixels, counted from 0; NaN where an object has no box; (M, 4).
        difficult: bool (M,).
        widths, heights: N sizes in pixels, None where not given.
        has_file: whether an image has an XML file; bool (N,).
    """

    rows: np.ndarray
    names: list[str]
    boxes: np.ndarray
    difficult: np.ndarray
    widths: list[int | None]
    heights: list[int | None]
    has_file: np.ndarray


def read_annotations(folder: Path, ids: Sequence[str]) -> Annotations:
    """Read ``<id>.xml`` of each image that has one.

    Raises:
        DataError: a file is not XML, or an object has no name or a wrong box.
    """
    there = {item.name for item in os.scandir(folder)} if folder.is_dir() else set()
    rows: list[int] = []
    names: list[str] = []
    boxes: list[list[float]] = []
    difficult: list[bool] = []
    sizes: list[tuple[int | None, int | None]] = []
    for row, name in enumerate(ids):
        if f"{name}.xml" not in there:
            sizes.append((None, None))
            continue
        file = folder / f"{name}.xml"
        tree = _parsed(file)
        sizes.append((_pixels(tree, "width", file), _pixels(tree, "height", file)))
        for number, item in enumerate(tree.findall("object"), 1):
            rows.append(row)
            names.append(_name(item, file, number))
            boxes.append(_box(item, file, number))
            difficult.append(_difficult(item, file, number))
    return Annotations(
        np.array(rows, dtype=np.int64),
        names,
        np.array(boxes, dtype=np.float64).reshape(-1, 4),
        np.array(difficult, dtype=bool),
        [width for width, _ in sizes],
        [height for _, height in sizes],
        np.array([f"{name}.xml" in there for name in ids], dtype=bool),
    )


def _parsed(file: Path) -> ElementTree.Element:
    try:
        return ElementTree.parse(file).getroot()
    except (ElementTree.ParseError, ValueError, LookupError, OSError) as error:
        raise DataError(f"{file}: is not XML ({error}); is the file complete?") from None


def _name(item: ElementTree.Element, file: Path, number: int) -> str:
    name = (item.findtext("name") or "").strip()
    if not name:
        raise DataError(f"{file}: object {number} has no name; name its class or remove it")
    return name


def _difficult(item: ElementTree.Element, file: Path, number: int) -> bool:
    text = (item.findtext("difficult") or "").strip()
    if text not in ("", "0", "1"):
        raise DataError(f"{file}: object {number}: difficult is {short(text)}; allowed: 1, 0 or absent")
    return text == "1"


def _pixels(tree: ElementTree.Element, side: str, file: Path) -> int | None:
    text = (tree.findtext(f"size/{side}") or "").strip()
    if not text:
        return None
    if not text.isdecimal() or len(text) > 9:
        raise DataError(f"{file}: {side} is {short(text)}; it must be a number of pixels or absent")
    return int(text) or None


def _box(item: ElementTree.Element, file: Path, number: int) -> list[float]:
    """VOC counts pixels from 1 and gives the last one that is inside."""
    found = item.find("bndbox")
    if found is None:
        return [np.nan] * 4
    texts = [(found.findtext(corner) or "").strip() for corner in _CORNERS]
    try:
        left, top, right, bottom = map(float, texts)
    except ValueError:
        left = top = right = bottom = np.nan
    if not (abs(left) < 1e9 and abs(top) < 1e9 and left <= right < 1e9 and top <= bottom < 1e9):
        shown = ", ".join(f"{corner} {text or 'absent'}" for corner, text in zip(_CORNERS, texts, strict=True))
        raise DataError(
            f"{file}: object {number} ({short(item.findtext('name'))}): the box is {short(shown)}; it needs four "
            "numbers with xmin <= xmax and ymin <= ymax"
        )
    return [left - 1, top - 1, right - left + 1, bottom - top + 1]
