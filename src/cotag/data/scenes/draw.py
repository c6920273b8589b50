"""Pixels: a thing as a stamp, a background, a whole scene."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from cotag.data.scenes.outlines import REACH, detail, outline
from cotag.data.scenes.scene import Scene, Stamp, Thing
from cotag.data.scenes.vocabulary import COLORS, PLAIN

# Each pixel is drawn as this many by this many and averaged.
FINE = 4
RIM = 0.011
PERIOD = 0.092
DARK = 0.42


def stamp_of(thing: Thing, side: int, tint: np.ndarray | None = None) -> Stamp:
    """A thing as pixels, for a picture of ``side`` pixels.

    Args:
        tint: what is added to the color, float (3,).
    """
    reach = int(np.ceil(thing.radius * side * REACH)) + 1
    fine = (2 * reach + 1) * FINE
    loops = [_placed(loop, thing, side, fine) for loop in outline(thing.shape)]
    body = _filled(loops[:1], fine)
    silhouette = body
    if len(loops) > 1:
        body = np.minimum(body, 255 - _filled(loops[1:], fine))
    dark = _lines(loops, fine, round(FINE * max(1.0, RIM * side)))
    inner = detail(thing.shape)
    if inner is not None:
        dark = np.maximum(dark, _filled([_placed(inner, thing, side, fine)], fine))
    if thing.texture != PLAIN:
        dark = np.maximum(dark, np.where(_texture(thing, side, fine), 255, 0))
    coverage = _averaged(body)
    # Of what is covered: how much has the dark tone. Pixels without cover get any value.
    shade = _averaged(np.minimum(dark, body)) / np.maximum(coverage, 1e-6)
    light = np.clip(np.array(COLORS[thing.color], dtype=np.float32) + (0 if tint is None else tint), 0, 255)
    colors = light * (1 - (1 - DARK) * shade[..., None])
    mask = coverage >= 0.5
    filled = mask if len(loops) == 1 else _averaged(silhouette) >= 0.5
    return Stamp(coverage, colors.astype(np.float32), mask, filled)


def _placed(loop: np.ndarray, thing: Thing, side: int, fine: int) -> list[tuple[float, float]]:
    """An outline in the pixels of the fine patch."""
    if thing.flipped:
        loop = loop * [-1, 1]
    cos, sin = np.cos(thing.angle), np.sin(thing.angle)
    turned = loop @ np.array([[cos, sin], [-sin, cos]])
    points = turned * (thing.radius * side * FINE) + (fine - 1) / 2
    return [(float(x), float(y)) for x, y in points]


def _filled(loops: list[list[tuple[float, float]]], fine: int) -> np.ndarray:
    canvas = Image.new("L", (fine, fine))
    pen = ImageDraw.Draw(canvas)
    for loop in loops:
        pen.polygon(loop, fill=255)
    return np.asarray(canvas)


def _lines(loops: list[list[tuple[float, float]]], fine: int, width: int) -> np.ndarray:
    """The outlines as lines; the half of each that lies inside the shape becomes its rim."""
    canvas = Image.new("L", (fine, fine))
    pen = ImageDraw.Draw(canvas)
    for loop in loops:
        pen.line([*loop, loop[0]], fill=255, width=2 * width, joint="curve")
    return np.asarray(canvas)


def _averaged(fine: np.ndarray) -> np.ndarray:
    length = fine.shape[0] // FINE
    return fine.reshape(length, FINE, length, FINE).mean(axis=(1, 3), dtype=np.float32) / np.float32(255)


def _texture(thing: Thing, side: int, fine: int) -> np.ndarray:
    """Where a texture is dark; bool, on the fine patch."""
    axis = (np.arange(fine, dtype=np.float32) - (fine - 1) / 2) / (PERIOD * side * FINE)
    cos, sin = np.float32(np.cos(thing.angle)), np.float32(np.sin(thing.angle))
    u = axis[None, :] * cos + axis[:, None] * sin
    v = axis[:, None] * cos - axis[None, :] * sin
    if thing.texture == "striped":
        # Stripes lean, so that they are no part of an upright outline.
        found: np.ndarray = (0.8 * u + 0.6 * v) % 1 < 0.45
    elif thing.texture == "dotted":
        found = (u % 1 - 0.5) ** 2 + (v % 1 - 0.5) ** 2 < 0.31**2
    else:
        found = (u % 1.5 < 0.75) != (v % 1.5 < 0.75)
    return found


def backdrop(kind: str, side: int, rng: np.random.Generator) -> np.ndarray:
    """A background; float32 (H, W, 3) in [0, 255], gray with a slight tint, so that no color's label is near it."""
    tint = rng.uniform(-5, 5, 3)
    if kind == "dark":
        return _flat(np.array([24, 25, 38]) + tint / 2, side)
    base = rng.uniform(135, 180) + tint
    if kind == "plain":
        return _flat(base, side)
    if kind == "gradient":
        angle = rng.uniform(-0.5, 0.5) + np.pi * rng.integers(2)
        axis = np.linspace(-0.5, 0.5, side)
        ramp = np.clip(0.5 + axis[None, :] * np.sin(angle) + axis[:, None] * np.cos(angle), 0, 1)[..., None]
        low, high = np.array([74, 80, 96]) + tint, np.array([206, 200, 190]) + tint
        return (low + (high - low) * ramp).astype(np.float32)
    if kind == "grid":
        return _flat(base, side) - 48 * _grid(side, rng)
    cells = rng.uniform(-38, 38, (32, 32)).astype(np.float32)
    coarse = np.arange(side) * 32 // side
    return _flat(np.clip(base, 135, 160), side) + cells[np.ix_(coarse, coarse)][..., None]


def _flat(color: np.ndarray, side: int) -> np.ndarray:
    return np.broadcast_to(color.astype(np.float32), (side, side, 3)).copy()


def _grid(side: int, rng: np.random.Generator) -> np.ndarray:
    """1 on thin lines and 0 between them, (H, W, 1)."""
    period, width = round(side / 8), max(1, round(side / 64))
    across, down = ((np.arange(side) + start) % period < width for start in rng.integers(0, period, 2))
    return (across[None, :] | down[:, None])[..., None].astype(np.float32)


def picture(scene: Scene) -> np.ndarray:
    """The picture of a scene; uint8 (H, W, 3)."""
    canvas = scene.backdrop.copy()
    for placed in scene.things:
        there, patch = placed.window()
        coverage = placed.stamp.coverage[patch][..., None]
        canvas[there] += (placed.stamp.colors[patch] - canvas[there]) * coverage
    return np.clip(np.rint(canvas * scene.light), 0, 255).astype(np.uint8)
