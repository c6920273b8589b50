"""Augmentations that draw from a set of operations: RandAugment and AugMix."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from cotag.data.augmentations import GRAY, Augmentation, require_range

# Of a picture, how much of the operation's range in [0, 1], and the sign, 1 or -1.
Operation = Callable[[Image.Image, float, int], Image.Image]
MOST_MAGNITUDE = 10
# The ends of the ranges: an enhancement's factor is 1 +- 0.9, degrees, slope, share of the side.
FACTOR, DEGREES, SLOPE, SHIFT = 0.9, 30.0, 0.3, 150 / 331


def _enhance(kind: Callable[[Image.Image], ImageEnhance._Enhance]) -> Operation:
    return lambda image, share, sign: kind(image).enhance(1 + sign * FACTOR * share)


def _moved(image: Image.Image, numbers: tuple[float, ...]) -> Image.Image:
    """The picture whose point (x, y) shows (ax + by + c, dx + ey + f) of the given one."""
    transform, how = Image.Transform.AFFINE, Image.Resampling.BILINEAR
    return image.transform(image.size, transform, numbers, how, fillcolor=GRAY)


def _posterize(image: Image.Image, share: float, sign: int) -> Image.Image:
    return ImageOps.posterize(image, 8 - round(4 * share))


def _solarize(image: Image.Image, share: float, sign: int) -> Image.Image:
    return ImageOps.solarize(image, 256 - round(256 * share))


def _rotate(image: Image.Image, share: float, sign: int) -> Image.Image:
    return image.rotate(sign * DEGREES * share, Image.Resampling.BILINEAR, fillcolor=GRAY)


OPERATIONS: dict[str, Operation] = {
    "identity": lambda image, share, sign: image,
    "autocontrast": lambda image, share, sign: ImageOps.autocontrast(image),
    "equalize": lambda image, share, sign: ImageOps.equalize(image),
    "rotate": _rotate,
    "solarize": _solarize,
    "color": _enhance(ImageEnhance.Color),
    "posterize": _posterize,
    "contrast": _enhance(ImageEnhance.Contrast),
    "brightness": _enhance(ImageEnhance.Brightness),
    "sharpness": _enhance(ImageEnhance.Sharpness),
    "shear_x": lambda image, share, sign: _moved(image, (1, sign * SLOPE * share, 0, 0, 1, 0)),
    "shear_y": lambda image, share, sign: _moved(image, (1, 0, 0, sign * SLOPE * share, 1, 0)),
    "translate_x": lambda image, share, sign: _moved(image, (1, 0, sign * SHIFT * share * image.width, 0, 1, 0)),
    "translate_y": lambda image, share, sign: _moved(image, (1, 0, 0, 0, 1, sign * SHIFT * share * image.height)),
}
# Those of AugMix: none of the corruptions that its authors test with.
MIXED = (
    *("autocontrast", "equalize", "posterize", "rotate", "solarize"),
    *("shear_x", "shear_y", "translate_x", "translate_y"),
)


def _drawn(names: tuple[str, ...], share: float, image: Image.Image, random: np.random.Generator) -> Image.Image:
    """The picture after one of the operations, in one of its two directions."""
    name, sign = names[int(random.integers(len(names)))], 1 if random.random() < 0.5 else -1
    return OPERATIONS[name](image, share, sign)


def randaugment(operations: int = 2, magnitude: float = 9.0) -> Augmentation:
    """So many operations out of 14, each drawn anew, all of one magnitude.

    Args:
        operations: 0 or more; 0 for no change.
        magnitude: from 0 to 10, in tenths of an operation's range.

    Source: Cubuk, Zoph, Shlens, Le, RandAugment, 2020, figure 2; ranges of Cubuk et al., AutoAugment, CVPR 2019,
        table 6.
    Differs: at magnitude 0 every operation that has one changes nothing: factors are 1 +- 0.9 and not 0.1 to 1.9,
        solarize and posterize begin at none. What was moved away is gray.
    """
    require_range("randaugment", "operations", operations, 0, whole=True)
    require_range("randaugment", "magnitude", magnitude, 0, MOST_MAGNITUDE)
    names = tuple(OPERATIONS)

    def apply(image: Image.Image, random: np.random.Generator) -> Image.Image:
        for _ in range(operations):
            image = _drawn(names, magnitude / MOST_MAGNITUDE, image, random)
        return image

    return apply


def augmix(severity: float = 3.0, chains: int = 3, depth: int = 3, alpha: float = 1.0) -> Augmentation:
    """The picture mixed with a mixture of chains of operations.

    Args:
        severity: the largest magnitude of an operation, from 0 to 10; each draws one between 0.1 (or less) and it.
        chains: how many are mixed, 1 or more.
        depth: the most operations in a chain; each chain draws 1 to so many.
        alpha: above 0; of the Dirichlet distribution of the chains' weights and of the beta distribution of the
            picture's own.

    Source: Hendrycks et al., AugMix, ICLR 2020, algorithm 1.
    Differs: operations as in ``randaugment``. The picture is mixed as pixels, rounded to whole values. Without the
        loss between three views (equation 1).
    """
    require_range("augmix", "severity", severity, 0, MOST_MAGNITUDE)
    require_range("augmix", "chains", chains, 1, whole=True)
    require_range("augmix", "depth", depth, 1, whole=True)
    require_range("augmix", "alpha", alpha, 1e-3)

    def apply(image: Image.Image, random: np.random.Generator) -> Image.Image:
        weights = random.dirichlet([alpha] * chains)
        own = random.beta(alpha, alpha)
        mixed = own * np.asarray(image, dtype=np.float64)
        for weight in weights:
            changed = image
            for _ in range(int(random.integers(1, depth + 1))):
                magnitude = random.uniform(min(0.1, severity), severity)
                changed = _drawn(MIXED, magnitude / MOST_MAGNITUDE, changed, random)
            mixed += (1 - own) * weight * np.asarray(changed, dtype=np.float64)
        return Image.fromarray(np.rint(mixed).clip(0, 255).astype(np.uint8))

    return apply
