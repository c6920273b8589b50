"""COCO segmentations as compressed run-length masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cotag.data.sources import short
from cotag.errors import DataError


def masks_of(
    found: list[dict[str, Any]], rows: np.ndarray, width: pa.Array, height: pa.Array, file: Path
) -> np.ndarray:
    """The compressed RLE of each annotation, or None where it has no segmentation; objects (M,).

    Args:
        found: M annotations with polygons, or RLE, compressed or not.
        rows: for each the row of its image.
        width, height: for each image its size in pixels.

    Raises:
        DataError: a segmentation is no mask of its image's size.
    """
    widths, heights = width.to_pylist(), height.to_pylist()
    masks = np.full(len(found), None, dtype=object)
    for number, (entry, row) in enumerate(zip(found, rows.tolist(), strict=True)):
        segmentation = entry.get("segmentation")
        if not segmentation:
            continue
        try:
            masks[number] = encoded(segmentation, heights[row], widths[row])
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(
                f"{file}: annotation id {short(entry.get('id'))}: segmentation is no mask ({error}); "
                "correct it or read with masks=false"
            ) from None
    return masks


def encoded(segmentation: Any, height: int | None, width: int | None) -> bytes:
    """The compressed RLE of one segmentation.

    Raises:
        ValueError: it is not one of an image of this size.
    """
    from pycocotools import mask as coco  # heavy; only masks need it

    if not height or not width:
        raise ValueError("the image's width and height are not given")
    if isinstance(segmentation, list):
        polygons = [_polygon(polygon, height, width) for polygon in segmentation]
        return bytes(coco.merge(coco.frPyObjects(polygons, height, width))["counts"])
    if list(segmentation["size"]) != [height, width]:
        raise ValueError(f"its size is {short(segmentation['size'])} and the image has [{height}, {width}]")
    counts = segmentation["counts"]
    if isinstance(counts, str):
        return counts.encode("ascii")
    if sum(counts) != height * width or min(counts) < 0:
        raise ValueError(f"its runs add up to {sum(counts)} and the image has {height * width} pixels")
    return bytes(coco.frPyObjects(segmentation, height, width)["counts"])


def _polygon(polygon: Any, height: int, width: int) -> list[float]:
    """A checked polygon: pycocotools itself reads whatever it is given."""
    points = np.asarray(polygon, dtype=np.float64)
    if points.ndim != 1 or len(points) < 6 or len(points) % 2:
        raise ValueError("a polygon needs at least three points x, y")
    reach = 2 * max(height, width)
    if not (np.abs(points) <= reach).all():
        raise ValueError(f"a point of a polygon is not a number, or far outside the image's {width} x {height} pixels")
    found: list[float] = points.tolist()
    return found
