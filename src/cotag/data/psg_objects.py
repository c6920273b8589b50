"""The objects, segments and triplets of a full panoptic scene graph file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cotag.data.assembly import object_lists, space_of
from cotag.data.sources import short
from cotag.errors import DataError, FormatError
from cotag.types.columns import TRIPLETS
from cotag.types.labels import LabelSpace

XYXY, XYWH = 0, 1


def object_columns(
    value: dict[str, Any], found: list[dict[str, Any]], relations: list[list[Any]], ids: list[str], path: Path
) -> tuple[dict[str, Any], LabelSpace]:
    """The columns ``objects``, ``segments``, ``triplets``, ``width`` and ``height``, and the object categories.

    Args:
        value: the whole file.
        found: its N records.
        relations: for each record its triplets (subject, object, predicate).

    Raises:
        FormatError: the file does not name the object categories.
        DataError: a segment, a box or a triplet is wrong; named by its image id.
    """
    space = _categories(value, path)
    rows: list[int] = []
    fields: dict[str, list[Any]] = {"category": [], "boxes": [], "crowd": [], "segment": []}
    for row, entry in enumerate(found):
        where = f"{path}: image id {ids[row]}"
        segments = entry.get("segments_info") or []
        boxes = _boxes(entry.get("annotations") or [], len(segments), where)
        for number, segment in enumerate(segments):
            rows.append(row)
            fields["category"].append(_category(segment, number, len(space), where))
            fields["crowd"].append(bool(segment.get("iscrowd")))
            fields["segment"].append(segment.get("id"))
            fields["boxes"].append(boxes[number])
        _check_triplets(relations[row], len(segments), where)
    columns = {
        "objects": object_lists(np.array(rows, dtype=np.int64), len(found), fields),
        "segments": [name if isinstance(name := entry.get("pan_seg_file_name"), str) else None for entry in found],
        "triplets": pa.array([[_triplet(one) for one in held] for held in relations], TRIPLETS),
    }
    for side in ("width", "height"):
        columns[side] = [size if type(size := entry.get(side)) is int else None for entry in found]
    return columns, space


def _categories(value: dict[str, Any], path: Path) -> LabelSpace:
    lists = [value.get(key) for key in ("thing_classes", "stuff_classes")]
    if not all(isinstance(names, list) for names in lists):
        raise FormatError(f"{path}: has segments but no lists 'thing_classes' and 'stuff_classes'; add them")
    things, stuff = ([str(name) for name in names or []] for names in lists)
    groups = ("thing",) * len(things) + ("stuff",) * len(stuff)
    return space_of(path, things + stuff, source_ids=tuple(range(len(groups))), groups=groups)


def _category(segment: Any, number: int, size: int, where: str) -> int:
    if not isinstance(segment, dict):
        raise DataError(f"{where}: segment {number} is {short(segment)}; it must be an object")
    given, color = segment.get("category_id"), segment.get("id")
    if type(given) is not int or not 0 <= given < size:
        raise DataError(f"{where}: segment {number}: category_id is {short(given)}; allowed: 0 to {size - 1}")
    if color is not None and (type(color) is not int or not 0 <= color < 2**24):
        raise DataError(f"{where}: segment {number}: id is {short(color)}; allowed: 0 to {2**24 - 1}, or absent")
    return given


def _boxes(annotations: list[Any], count: int, where: str) -> list[list[float]]:
    """One box for each segment, as x, y, width, height; NaN where the record has no boxes."""
    if not annotations:
        return [[np.nan] * 4] * count
    if len(annotations) != count:
        raise DataError(f"{where}: has {len(annotations)} annotations for {count} segments; give one for each")
    boxes = []
    for number, annotation in enumerate(annotations):
        given = annotation if isinstance(annotation, dict) else {}
        box, mode = given.get("bbox"), given.get("bbox_mode", XYXY)
        try:
            left, top, right, bottom = map(float, box or ())
        except (TypeError, ValueError):
            left = top = right = bottom = np.nan
        if mode not in (XYXY, XYWH) or not np.isfinite([left, top, right, bottom]).all():
            raise DataError(
                f"{where}: annotation {number}: bbox is {short(box)} in mode {short(mode)}; it must be four numbers, "
                "in mode 0 (corners) or 1 (corner, width, height)"
            )
        boxes.append([left, top, right - left, bottom - top] if mode == XYXY else [left, top, right, bottom])
    return boxes


def _check_triplets(held: list[Any], count: int, where: str) -> None:
    for one in held:
        if not (isinstance(one, list) and len(one) == 3 and all(type(n) is int and 0 <= n < count for n in one[:2])):
            raise DataError(
                f"{where}: relation {short(one)} is not [subject, object, predicate] with objects 0 to {count - 1}"
            )


def _triplet(one: list[int]) -> dict[str, int]:
    return {"subject": one[0], "object": one[1], "predicate": one[2]}
