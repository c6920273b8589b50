"""A scene: a background and things that lie on it, the later ones over the earlier ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

# A thing is visible where at least this share of it is in sight, and at least this many pixels are; it is hidden
# where at most this share is. Scenes are laid out so that no thing is between the two.
VISIBLE_SHARE = 0.65
VISIBLE_PIXELS = 24
HIDDEN_SHARE = 0.03


@dataclass(frozen=True)
class Thing:
    """What a thing is; ``radius`` is a share of the picture's side, ``angle`` in radians, clockwise."""

    shape: str
    color: str
    texture: str = "plain"
    size: str = "medium"
    radius: float = 0.17
    angle: float = 0.0
    flipped: bool = False


@dataclass(frozen=True)
class Stamp:
    """A thing as pixels, on a square patch with an odd side and the thing's origin in its middle.

    Attributes:
        coverage: float32 (h, h) in [0, 1], the share of each pixel that the thing covers.
        colors: float32 (h, h, 3) in [0, 255].
        mask: bool (h, h), the pixels of which at least half is covered.
        silhouette: bool (h, h), the mask with its holes filled.
    """

    coverage: np.ndarray
    colors: np.ndarray
    mask: np.ndarray
    silhouette: np.ndarray

    @cached_property
    def area(self) -> int:
        """The number of pixels of the mask."""
        return int(self.mask.sum())


@dataclass(frozen=True)
class Placed:
    """A thing with its pixels and the pixel (y, x) on which its origin lies in a picture of ``side`` pixels."""

    thing: Thing
    stamp: Stamp
    y: int
    x: int
    side: int

    def window(self) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Where the patch lies in the picture, and which part of the patch that is."""
        length = self.stamp.mask.shape[0]
        picture, patch = [], []
        for center in (self.y, self.x):
            start = center - length // 2
            low, high = max(start, 0), min(start + length, self.side)
            picture.append(slice(low, max(low, high)))
            patch.append(slice(low - start, max(low, high) - start))
        return (picture[0], picture[1]), (patch[0], patch[1])

    def _whole(self, part: np.ndarray) -> np.ndarray:
        picture, patch = self.window()
        whole = np.zeros((self.side, self.side), dtype=bool)
        whole[picture] = part[patch]
        return whole

    @cached_property
    def mask(self) -> np.ndarray:
        """All of the thing that lies in the picture, covered or not; bool (H, W)."""
        return self._whole(self.stamp.mask)

    @cached_property
    def silhouette(self) -> np.ndarray:
        """``mask`` with the thing's holes filled; bool (H, W)."""
        return self._whole(self.stamp.silhouette)


def is_visible(pixels: int, area: int) -> bool:
    """Whether a thing of ``area`` pixels counts, of which ``pixels`` are in sight."""
    return pixels >= VISIBLE_SHARE * area and pixels >= VISIBLE_PIXELS


def is_hidden(pixels: int, area: int) -> bool:
    """Whether so little of a thing is in sight that nobody could name it."""
    return pixels <= HIDDEN_SHARE * area


@dataclass(frozen=True)
class Scene:
    """A background, and the things in the order in which they are laid down.

    Args:
        side: pixels of the picture's side.
        theme: what its things and its background were drawn from; nothing in the picture is the theme itself.
        background: its kind.
        backdrop: its pixels, float32 (H, W, 3) in [0, 255].
        things: back to front.
        light: what red, green and blue of all that is drawn are multiplied by, float (3,).
    """

    side: int
    theme: str
    background: str
    backdrop: np.ndarray
    things: Sequence[Placed]
    light: np.ndarray = field(default_factory=lambda: np.ones(3))

    @cached_property
    def owner(self) -> np.ndarray:
        """For each pixel 1 + the position of the frontmost of all things there, 0 for the background; int (H, W)."""
        owner = np.zeros((self.side, self.side), dtype=np.int32)
        for number, placed in enumerate(self.things, start=1):
            owner[placed.mask] = number
        return owner

    @cached_property
    def _visible(self) -> list[int]:
        seen = np.bincount(self.owner.ravel(), minlength=len(self.things) + 1)[1:]
        return [n for n, placed in enumerate(self.things) if is_visible(int(seen[n]), placed.stamp.area)]

    @property
    def objects(self) -> list[Placed]:
        """The visible things, back to front; labels, boxes, masks and relations speak of these alone."""
        return [self.things[number] for number in self._visible]

    @property
    def hidden(self) -> list[Placed]:
        """The things that are not visible enough to count."""
        return [placed for number, placed in enumerate(self.things) if number not in self._visible]

    @cached_property
    def segments(self) -> np.ndarray:
        """For each pixel 1 + the position in ``objects``, 0 elsewhere (and on what is left of a hidden thing)."""
        place = np.zeros(len(self.things) + 1, dtype=np.int32)
        place[np.array(self._visible, dtype=np.int64) + 1] = np.arange(1, len(self._visible) + 1)
        return place[self.owner]
