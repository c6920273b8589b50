"""From an opened picture to the tensor that a tagger takes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from cotag.errors import SettingError, suggestion

INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
RESIZES = ("squash", "crop")


@dataclass(frozen=True)
class Preprocessing:
    """How a picture is prepared; saved with the model, the same in training and after.

    Args:
        image_size: side of the square in pixels.
        resize: ``squash`` (both sides to image_size) or ``crop`` (the shorter side, then the center).
        interpolation: ``nearest``, ``bilinear``, ``bicubic`` or ``lanczos``, with antialiasing.
        mean, std: of RGB values in [0, 1].
    """

    image_size: int
    resize: str = "squash"
    interpolation: str = "bicubic"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        for name, allowed in (("interpolation", INTERPOLATIONS), ("resize", RESIZES)):
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
        size, how = (self.image_size, self.image_size), INTERPOLATIONS[self.interpolation]
        if image.size != size:
            image = image.resize(size, how) if self.resize == "squash" else ImageOps.fit(image, size, how)
        return np.ascontiguousarray(np.asarray(image, dtype=np.uint8).transpose(2, 0, 1))
