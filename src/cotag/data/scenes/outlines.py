"""The outlines of the shapes, as polygons about the origin within a radius of about 1; y points down."""

from __future__ import annotations

from functools import cache

import numpy as np

# Largest distance of any outline's point from the origin.
REACH = 1.35


def _polar(radii: np.ndarray | float, angles: np.ndarray) -> np.ndarray:
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def _turn(points: int) -> np.ndarray:
    return np.linspace(0, 2 * np.pi, points, endpoint=False)


def _star() -> np.ndarray:
    return _polar(np.tile([1.15, 0.48], 5), np.arange(10) * np.pi / 5 - np.pi / 2)


def _cross() -> np.ndarray:
    arm = 0.33
    corner = np.array([[arm, -1], [arm, -arm], [1, -arm]])
    quarter = np.array([[0, -1], [1, 0]])
    return np.concatenate([corner @ np.linalg.matrix_power(quarter, turn) for turn in (0, 3, 2, 1)])


def _heart() -> np.ndarray:
    t = _turn(40)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return np.stack([x, y - 2], axis=1) / 16


def _crescent() -> np.ndarray:
    """A disk of radius 1.05 without a disk of radius 0.85 whose center lies 0.5 to the right."""
    outer, inner, shift = 1.05, 0.85, 0.5
    x = (shift**2 + outer**2 - inner**2) / (2 * shift)
    y = np.sqrt(outer**2 - x**2)
    far = np.linspace(np.arctan2(y, x), 2 * np.pi - np.arctan2(y, x), 32)
    tip = np.arctan2(y, x - shift)
    near = np.linspace(2 * np.pi - tip, tip, 24)
    return np.concatenate([_polar(outer, far), _polar(inner, near) + np.array([shift, 0])]) + np.array([0.25, 0])


def _arrow() -> np.ndarray:
    half = [[-1.05, -0.27], [0.05, -0.27], [0.05, -0.8], [1.1, 0]]
    return np.array(half + [[x, -y] for x, y in half[-2::-1]])


def _fish() -> np.ndarray:
    body = _polar(1.0, np.linspace(-2.6, 2.6, 32)) * np.array([0.82, 0.62]) + np.array([0.28, 0])
    return np.concatenate([body, [[-1.1, 0.6], [-0.85, 0], [-1.1, -0.6]]])


def _bolt() -> np.ndarray:
    return np.array([[0.4, -1.15], [-0.78, 0.22], [-0.1, 0.22], [-0.4, 1.15], [0.78, -0.32], [0.1, -0.32]])


@cache
def outline(shape: str) -> tuple[np.ndarray, ...]:
    """The outline of a shape, (P, 2) as x, y; after it the outlines of its holes."""
    circle = _polar(1.0, _turn(48))
    corners = np.array([[-0.86, -0.86], [0.86, -0.86], [0.86, 0.86], [-0.86, 0.86]])
    table = {
        "circle": (circle,),
        "square": (corners,),
        "triangle": (_polar(1.2, np.arange(3) * 2 * np.pi / 3 - np.pi / 2) + np.array([0, 0.2]),),
        "ring": (circle * 1.05, circle * 0.62),
        "star": (_star(),),
        "cross": (_cross(),),
        "heart": (_heart(),),
        "crescent": (_crescent(),),
        "flower": (_polar(0.8 + 0.27 * np.cos(6 * _turn(72)), _turn(72)),),
        "arrow": (_arrow(),),
        "fish": (_fish(),),
        "bolt": (_bolt(),),
    }
    return table[shape]


@cache
def detail(shape: str) -> np.ndarray | None:
    """A part of the shape that is drawn in its dark tone (a flower's center, a fish's eye), where it has one."""
    table = {"flower": _polar(0.3, _turn(24)), "fish": _polar(0.14, _turn(16)) + np.array([0.66, -0.16])}
    return table.get(shape)


# How far a shape may be turned, in radians to either side; the others are turned at will or not at all.
TURNS = {
    "circle": 0.0,
    "ring": 0.0,
    "square": 0.26,
    "triangle": 0.26,
    "star": 0.6,
    "cross": 0.26,
    "heart": 0.35,
    "crescent": 0.7,
    "flower": np.pi,
    "arrow": np.pi,
    "fish": 0.35,
    "bolt": 0.3,
}
# Shapes that may look to the other side.
SIDED = ("crescent", "fish", "bolt")
# Shapes wide enough for a texture to be seen on them.
BROAD = ("circle", "square", "triangle", "star", "heart", "fish")
