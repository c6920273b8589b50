"""What is in a scene: its theme, its background and its things, by declared probabilities.

Labels come together because every scene has a theme (stars with crescents on dark ground, fish with cyan), and
they have a long tail because the themes and what they prefer are uneven.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cotag.data.scenes.outlines import BROAD, SIDED, TURNS
from cotag.data.scenes.scene import Thing
from cotag.data.scenes.vocabulary import PLAIN, SIZES

Weights = Mapping[str, float]


@dataclass(frozen=True)
class Theme:
    """What scenes of one kind are made of; all weights are relative.

    Args:
        weight: how often the theme is taken.
        backgrounds: kinds of background.
        shapes: shapes of the things.
        colors: colors of the things whose shape has no preference of its own.
        textured: the share of textured things, of those that are large and broad enough to show it.
        textures: kinds of texture.
    """

    weight: float
    backgrounds: Weights
    shapes: Weights
    colors: Weights
    textured: float
    textures: Weights


COMMON_COLORS = {
    "red": 26,
    "blue": 24,
    "yellow": 14,
    "green": 14,
    "white": 9,
    "orange": 6,
    "purple": 4,
    "pink": 2,
    "cyan": 1,
}

THEMES = {
    "blocks": Theme(
        weight=50,
        backgrounds={"plain": 66, "grid": 24, "gradient": 9, "noise": 1},
        shapes={"circle": 36, "square": 32, "triangle": 18, "ring": 8, "cross": 4, "star": 1, "heart": 1},
        colors=COMMON_COLORS,
        textured=0.35,
        textures={"striped": 62, "dotted": 28, "checkered": 10},
    ),
    "night": Theme(
        weight=15,
        backgrounds={"dark": 92, "gradient": 8},
        shapes={"star": 55, "crescent": 22, "circle": 15, "ring": 8},
        colors={"yellow": 5, "white": 4, "blue": 2, "purple": 1, "orange": 1},
        textured=0.05,
        textures={"striped": 1, "dotted": 1},
    ),
    "signs": Theme(
        weight=15,
        backgrounds={"plain": 55, "grid": 30, "noise": 15},
        shapes={"arrow": 28, "triangle": 24, "circle": 18, "square": 14, "cross": 11, "ring": 5},
        colors={"red": 5, "blue": 4, "white": 3, "yellow": 2, "green": 1},
        textured=0.2,
        textures={"striped": 5, "checkered": 1},
    ),
    "garden": Theme(
        weight=11,
        backgrounds={"gradient": 90, "plain": 10},
        shapes={"flower": 50, "heart": 22, "circle": 20, "star": 4, "triangle": 4},
        colors={"green": 4, "pink": 3, "red": 3, "orange": 2, "purple": 2, "white": 1},
        textured=0.2,
        textures={"dotted": 5, "striped": 1},
    ),
    "sea": Theme(
        weight=3.4,
        backgrounds={"gradient": 70, "noise": 20, "plain": 10},
        shapes={"fish": 48, "circle": 26, "ring": 16, "star": 10},
        colors={"cyan": 5, "blue": 3, "orange": 3, "white": 1},
        textured=0.45,
        textures={"striped": 4, "dotted": 1},
    ),
    "storm": Theme(
        weight=1.3,
        backgrounds={"noise": 75, "dark": 25},
        shapes={"bolt": 62, "circle": 14, "cross": 14, "triangle": 10},
        colors={"blue": 3, "white": 3, "purple": 2},
        textured=0.1,
        textures={"striped": 1},
    ),
}

# The colors that a shape prefers, whatever the theme; otherwise any of the theme's.
FAVORITES: Mapping[str, Weights] = {
    "star": {"yellow": 8, "white": 1, "orange": 1},
    "crescent": {"white": 5, "yellow": 5},
    "flower": {"pink": 4, "purple": 4, "red": 3, "white": 2},
    "heart": {"red": 6, "pink": 4},
    "bolt": {"yellow": 8, "white": 1},
    "fish": {"orange": 5, "cyan": 3, "blue": 2},
    "cross": {"red": 4, "white": 2, "green": 2},
}
LOYALTY = 0.6

COUNTS = {1: 0.10, 2: 0.22, 3: 0.26, 4: 0.21, 5: 0.13, 6: 0.08}
SIZE_WEIGHTS = {"small": 0.34, "medium": 0.40, "large": 0.26}
# Many scenes are laid from large to small, so that little of them is hidden.
SORTED = 0.6


def choose(rng: np.random.Generator, weights: Mapping[str, float]) -> str:
    """One name, by relative weights."""
    names = list(weights)
    shares = np.cumsum(np.fromiter(weights.values(), dtype=float))
    return names[min(int(np.searchsorted(shares, rng.random() * shares[-1], side="right")), len(names) - 1)]


def sample(rng: np.random.Generator) -> tuple[str, str, list[Thing]]:
    """The theme, the kind of the background, and the things in the order in which they are to be laid down."""
    name = choose(rng, {name: theme.weight for name, theme in THEMES.items()})
    theme = THEMES[name]
    background = choose(rng, theme.backgrounds)
    count = int(choose(rng, {str(number): share for number, share in COUNTS.items()}))
    things = [_thing(rng, theme) for _ in range(count)]
    if rng.random() < SORTED:
        things.sort(key=lambda thing: -thing.radius)
    return name, background, things


def _thing(rng: np.random.Generator, theme: Theme) -> Thing:
    shape = choose(rng, theme.shapes)
    loyal = shape in FAVORITES and rng.random() < LOYALTY
    color = choose(rng, FAVORITES[shape] if loyal else theme.colors)
    size = choose(rng, SIZE_WEIGHTS)
    wide = size != "small" and shape in BROAD
    texture = choose(rng, theme.textures) if wide and rng.random() < theme.textured else PLAIN
    turn = TURNS[shape]
    return Thing(
        shape=shape,
        color=color,
        texture=texture,
        size=size,
        radius=float(rng.uniform(*SIZES[size])),
        angle=float(rng.uniform(-turn, turn)),
        flipped=bool(shape in SIDED and rng.random() < 0.5),
    )
