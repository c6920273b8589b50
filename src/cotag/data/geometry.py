"""Augmentations that are known from a picture's size alone: what they leave out need not be prepared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

Rectangle = tuple[int, int, int, int]


@dataclass(frozen=True)
class Cropping:
    """Keeps a rectangle.

    Args:
        rectangle: (left, top, right, bottom) in pixels, from (width, height) and random numbers.
    """

    rectangle: Callable[[tuple[int, int], np.random.Generator], Rectangle]

    def __call__(self, image: Image.Image, random: np.random.Generator) -> Image.Image:
        return image.crop(self.rectangle(image.size, random))


@dataclass(frozen=True)
class Mirroring:
    """Mirrors left and right, with a chance in [0, 1]."""

    chance: float

    def mirrors(self, random: np.random.Generator) -> bool:
        """Whether it does this time."""
        return bool(random.random() < self.chance)

    def __call__(self, image: Image.Image, random: np.random.Generator) -> Image.Image:
        return ImageOps.mirror(image) if self.mirrors(random) else image
