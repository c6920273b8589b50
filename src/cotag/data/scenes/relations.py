"""The relations between the visible objects of a scene, exact from their masks and boxes.

Of an object, ``V`` is its visible mask, ``F`` its full mask within the picture (what covers it taken away), ``B`` the
box of ``V``, its area that of its whole shape. A tolerance of 2 % of the picture's side is ``t`` pixels (at least 1).

====================  ================================================================================================
left of               B ends left of the start of the other's B, and their rows overlap by half of the lower one's
above                 the same, downward
level with            left of, and the centers of the two B differ in height by at most t
far from *            the centers of the two B lie at least 65 % of the side apart
near *                the two B are apart, by at most 6 % of the side; neither touching nor one on top of the other
touching *            the two F share less than 10 % of the smaller area, and V grown by t pixels to all sides meets
                      the other's V
standing on           touching; the two F share no pixel, but F moved down by t pixels meets the other's F; the center
                      of B lies above the other's B and within its width
on top of             drawn later, and the two F share at least 10 % of the smaller area
inside                smaller in area, and 95 % of V lie within the other's F with its holes filled
in the hole of        inside, and the two F share less than 10 % of the smaller area
larger than           the area is at least 2.5 times the other's
pointing at           an arrow; the ray from its tip meets the other first, and the two F share less than 10 % of the
                      smaller area
facing                a fish; the ray from its mouth meets the other first, and again they share less than 10 %
same shape as *       of the same shape
same color as *       of the same color
same texture as *     of the same texture, which is not plain
====================  ================================================================================================

Relations with a star hold both ways and are told once, with the earlier object as subject. Inverses (right of, below,
smaller than) are not told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cotag.data.scenes.scene import Placed, Scene, Thing
from cotag.data.scenes.vocabulary import PLAIN, PREDICATES

TOLERANCE = 0.02
FAR = 0.65
NEAR = 0.06
TOP = 0.1
WITHIN = 0.95
LARGER = 2.5
TIP = 1.15


@dataclass(frozen=True)
class Seen:
    """A visible object with what its relations are computed from; ``order`` is its position in the scene."""

    placed: Placed
    order: int
    visible: np.ndarray
    segments: np.ndarray

    @property
    def thing(self) -> Thing:
        """What it is."""
        return self.placed.thing

    @property
    def full(self) -> np.ndarray:
        """The full mask within the picture."""
        return self.placed.mask

    @property
    def area(self) -> int:
        """Pixels of the whole shape, in the picture or not."""
        return self.placed.stamp.area

    @property
    def side(self) -> int:
        """Pixels of the picture's side."""
        return len(self.visible)

    @property
    def tolerance(self) -> int:
        """What ``t`` stands for, in pixels."""
        return max(1, round(TOLERANCE * self.side))

    @cached_property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom; the last two are the first column and row beyond it."""
        return box_of(self.visible)

    @cached_property
    def center(self) -> tuple[float, float]:
        """The center of the box, x and y."""
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2

    @cached_property
    def grown(self) -> np.ndarray:
        """The visible mask and all pixels at most ``t`` rows and columns from it."""
        reach = self.tolerance
        padded = np.pad(self.visible, reach)
        rows = np.logical_or.reduce([padded[dy : dy + self.side] for dy in range(2 * reach + 1)])
        found: np.ndarray = np.logical_or.reduce([rows[:, dx : dx + self.side] for dx in range(2 * reach + 1)])
        return found

    @cached_property
    def lowered(self) -> np.ndarray:
        """The full mask, moved down by ``t`` pixels."""
        moved = np.zeros_like(self.full)
        moved[self.tolerance :] = self.full[: -self.tolerance]
        return moved


def box_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a mask's pixels; the last two are the first column and row beyond them."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def seen(scene: Scene) -> list[Seen]:
    """The visible objects of a scene, back to front."""
    return [
        Seen(placed, order, scene.segments == order + 1, scene.segments) for order, placed in enumerate(scene.objects)
    ]


def relations_of(scene: Scene) -> list[tuple[int, int, int]]:
    """All (subject, predicate, object) of a scene: positions in ``scene.objects``, and ids of ``PREDICATES``."""
    objects = seen(scene)
    return [
        (a.order, number, b.order)
        for a in objects
        for b in objects
        if a is not b
        for number, name in enumerate(PREDICATES)
        if (a.order < b.order or name not in MUTUAL) and RULES[name](a, b)
    ]


def _follows(a: Seen, b: Seen, axis: int) -> bool:
    """Whether ``b`` lies wholly after ``a`` along an axis (0 is x), and beside it across the axis."""
    across = 1 - axis
    overlap = min(a.box[across + 2], b.box[across + 2]) - max(a.box[across], b.box[across])
    extent = min(a.box[across + 2] - a.box[across], b.box[across + 2] - b.box[across])
    return a.box[axis + 2] <= b.box[axis] and 2 * overlap >= extent


def _left_of(a: Seen, b: Seen) -> bool:
    return _follows(a, b, 0)


def _above(a: Seen, b: Seen) -> bool:
    return _follows(a, b, 1)


def _level(a: Seen, b: Seen) -> bool:
    return _left_of(a, b) and abs(a.center[1] - b.center[1]) <= a.tolerance


def _far(a: Seen, b: Seen) -> bool:
    return float(np.hypot(a.center[0] - b.center[0], a.center[1] - b.center[1])) >= FAR * a.side


def _near(a: Seen, b: Seen) -> bool:
    gap = max(max(a.box[axis] - b.box[axis + 2], b.box[axis] - a.box[axis + 2]) for axis in (0, 1))
    return 0 <= gap <= NEAR * a.side and _shared(a, b) < TOP and not _touching(a, b)


def _shared(a: Seen, b: Seen) -> float:
    """The pixels of both full masks, as a share of the smaller area."""
    return int((a.full & b.full).sum()) / min(a.area, b.area)


def _touching(a: Seen, b: Seen) -> bool:
    return _shared(a, b) < TOP and bool((a.grown & b.visible).any())


def _standing(a: Seen, b: Seen) -> bool:
    (x, y), (left, top, right, _) = a.center, b.box
    stands = left <= x <= right and y < top and not (a.full & b.full).any() and bool((a.lowered & b.full).any())
    return stands and _touching(a, b)


def _on_top(a: Seen, b: Seen) -> bool:
    return a.order > b.order and _shared(a, b) >= TOP


def _inside(a: Seen, b: Seen) -> bool:
    return a.area < b.area and int((a.visible & b.placed.silhouette).sum()) >= WITHIN * int(a.visible.sum())


def _in_hole(a: Seen, b: Seen) -> bool:
    return _inside(a, b) and _shared(a, b) < TOP


def _larger(a: Seen, b: Seen) -> bool:
    return a.area >= LARGER * b.area


def _ahead(a: Seen, b: Seen) -> bool:
    """Whether ``b`` is what lies ahead of ``a``, and neither lies on the other."""
    if _shared(a, b) >= TOP:
        return False
    heading = a.thing.angle + (np.pi if a.thing.flipped else 0)
    step = np.arange(TIP * a.thing.radius * a.side, 1.5 * a.side, 0.5)
    x = np.rint(a.placed.x + step * np.cos(heading)).astype(int)
    y = np.rint(a.placed.y + step * np.sin(heading)).astype(int)
    within = (x >= 0) & (y >= 0) & (x < a.side) & (y < a.side)
    met = a.segments[y[within], x[within]]
    met = met[(met > 0) & (met != a.order + 1)]
    return bool(len(met)) and int(met[0]) == b.order + 1


def _pointing(a: Seen, b: Seen) -> bool:
    return a.thing.shape == "arrow" and _ahead(a, b)


def _facing(a: Seen, b: Seen) -> bool:
    return a.thing.shape == "fish" and _ahead(a, b)


def _same_shape(a: Seen, b: Seen) -> bool:
    return a.thing.shape == b.thing.shape


def _same_color(a: Seen, b: Seen) -> bool:
    return a.thing.color == b.thing.color


def _same_texture(a: Seen, b: Seen) -> bool:
    return a.thing.texture == b.thing.texture != PLAIN


MUTUAL: Sequence[str] = (
    "far from",
    "near",
    "touching",
    "same shape as",
    "same color as",
    "same texture as",
)

RULES: dict[str, Callable[[Seen, Seen], bool]] = {
    "left of": _left_of,
    "above": _above,
    "level with": _level,
    "far from": _far,
    "near": _near,
    "touching": _touching,
    "standing on": _standing,
    "on top of": _on_top,
    "inside": _inside,
    "in the hole of": _in_hole,
    "larger than": _larger,
    "pointing at": _pointing,
    "facing": _facing,
    "same shape as": _same_shape,
    "same color as": _same_color,
    "same texture as": _same_texture,
}
