"""What is visible, what is hidden, and that labels speak of the visible alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from cotag.data.scenes.labels import labels_of
from cotag.data.scenes.layout import MANNERS, make_scene
from cotag.data.scenes.sample import COUNTS, FAVORITES, THEMES, sample
from cotag.data.scenes.scene import HIDDEN_SHARE, VISIBLE_PIXELS, VISIBLE_SHARE, Scene, Thing, is_visible
from cotag.data.scenes.vocabulary import BACKGROUNDS, COLORS, LABELS, SHAPES, SIZES, TEXTURES, THEME_NAMES

STAR = Thing("star", "yellow", radius=0.11, size="small")
LID = Thing("square", "blue", "dotted", radius=0.25, size="large")


def named(scene: Scene) -> set[str]:
    return {LABELS.names[label] for label in labels_of(scene)}


def test_a_covered_thing_gives_no_label(by_hand: Callable[..., Scene]) -> None:
    scene = by_hand((STAR, 50, 50), (LID, 50, 50))
    assert named(scene) == {"square", "blue", "dotted", "large"}
    assert [placed.thing for placed in scene.objects] == [LID]
    assert [placed.thing for placed in scene.hidden] == [STAR]
    assert set(np.unique(scene.segments)) == {0, 1}


def test_a_thing_in_sight_gives_all_its_labels(by_hand: Callable[..., Scene]) -> None:
    scene = by_hand((LID, 50, 50), (STAR, 50, 50))
    assert named(scene) == {"square", "blue", "dotted", "large", "star", "yellow", "small"}
    assert scene.segments[50, 50] == 2


def test_what_is_left_of_a_hidden_thing_is_no_segment(by_hand: Callable[..., Scene]) -> None:
    below = Thing("square", "red", radius=0.251, size="large")
    scene = by_hand((below, 50, 50), (LID, 50, 51))
    left = (scene.owner == 1).sum()
    assert 0 < left < HIDDEN_SHARE * scene.things[0].stamp.area
    assert named(scene) == {"square", "blue", "dotted", "large"}
    assert (scene.segments == 1).sum() == scene.things[1].mask.sum()


def test_the_rule_has_two_parts() -> None:
    assert is_visible(65, 100)
    assert not is_visible(64, 100)
    assert is_visible(VISIBLE_PIXELS, VISIBLE_PIXELS)
    assert not is_visible(VISIBLE_PIXELS - 1, VISIBLE_PIXELS - 1)


def test_labels_and_segments_agree_with_a_slow_painter() -> None:
    partly = wholly = 0
    for image in range(60):
        scene = make_scene(1, image, 64)
        front = [[0] * 64 for _ in range(64)]
        for number, placed in enumerate(scene.things, start=1):
            half = placed.stamp.mask.shape[0] // 2
            for y, x in np.argwhere(placed.stamp.mask):
                row, column = placed.y + y - half, placed.x + x - half
                if 0 <= row < 64 and 0 <= column < 64:
                    front[row][column] = number
        names, ids = {f"{scene.background} background"}, {0: 0}
        for number, placed in enumerate(scene.things, start=1):
            pixels, area = sum(row.count(number) for row in front), int(placed.stamp.mask.sum())
            if pixels >= VISIBLE_SHARE * area and pixels >= VISIBLE_PIXELS:
                ids[number] = len(ids)
                thing = placed.thing
                names |= {thing.shape, thing.color, thing.texture, thing.size}
                partly += pixels < 0.9 * area
            else:
                assert pixels <= HIDDEN_SHARE * area, "a thing is neither visible nor hidden"
                wholly += 1
        assert named(scene) == names - {"plain", "plain background", "medium"}
        assert np.array_equal(scene.segments, [[ids.get(number, 0) for number in row] for row in front])
        assert 1 <= len(scene.objects) <= 6
    assert partly >= 20, "things cover parts of others"
    assert wholly >= 1, "some things are hidden"


def test_the_tables_of_what_occurs_name_what_there_is() -> None:
    assert tuple(THEMES) == THEME_NAMES
    for theme in THEMES.values():
        assert set(theme.shapes) <= set(SHAPES)
        assert set(theme.colors) <= set(COLORS)
        assert set(theme.backgrounds) <= set(BACKGROUNDS)
        assert set(theme.textures) <= set(TEXTURES)
    assert set(FAVORITES) <= set(SHAPES)
    assert all(set(colors) <= set(COLORS) for colors in FAVORITES.values())
    assert sum(COUNTS.values()) == pytest.approx(1)
    assert sum(MANNERS.values()) == pytest.approx(1)
    bounds = [bound for size in ("small", "medium", "large") for bound in SIZES[size]]
    assert all(upper > 1.1 * lower for lower, upper in zip(bounds[1::2], bounds[2::2], strict=False))


@pytest.mark.parametrize("seed", [0, 1])
def test_labels_have_a_long_tail_and_come_together(seed: int) -> None:
    found = np.zeros((2400, len(LABELS)), dtype=bool)
    for image in range(len(found)):
        _, background, things = sample(np.random.default_rng([seed, image]))
        names = {f"{background} background"}
        for thing in things:
            names |= {thing.shape, thing.color, thing.texture, thing.size}
        found[image, [LABELS.id(name) for name in names if name in LABELS]] = True
    counts = found.sum(axis=0)
    assert counts.min() >= 12
    assert counts.max() / counts.min() >= 40
    assert np.median(counts) < 0.3 * counts.max()
    star, crescent, yellow, dark = (found[:, LABELS.id(n)] for n in ("star", "crescent", "yellow", "dark background"))
    assert crescent[star].mean() > 3 * crescent.mean()
    assert yellow[star].mean() > 1.5 * yellow.mean()
    assert dark[crescent].mean() > 4 * dark.mean()
