"""Small pictures for a report."""

from __future__ import annotations

import io
from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from cotag.data.images import open_image
from cotag.errors import ImageError
from cotag.types.index import Index

SIDE = 160
QUALITY = 80


def thumbnails(index: Index) -> Callable[[str], bytes | None]:
    """What gives a JPEG of at most 160 pixels a side for the id of an image.

    It gives None for an id that is not in the index, and for an image that cannot be read.
    """
    ids = index.table["id"]

    def thumbnail(name: str) -> bytes | None:
        row = pc.index(ids, pa.scalar(name, ids.type)).as_py()
        if row < 0:
            return None
        try:
            image = open_image(index.image(row), cover=(SIDE, SIDE))
        except ImageError:
            return None
        image.thumbnail((SIDE, SIDE))
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=QUALITY)
        return stream.getvalue()

    return thumbnail
