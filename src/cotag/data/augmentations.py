"""Augmentations of a picture in training, by random numbers that they are handed.

An augmentation is a function with settings that gives a function of a picture and a generator: RGB in, RGB out, by
the generator's numbers alone; the picture that it was given stays as it is.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance

from cotag.data.geometry import Cropping, Mirroring, Rectangle
from cotag.errors import SettingError
from cotag.registry import AUGMENTATIONS

Augmentation = Callable[[Image.Image, np.random.Generator], Image.Image]
# A name, or a name with its settings: ``flip``, ``{crop: {smallest: 0.5}}``.
Named = str | Mapping[str, Mapping[str, Any]]

# Of ``multiscale_crop``: sides as shares of the shorter side, how far apart those of width and height may stand in
# this list, below how many pixels of difference a side becomes that of the model, and where the rectangle lies in
# quarters of the room: corners, center, middles of the edges, quarter points.
SCALES, MOST_APART, SNAP = (1.0, 0.875, 0.75, 0.66, 0.5), 2, 3
POSITIONS = tuple((across, down) for across in range(5) for down in range(5) if across % 2 == down % 2)
# What a picture shows where it was moved away.
GRAY = (128, 128, 128)


def with_settings(named: Named) -> tuple[str, dict[str, Any]]:
    """The name and the settings of an augmentation.

    Raises:
        SettingError: not one name.

    >>> with_settings("flip"), with_settings({"crop": {"smallest": 0.5}})
    (('flip', {}), ('crop', {'smallest': 0.5}))
    """
    if isinstance(named, str):
        return named, {}
    if len(named) != 1:
        raise SettingError(
            f"data.augment: {dict(named)} names {len(named)} augmentations; give each an entry of its own, such as "
            "[flip, {crop: {smallest: 0.5}}]"
        )
    ((name, settings),) = named.items()
    return name, dict(settings)


def build_augmentations(given: Sequence[Named], image_size: int | None = None) -> list[Augmentation]:
    """The augmentations of these names, in this order.

    Args:
        image_size: side of the model's square in pixels, for those that depend on it and are told no other; None
            for their own default.

    Raises:
        SettingError: an unknown name, or a setting that is unknown or out of its range.
    """

    def build(name: str, settings: dict[str, Any]) -> Augmentation:
        wants = "image_size" in inspect.signature(AUGMENTATIONS.get(name)).parameters
        known = {"image_size": image_size} if wants and image_size is not None else {}
        found: Augmentation = AUGMENTATIONS.build(name, **{**known, **settings})
        return found

    return [build(*with_settings(named)) for named in given]


def require_range(
    name: str, setting: str, value: Any, least: float, most: float = math.inf, whole: bool = False
) -> None:
    """Refuse a setting of an augmentation that is no number from ``least`` to ``most``.

    Raises:
        SettingError: names augmentation, setting and range.
    """
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value <= most:
        what = "a whole number" if whole else "a number"
        upper = "or more" if most == math.inf else f"to {most:g}"
        raise SettingError(f"data.augment: {name}: {setting} = {value!r}: must be {what}, {least:g} {upper}")


def flip(chance: float = 0.5) -> Augmentation:
    """Mirror left and right with a chance in [0, 1]."""
    require_range("flip", "chance", chance, 0, 1)

    return Mirroring(chance)


def crop(smallest: float = 0.6, stretch: float = 4 / 3) -> Augmentation:
    """Keep a random rectangle of at least ``smallest`` of the area, its sides stretched by at most ``stretch``."""
    require_range("crop", "smallest", smallest, 0, 1)
    require_range("crop", "stretch", stretch, 1)

    def rectangle(size: tuple[int, int], random: np.random.Generator) -> Rectangle:
        width, height = size
        area = random.uniform(smallest, 1.0)
        ratio = np.exp(random.uniform(-np.log(stretch), np.log(stretch)))
        kept_width = min(width, max(1, round(width * (area * ratio) ** 0.5)))
        kept_height = min(height, max(1, round(height * (area / ratio) ** 0.5)))
        left = int(random.integers(0, width - kept_width + 1))
        top = int(random.integers(0, height - kept_height + 1))
        return left, top, left + kept_width, top + kept_height

    return Cropping(rectangle)


def color(strength: float = 0.3) -> Augmentation:
    """Change brightness, contrast and saturation by random factors within 1 +- ``strength``."""
    require_range("color", "strength", strength, 0, 1)

    def apply(image: Image.Image, random: np.random.Generator) -> Image.Image:
        for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            image = enhance(image).enhance(random.uniform(1 - strength, 1 + strength))
        return image

    return apply


def perspective(strength: float = 0.5, chance: float = 0.5) -> Augmentation:
    """Look from aside: with a chance, move each corner inward by up to ``strength`` of half a side; gray around.

    Args:
        strength: 0 for no change, up to 0.95.
        chance: in [0, 1].
    """
    require_range("perspective", "strength", strength, 0, 0.95)
    require_range("perspective", "chance", chance, 0, 1)

    def apply(image: Image.Image, random: np.random.Generator) -> Image.Image:
        if random.random() >= chance:
            return image
        size = np.array(image.size)
        corners = np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) * size
        inward = random.uniform(0, strength, (4, 2)) * size / 2
        moved = np.where(corners == 0, inward, corners - inward)
        numbers = projection(moved, corners)
        transform, how = Image.Transform.PERSPECTIVE, Image.Resampling.BILINEAR
        return image.transform(image.size, transform, numbers, how, fillcolor=GRAY)

    return apply


def projection(sources_42: np.ndarray, targets_42: np.ndarray) -> list[float]:
    """The numbers a to h of (x, y) -> (ax + by + c, dx + ey + f) / (gx + hy + 1) that takes four points to others."""
    rows, wanted = [], []
    for (x, y), (to_x, to_y) in zip(sources_42, targets_42, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -x * to_x, -y * to_x], [0, 0, 0, x, y, 1, -x * to_y, -y * to_y]]
        wanted += [to_x, to_y]
    found: list[float] = np.linalg.solve(np.array(rows, dtype=float), np.array(wanted, dtype=float)).tolist()
    return found


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
    require_range("multiscale_crop", "image_size", image_size, 1, whole=True)

    def rectangle(size: tuple[int, int], random: np.random.Generator) -> Rectangle:
        sides = crop_sides(min(size), image_size)
        places = range(len(sides))
        pairs = [(sides[i], sides[j]) for i in places for j in places if abs(i - j) <= MOST_APART]
        width, height = pairs[int(random.integers(len(pairs)))]
        across, down = POSITIONS[int(random.integers(len(POSITIONS)))]
        left, top = across * ((size[0] - width) // 4), down * ((size[1] - height) // 4)
        return left, top, left + width, top + height

    return Cropping(rectangle)


def crop_sides(shorter: int, image_size: int) -> list[int]:
    """The sides in pixels that ``multiscale_crop`` chooses from, for a picture with this shorter side."""
    sides = [max(1, int(shorter * scale)) for scale in SCALES]
    return [image_size if abs(side - image_size) < SNAP and image_size <= shorter else side for side in sides]


def cutout(share: float = 0.5) -> Augmentation:
    """Cover a rectangle of ``share`` of both sides, its center anywhere in the picture, with a random color.

    Source: DeVries, Taylor, Improved regularization of convolutional neural networks with cutout, 2017.
    """
    require_range("cutout", "share", share, 0, 2)

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
