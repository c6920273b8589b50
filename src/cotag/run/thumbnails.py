"""Small pictures for a report."""

from __future__ import annotations

import io
from collections.abc import Callable

from cotag.data.images import open_image
from cotag.errors import ImageError
from cotag.types.index import Index

SIDE = 160
QUALITY = 80


def thumbnails(index: Index) -> Callable[[str], bytes | None]:
    """What gives a JPEG of at most 160 pixels a side for the id of an image.

    It gives None for an id that is not in the index, and for an image that cannot be read.
    """
    row_of = {name: row for row, name in enumerate(index.ids)}

    def thumbnail(name: str) -> bytes | None:
        if name not in row_of:
            return None
        try:
            image = open_image(index.image(row_of[name]), cover=(SIDE, SIDE))
        except ImageError:
            return None
        image.thumbnail((SIDE, SIDE))
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=QUALITY)
        return stream.getvalue()

    return thumbnail
