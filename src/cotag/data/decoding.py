"""From an image file to the pixels that a tagger takes, reading and computing no more than these need."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from typing import cast

import numpy as np
import simplejpeg
from PIL import Image

from cotag.data.augmentations import Augmentation
from cotag.data.contents import read_image
from cotag.data.geometry import Cropping, Mirroring
from cotag.data.images import (
    decode,
    location,
    opened,
    orientation,
    refusing,
    require_end,
    upright_size,
)
from cotag.data.resampling import Box
from cotag.data.transforms import Preprocessing

# Of an image as it is stored: how rows and columns change places, and which way they then run, to stand upright.
_UPRIGHT = {2: (0, 1, -1), 3: (0, -1, -1), 4: (0, -1, 1), 5: (1, 1, 1), 6: (1, 1, -1), 7: (1, -1, -1), 8: (1, -1, 1)}


def prepare_file(
    path: str | os.PathLike[str],
    preprocessing: Preprocessing,
    row: int | None = None,
    augmentations: Sequence[Augmentation] = (),
    random: np.random.Generator | None = None,
    out_HWC: np.ndarray | None = None,
) -> np.ndarray:
    """The pixels of an image file, augmented and prepared; uint8 (3, image_size, image_size).

    With ``preprocessing.decode`` = ``exact`` they are those of ``open_image``, the augmentations and the
    preprocessing one after the other, byte by byte. With ``fast`` a JPEG is decoded at 1/2, 1/4 or 1/8 of its size
    where this still covers the square, or for a first augmentation that crops, where what it keeps does; with the
    fast cosine transform and the fast upsampling of colors; and augmentations see it at that size.

    Args:
        path: of the image; see ``cotag.types.places``.
        row: the row that names it, for messages.
        augmentations: in their order.
        random: of the augmentations.
        out_HWC: takes the pixels, uint8 (image_size, image_size, 3).

    Raises:
        ImageError: as ``open_image``.
    """
    where = location(path, row)
    return prepare_bytes(read_image(path, where), where, preprocessing, augmentations, random, out_HWC)


def prepare_bytes(
    data: bytes,
    where: str,
    preprocessing: Preprocessing,
    augmentations: Sequence[Augmentation] = (),
    random: np.random.Generator | None = None,
    out_HWC: np.ndarray | None = None,
) -> np.ndarray:
    """``prepare_file`` for the bytes of an image; ``where`` names it in messages."""
    if out_HWC is None:
        out_HWC = np.empty((preprocessing.image_size, preprocessing.image_size, 3), dtype=np.uint8)
    picture = _Picture(data, where)
    rest = list(augmentations)
    kept: Box = (0, 0, *picture.size)
    first = rest[0] if rest else None
    if isinstance(first, Cropping):
        kept, rest = first.rectangle(picture.size, cast(np.random.Generator, random)), rest[1:]
    factor = 1
    if preprocessing.decode == "fast":
        factor = preprocessing.shrinking(kept[2] - kept[0], kept[3] - kept[1])
    pixels_HWC = picture.pixels(factor, preprocessing.decode == "fast")
    box = _scaled(kept, picture.size, pixels_HWC)
    if preprocessing.decode == "exact" or rest:
        left, top, right, bottom = (round(side) for side in box)
        pixels_HWC = pixels_HWC[top : max(bottom, top + 1), left : max(right, left + 1)]
        box = (0, 0, pixels_HWC.shape[1], pixels_HWC.shape[0])
    for augment in rest:
        assert random is not None
        if isinstance(augment, Mirroring):
            pixels_HWC = pixels_HWC[:, ::-1] if augment.mirrors(random) else pixels_HWC
        else:
            image = Image.fromarray(np.ascontiguousarray(pixels_HWC))
            pixels_HWC = np.asarray(augment(image, random))
            box = (0, 0, pixels_HWC.shape[1], pixels_HWC.shape[0])
    preprocessing.fit(pixels_HWC, out_HWC, box)
    return out_HWC.transpose(2, 0, 1)


def decoded(data: bytes, where: str, preprocessing: Preprocessing) -> np.ndarray:
    """The upright picture of the bytes of an image as ``prepare_bytes`` decodes it; uint8 (H, W, 3)."""
    picture = _Picture(data, where)
    fast = preprocessing.decode == "fast"
    return picture.pixels(preprocessing.shrinking(*picture.size) if fast else 1, fast)


def _scaled(kept: Box, size: tuple[int, int], pixels_HWC: np.ndarray) -> Box:
    """A box of a picture in pixels of what was decoded of it."""
    height, width = pixels_HWC.shape[:2]
    across, down = width / size[0], height / size[1]
    left, top, right, bottom = kept
    return left * across, top * down, min(width, right * across), min(height, bottom * down)


class _Picture:
    """The bytes of an image, of which the header is read.

    Attributes:
        size: (width, height) in pixels of the upright picture.
    """

    def __init__(self, data: bytes, where: str) -> None:
        self._data, self._where = data, where
        with refusing(io.BytesIO(data), where):
            image = opened(io.BytesIO(data), where)
            self._plain = image.format in ("JPEG", "MPO") and image.mode in ("RGB", "L")
            self._stored, self._turn = image.size, orientation(image)
            self.size = upright_size(image)
        self._pixels_HWC: np.ndarray | None = None
        if not self._plain:
            # What some formats say of orientation stands behind the pixels.
            self._pixels_HWC = np.asarray(decode(io.BytesIO(data), where))
            self.size = (self._pixels_HWC.shape[1], self._pixels_HWC.shape[0])

    def pixels(self, factor: int, fast: bool) -> np.ndarray:
        """The upright picture, uint8 (H, W, 3).

        Args:
            factor: a JPEG may be decoded at one part in ``factor`` of its size.
            fast: with the fast cosine transform and the fast upsampling of colors.

        Raises:
            ImageError: it cannot be decoded.
        """
        if self._pixels_HWC is not None:
            return self._pixels_HWC
        require_end(io.BytesIO(self._data), self._where)
        width, height = (-(-side // factor) for side in self._stored)
        wanted = {"min_width": width, "min_height": height} if factor > 1 else {}
        try:
            found_HWC = simplejpeg.decode_jpeg(self._data, fastdct=fast, fastupsample=fast, **wanted)
        except ValueError:
            # Damaged, or odd in a way that Pillow accepts; it also says what is wrong.
            return np.asarray(decode(io.BytesIO(self._data), self._where))
        swapped, rows, columns = _UPRIGHT.get(self._turn, (0, 1, 1))
        if swapped:
            found_HWC = found_HWC.transpose(1, 0, 2)
        return cast(np.ndarray, found_HWC[::rows, ::columns])
