"""From an opened picture to the tensor that a tagger takes, and the augmentations of training."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from cotag.errors import SettingError, suggestion
from cotag.registry import AUGMENTATIONS

INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
RESIZES = ("squash", "crop")

# Of ``multiscale_crop``: sides as shares of the shorter side, how far apart those of width and height may stand in
# this list, below how many pixels of difference a side becomes that of the model, and where the rectangle lies in
# quarters of the room: corners, center, middles of the edges, quarter points.
SCALES, MOST_APART, SNAP = (1.0, 0.875, 0.75, 0.66, 0.5), 2, 3
POSITIONS = tuple((across, down) for across in range(5) for down in range(5) if across % 2 == down % 2)

Augmentation = Callable[[Image.Image, np.random.Generator], Image.Image]


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


def build_augmentations(names: Sequence[str], image_size: int | None = None) -> list[Augmentation]:
    """The augmentations of these names, in this order.

    Args:
        image_size: side of the model's square in pixels, for those that depend on it; None for their own default.

    Raises:
        SettingError: an unknown name.
    """

    def settings(name: str) -> dict[str, int]:
        wants = "image_size" in inspect.signature(AUGMENTATIONS.get(name)).parameters
        return {} if image_size is None or not wants else {"image_size": image_size}

    return [AUGMENTATIONS.build(name, **settings(name)) for name in names]


def flip(chance: float = 0.5) -> Augmentation:
    """Mirror left and right with a chance in [0, 1]."""

    def apply(image: Image.Image, random: np.random.Generator) -> Image.Image:
        return ImageOps.mirror(image) if random.random() < chance else image

    return apply


def crop(smallest: float = 0.6, stretch: float = 4 / 3) -> Augmentation:
    """Keep a random rectangle of at least ``smallest`` of the area, its sides stretched by at most ``stretch``."""

    def apply(image: Image.Image, random: np.random.Generator) -> Image.Image:
        width, height = image.size
        area = random.uniform(smallest, 1.0)
        ratio = np.exp(random.uniform(-np.log(stretch), np.log(stretch)))
        kept_width = min(width, max(1, round(width * (area * ratio) ** 0.5)))
        kept_height = min(height, max(1, round(height * (area / ratio) ** 0.5)))
        left = int(random.integers(0, width - kept_width + 1))
        top = int(random.integers(0, height - kept_height + 1))
        return image.crop((left, top, left + kept_width, top + kept_height))

    return apply


def color(strength: float = 0.3) -> Augmentation:
    """Change brightness, contrast and saturation by random factors within 1 +- ``strength``."""

    def apply(image: Image.Image, random: np.random.Generator) -> Image.Image:
        for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            image = enhance(image).enhance(random.uniform(1 - strength, 1 + strength))
        return image

    return apply


def multiscale_crop(image_size: int = 448) -> Augmentation:
    """Keep a rectangle of one of five widths and heights at one of 13 fixed places, as ML-GCN was trained.

    Widths and heights are 1, .875, .75, .66 and .5 of the shorter side, at most two steps apart; the resize to
    ``image_size`` follows with the preprocessing.

    Args:
        image_size: side of the model's square in pixels; a side less than 3 pixels from it becomes it.

    Source: Chen, Wei, Wang, Guo, ML-GCN, CVPR 2019, its published program; first in Wang et al., Towards good
        practices for very deep two-stream ConvNets, 2015.
    Differs: a side never becomes longer than the picture, where the program pads with black.
    """

    def apply(image: Image.Image, random: np.random.Generator) -> Image.Image:
        sides = crop_sides(min(image.size), image_size)
        places = range(len(sides))
        pairs = [(sides[i], sides[j]) for i in places for j in places if abs(i - j) <= MOST_APART]
        width, height = pairs[int(random.integers(len(pairs)))]
        across, down = POSITIONS[int(random.integers(len(POSITIONS)))]
        left, top = across * ((image.width - width) // 4), down * ((image.height - height) // 4)
        return image.crop((left, top, left + width, top + height))

    return apply


def crop_sides(shorter: int, image_size: int) -> list[int]:
    """The sides in pixels that ``multiscale_crop`` chooses from, for a picture with this shorter side."""
    sides = [max(1, int(shorter * scale)) for scale in SCALES]
    return [image_size if abs(side - image_size) < SNAP and image_size <= shorter else side for side in sides]


def cutout(share: float = 0.5) -> Augmentation:
    """Cover a rectangle of ``share`` of both sides, its center anywhere in the picture, with a random color.

    Source: DeVries, Taylor, Improved regularization of convolutional neural networks with cutout, 2017.
    """

    def apply(image: Image.Image, random: np.random.Generator) -> Image.Image:
        width, height = image.size
        half_width, half_height = round(share * width) // 2, round(share * height) // 2
        x, y = int(random.integers(width)), int(random.integers(height))
        box = (max(0, x - half_width), max(0, y - half_height), x + half_width, y + half_height)
        red, green, blue = (int(value) for value in random.integers(0, 256, 3))
        covered = image.copy()
        covered.paste((red, green, blue), (*box[:2], min(width, box[2]), min(height, box[3])))
        return covered

    return apply
