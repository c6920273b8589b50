"""Where the things of a scene lie: freely, or in a relation to one that is there already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cotag.data.scenes.draw import backdrop, stamp_of
from cotag.data.scenes.sample import choose, sample
from cotag.data.scenes.scene import Placed, Scene, Stamp, Thing, is_hidden, is_visible

# How a thing is placed; all but ``free`` need another thing.
MANNERS = {"free": 0.55, "over": 0.12, "inside": 0.09, "hide": 0.04, "beside": 0.07, "stand": 0.07, "level": 0.06}
ATTEMPTS = 16
# How much the colors of two things of one color differ: in brightness, and in each of red, green and blue.
SHADE, TINT = 11.0, 4.0
# Pictures differ in light, so that a color is not one number.
BRIGHTNESS = (0.82, 1.06)
BALANCE = (0.97, 1.03)
# The least share of a thing that must lie within the picture.
FRAMED = 0.8


def make_scene(seed: int, image: int, side: int) -> Scene:
    """Scene number ``image`` of a seed; it does not depend on any other scene."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, image]))
    theme, background, things = sample(rng)
    behind = backdrop(background, side, rng)
    light = rng.uniform(*BRIGHTNESS) * rng.uniform(*BALANCE, 3)
    return Scene(side, theme, background, behind, arrange(things, side, rng), light)


def arrange(things: Sequence[Thing], side: int, rng: np.random.Generator) -> list[Placed]:
    """Lay the things down one after the other; one that finds no place is left out."""
    laid: list[Placed] = []
    in_sight: list[np.ndarray] = []
    for thing in things:
        stamp = stamp_of(thing, side, rng.uniform(-SHADE, SHADE) + rng.uniform(-TINT, TINT, 3))
        for _ in range(ATTEMPTS):
            y, x = _proposal(thing, stamp, laid, side, rng)
            placed = Placed(thing, stamp, y, x, side)
            left = [mask & ~placed.mask for mask in in_sight]
            if _fits(placed, laid, left):
                laid.append(placed)
                in_sight = [*left, placed.mask]
                break
    return laid


def _fits(placed: Placed, laid: Sequence[Placed], left: Sequence[np.ndarray]) -> bool:
    """Whether every thing, the new one and those below it, is plainly visible or plainly hidden."""
    inside = int(placed.mask.sum())
    if inside < FRAMED * placed.stamp.area or not is_visible(inside, placed.stamp.area):
        return False
    for other, mask in zip(laid, left, strict=True):
        pixels = int(mask.sum())
        if not (is_visible(pixels, other.stamp.area) or is_hidden(pixels, other.stamp.area)):
            return False
    return True


def _proposal(
    thing: Thing, stamp: Stamp, laid: Sequence[Placed], side: int, rng: np.random.Generator
) -> tuple[int, int]:
    """A place (y, x) for a thing, which may turn out not to fit."""
    low = 0.75 * thing.radius * side
    y, x = (round(value) for value in rng.uniform(low, side - 1 - low, 2).tolist())
    manner = choose(rng, MANNERS)
    if manner == "free" or not laid:
        return y, x
    target = laid[int(rng.integers(len(laid)))]
    if manner == "over":
        distance = rng.uniform(0.5, 0.95) * (thing.radius + target.thing.radius) * side
        angle = rng.uniform(-np.pi, np.pi)
        return target.y + round(distance * np.sin(angle)), target.x + round(distance * np.cos(angle))
    if manner == "inside":
        target = max(laid, key=lambda placed: placed.thing.radius)
    if manner in ("inside", "hide"):
        free = abs(thing.radius - target.thing.radius) * side
        slack = 1 if target.thing.shape == "ring" else max(1, round(free * 0.3))
        dy, dx = rng.integers(-slack, slack + 1, 2)
        return target.y + int(dy), target.x + int(dx)
    if manner == "level":
        return target.y, x
    shift = round(rng.uniform(-0.4, 0.4) * target.thing.radius * side)
    probe = Placed(thing, stamp, y, x, side)
    if manner == "stand":
        return _contact(probe, target, [(down, target.x + shift) for down in range(target.y)])
    steps = range(side - 1, target.x, -1) if rng.random() < 0.5 else range(target.x)
    return _contact(probe, target, [(target.y + shift, across) for across in steps])


def _contact(probe: Placed, target: Placed, path: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The last place on a path towards ``target`` where ``probe`` does not cover any of it yet; else the first."""
    last = path[0] if path else (probe.y, probe.x)
    for y, x in path:
        there, patch = replace(probe, y=y, x=x).window()
        if (target.mask[there] & probe.stamp.mask[patch]).any():
            break
        last = (y, x)
    return last
