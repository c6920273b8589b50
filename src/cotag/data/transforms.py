"""From an opened picture to the tensor that a tagger takes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image

from cotag.data.resampling import Box, resize
from cotag.errors import SettingError, suggestion

INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
RESIZES = ("squash", "crop", "letterbox")
DECODES = ("exact", "fast")


@dataclass(frozen=True)
class Preprocessing:
    """How a picture is prepared; saved with the model, the same in training and after.

    Args:
        image_size: side of the square in pixels.
        resize: ``squash`` (both sides to image_size), ``crop`` (the shorter side, then the center) or ``letterbox``
            (the longer side; the rest of the square, half on either side, has the color of the mean, which
            normalizes to 0).
        interpolation: ``nearest``, ``bilinear``, ``bicubic`` or ``lanczos``, with antialiasing.
        mean, std: of RGB values in [0, 1].
        decode: ``exact`` (all pixels of a JPEG, as Pillow decodes them) or ``fast`` (a JPEG at the smallest of 1, 1/2,
            1/4 and 1/8 of its size that covers the square, with the fast cosine transform); see ``decoding``.
    """

    image_size: int
    resize: str = "squash"
    interpolation: str = "bicubic"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    decode: str = "exact"

    def __post_init__(self) -> None:
        for name, allowed in (("interpolation", INTERPOLATIONS), ("resize", RESIZES), ("decode", DECODES)):
            value = getattr(self, name)
            if value not in allowed:
                raise SettingError(f"data.{name} = {value!r} is not known{suggestion(value, allowed)}")
        if self.image_size < 1:
            raise SettingError(f"data.image_size = {self.image_size}: must be at least 1 pixel")
        object.__setattr__(self, "mean", tuple(float(value) for value in self.mean))
        object.__setattr__(self, "std", tuple(float(value) for value in self.std))
        if min(self.std) <= 0:
            raise SettingError(f"data.std = {list(self.std)}: must be above 0")

    def to_json(self) -> dict[str, Any]:
        """A JSON object that makes the same Preprocessing again."""
        return asdict(self)

    def __call__(self, image: Image.Image) -> np.ndarray:
        """Pixels of an RGB picture; uint8 (3, image_size, image_size)."""
        out_HWC = np.empty((self.image_size, self.image_size, 3), dtype=np.uint8)
        self.fit(np.asarray(image, dtype=np.uint8), out_HWC)
        return out_HWC.transpose(2, 0, 1)

    def fit(self, pixels_HWC: np.ndarray, out_HWC: np.ndarray, box: Box | None = None) -> None:
        """Bring RGB pixels to the square.

        Args:
            pixels_HWC: uint8 (H, W, 3).
            out_HWC: takes the result, uint8 (image_size, image_size, 3).
            box: (left, top, right, bottom) in pixels, the part of the picture that counts; all where not given.
        """
        height, width = pixels_HWC.shape[:2]
        box = box or (0.0, 0.0, float(width), float(height))
        if self.resize == "crop":
            box = _centered(box)
        elif self.resize == "letterbox":
            out_HWC = self._padded(out_HWC, box)
        size = (out_HWC.shape[1], out_HWC.shape[0])
        resize(pixels_HWC, size, INTERPOLATIONS[self.interpolation], box, out_HWC)

    def _padded(self, out_HWC: np.ndarray, box: Box) -> np.ndarray:
        """The place in the middle of the square for what lies in a box; around it the mean."""
        sides = (box[3] - box[1], box[2] - box[0])
        height, width = (max(1, round(side * self.image_size / max(sides))) for side in sides)
        out_HWC[:] = [min(255, max(0, round(255 * value))) for value in self.mean]
        top, left = (self.image_size - height) // 2, (self.image_size - width) // 2
        return out_HWC[top : top + height, left : left + width]

    def shrinking(self, width: float, height: float) -> int:
        """By which of 1, 2, 4 and 8 a picture may be divided before it is fitted, and still cover what it fills.

        That is the square, or with ``letterbox`` as much of it as a picture of these sides takes.
        """
        side = max(width, height) if self.resize == "letterbox" else min(width, height)
        return max(factor for factor in (1, 2, 4, 8) if factor == 1 or side / factor >= self.image_size)


def _centered(box: Box) -> Box:
    """The largest square in the middle of a box."""
    left, top, right, bottom = box
    side = min(right - left, bottom - top)
    left, top = left + (right - left - side) * 0.5, top + (bottom - top - side) * 0.5
    return left, top, left + side, top + side
