"""Shapes, colors and textures can be told apart, and a picture is its things laid over each other."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from cotag.data.scenes.draw import backdrop, picture, stamp_of
from cotag.data.scenes.layout import make_scene
from cotag.data.scenes.outlines import BROAD, REACH, SIDED, TURNS, outline
from cotag.data.scenes.scene import Scene, Thing
from cotag.data.scenes.vocabulary import BACKGROUNDS, COLORS, SHAPES, SIZES, TEXTURES


@pytest.mark.parametrize("shape", SHAPES)
def test_an_outline_lies_within_its_reach_and_has_settings(shape: str) -> None:
    assert max(np.hypot(*loop.T).max() for loop in outline(shape)) <= REACH
    assert shape in TURNS
    assert set(BROAD) | set(SIDED) <= set(SHAPES)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_mask_is_what_is_covered_by_half_and_has_the_area_of_its_outline(shape: str) -> None:
    stamp = stamp_of(Thing(shape, "red", radius=0.25, angle=0.2), 96)
    assert np.array_equal(stamp.mask, stamp.coverage >= 0.5)
    assert (stamp.silhouette >= stamp.mask).all()
    assert (stamp.silhouette.sum() > stamp.area) == (len(outline(shape)) > 1)
    areas = [_shoelace(loop) * (0.25 * 96) ** 2 for loop in outline(shape)]
    assert stamp.area == pytest.approx(areas[0] - sum(areas[1:]), rel=0.06)
    border = np.concatenate([stamp.mask[0], stamp.mask[-1], stamp.mask[:, 0], stamp.mask[:, -1]])
    assert not border.any()


def _shoelace(loop: np.ndarray) -> float:
    x, y = loop.T
    return float(abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2)


@pytest.mark.parametrize("side", [64, 96])
def test_the_smallest_things_of_two_shapes_differ(side: int) -> None:
    radius = SIZES["small"][0]
    stamps = {shape: stamp_of(Thing(shape, "red", radius=radius), side) for shape in SHAPES}
    for one, other in itertools.combinations(SHAPES, 2):
        both = (stamps[one].mask & stamps[other].mask).sum()
        either = (stamps[one].mask | stamps[other].mask).sum()
        assert both / either < 0.85, (one, other)


@pytest.mark.parametrize("texture", TEXTURES)
@pytest.mark.parametrize("shape", BROAD)
def test_a_texture_shows_both_tones_on_the_smallest_thing_that_may_have_it(shape: str, texture: str) -> None:
    thing = Thing(shape, "white", texture, radius=SIZES["medium"][0])
    stamp, plain = stamp_of(thing, 64), stamp_of(Thing(shape, "white", radius=thing.radius), 64)
    inner = stamp.coverage > 0.99
    assert (stamp.colors[inner, 0] < 150).sum() >= 0.15 * inner.sum()
    assert (stamp.colors[inner, 0] > 200).sum() >= 0.1 * inner.sum()
    # Beside the rim, which the plain one has too, the texture itself must darken a good part.
    assert (np.abs(stamp.colors - plain.colors)[inner, 0] > 60).mean() > 0.1


def test_any_two_colors_and_any_color_and_background_are_far_apart() -> None:
    for one, other in itertools.combinations(COLORS.values(), 2):
        assert np.abs(np.subtract(one, other)).max() >= 70
    rng = np.random.default_rng(0)
    for kind in BACKGROUNDS:
        for _ in range(5):
            pixels = backdrop(kind, 64, rng).mean(axis=(0, 1))
            assert pixels.max() - pixels.min() < 35, "a background has no color of its own"
            assert all(np.abs(pixels - color).max() >= 60 for color in COLORS.values())


@pytest.mark.parametrize("side", [64, 77, 96])
def test_a_background_has_its_size_and_its_kind(side: int) -> None:
    rng = np.random.default_rng(1)
    pixels = {kind: backdrop(kind, side, rng) for kind in BACKGROUNDS}
    assert all(value.shape == (side, side, 3) for value in pixels.values())
    spread = {kind: float(value[..., 0].std()) for kind, value in pixels.items()}
    assert max(spread["plain"], spread["dark"]) < 0.01
    assert min(spread["gradient"], spread["grid"], spread["noise"]) > 12


def test_a_later_thing_covers_an_earlier_one(by_hand: Callable[..., Scene]) -> None:
    below, above = Thing("square", "red", radius=0.3), Thing("square", "blue", radius=0.15)
    scene = by_hand((below, 50, 50), (above, 50, 50))
    pixels = picture(scene)
    assert tuple(pixels[50, 50]) == COLORS["blue"]
    assert tuple(pixels[50, 70]) == COLORS["red"]
    assert tuple(pixels[5, 5]) == (0, 0, 0)


def test_a_thing_may_reach_over_the_border(by_hand: Callable[..., Scene]) -> None:
    thing = Thing("circle", "red", radius=0.2)
    for y, x in itertools.product((2, 50, 97), repeat=2):
        scene = by_hand((thing, y, x))
        rows, columns = np.mgrid[:100, :100]
        true = np.hypot(rows - y, columns - x) <= 20
        assert (scene.things[0].mask != true).sum() <= 0.05 * true.sum()
        assert picture(scene)[min(y + 10, 99), x, 0] > 80


def test_scene_number_i_depends_on_nothing_but_seed_size_and_i() -> None:
    one, again, other = (picture(make_scene(seed, 7, 64)) for seed in (5, 5, 6))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    assert not np.array_equal(one, picture(make_scene(5, 8, 64)))
