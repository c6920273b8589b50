"""Relations: in scenes made by hand, and against slow definitions on sets of pixels."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from cotag.data.scenes.layout import make_scene
from cotag.data.scenes.relations import MUTUAL, RULES, relations_of
from cotag.data.scenes.scene import Placed, Scene, Thing
from cotag.data.scenes.vocabulary import PREDICATES

BALL = Thing("circle", "red", radius=0.1)
BOX = Thing("square", "blue", radius=0.17)
GREAT = Thing("square", "green", radius=0.28)
RING = Thing("ring", "white", radius=0.25)
ARROW = Thing("arrow", "yellow", radius=0.12)
FISH = Thing("fish", "orange", radius=0.12)
HALF_BOX = 15  # rows of a BOX of radius 0.17 above its center, in a picture of 100 pixels


def told(scene: Scene) -> set[str]:
    """Relations as text: "0 left of 1"."""
    return {f"{a} {PREDICATES[predicate]} {b}" for a, predicate, b in relations_of(scene)}


def test_every_predicate_has_a_rule() -> None:
    assert set(RULES) == set(PREDICATES)
    assert set(MUTUAL) < set(PREDICATES)


@pytest.mark.parametrize(
    ("things", "expected"),
    [
        ([(BALL, 50, 20), (BOX, 50, 70)], {"0 left of 1", "0 level with 1", "1 larger than 0"}),
        ([(BALL, 50, 70), (BOX, 58, 20)], {"1 left of 0", "1 larger than 0"}),
        ([(BALL, 20, 70), (BOX, 60, 70)], {"0 above 1", "1 larger than 0"}),
        ([(BALL, 12, 12), (BALL, 88, 88)], {"0 far from 1", "0 same shape as 1", "0 same color as 1"}),
        ([(BALL, 50, 45), (BOX, 50, 73)], {"0 left of 1", "0 level with 1", "0 near 1", "1 larger than 0"}),
        ([(BALL, 50, 50), (BALL, 60, 66)], {"0 touching 1", "0 same shape as 1", "0 same color as 1"}),
        (
            [(BOX, 70, 50), (BALL, 70 - HALF_BOX - 11, 50)],
            {"1 standing on 0", "0 touching 1", "1 above 0", "0 larger than 1"},
        ),
        (
            [(BOX, 50, 50), (GREAT, 50, 80)],
            {"1 on top of 0", "0 left of 1", "0 level with 1", "0 same shape as 1", "1 larger than 0"},
        ),
        ([(GREAT, 50, 50), (BALL, 50, 50)], {"1 on top of 0", "1 inside 0", "0 larger than 1"}),
        ([(BALL, 50, 50), (RING, 50, 50)], {"0 inside 1", "0 in the hole of 1", "1 larger than 0"}),
        ([(ARROW, 50, 20), (BALL, 50, 80)], {"0 pointing at 1", "0 left of 1", "0 level with 1"}),
        ([(FISH, 50, 20), (BALL, 50, 80)], {"0 facing 1", "0 left of 1", "0 level with 1"}),
    ],
)
def test_scenes_by_hand(
    by_hand: Callable[..., Scene], things: list[tuple[Thing, int, int]], expected: set[str]
) -> None:
    assert told(by_hand(*things)) == expected


def test_a_flipped_fish_and_a_turned_arrow_look_elsewhere(by_hand: Callable[..., Scene]) -> None:
    fish = Thing("fish", "orange", radius=0.12, flipped=True)
    assert "0 facing 1" not in told(by_hand((fish, 50, 20), (BALL, 50, 80)))
    assert "0 facing 1" in told(by_hand((fish, 50, 80), (BALL, 50, 20)))
    down = Thing("arrow", "yellow", radius=0.12, angle=math.pi / 2)
    assert "0 pointing at 1" in told(by_hand((down, 20, 50), (BALL, 80, 50)))
    assert "0 pointing at 1" not in told(by_hand((down, 20, 50), (BALL, 80, 80)))


def test_an_arrow_points_at_the_first_thing_only(by_hand: Callable[..., Scene]) -> None:
    found = told(by_hand((ARROW, 50, 15), (BALL, 50, 80), (BALL, 50, 45)))
    assert "0 pointing at 2" in found
    assert "0 pointing at 1" not in found


def test_same_texture_needs_a_texture(by_hand: Callable[..., Scene]) -> None:
    dotted = [Thing(shape, color, "dotted", radius=0.17) for shape, color in (("circle", "red"), ("square", "blue"))]
    assert "0 same texture as 1" in told(by_hand((dotted[0], 25, 25), (dotted[1], 70, 70)))
    assert "0 same texture as 1" not in told(by_hand((BALL, 25, 25), (BOX, 70, 70)))


def test_hidden_things_have_no_relations(by_hand: Callable[..., Scene]) -> None:
    assert told(by_hand((BALL, 50, 30), (GREAT, 50, 30), (BALL, 50, 85))) == {
        "0 left of 1",
        "0 level with 1",
        "0 larger than 1",
    }


def test_relations_agree_with_slow_definitions() -> None:
    seen: set[str] = set()
    for image in range(120):
        scene = make_scene(2, image, 64)
        slow = slow_relations(scene)
        assert set(relations_of(scene)) == slow, image
        seen |= {PREDICATES[predicate] for _, predicate, _ in slow}
    assert len(seen) >= len(PREDICATES) - 3


Pixels = set[tuple[int, int]]


def slow_relations(scene: Scene) -> set[tuple[int, int, int]]:
    found = set()
    for a, one in enumerate(scene.objects):
        for b, other in enumerate(scene.objects):
            if a == b:
                continue
            names = slow_names(scene, a, b, one, other)
            found |= {(a, PREDICATES.index(name), b) for name in names if a < b or name not in MUTUAL}
    return found


def pixels(mask: np.ndarray) -> Pixels:
    return {(int(y), int(x)) for y, x in np.argwhere(mask)}


def moved(points: Pixels, dy: int, dx: int) -> Pixels:
    return {(y + dy, x + dx) for y, x in points}


def slow_names(scene: Scene, a: int, b: int, one: Placed, other: Placed) -> set[str]:
    side, t = scene.side, max(1, round(0.02 * scene.side))
    v, w = pixels(scene.segments == a + 1), pixels(scene.segments == b + 1)
    f, g = pixels(one.mask), pixels(other.mask)
    area, area_b = int(one.stamp.mask.sum()), int(other.stamp.mask.sum())
    (top, left, bottom, right), (top_b, left_b, bottom_b, right_b) = box(v), box(w)
    rows = min(bottom, bottom_b) - max(top, top_b)
    columns = min(right, right_b) - max(left, left_b)
    cy, cx, cy_b, cx_b = (top + bottom) / 2, (left + right) / 2, (top_b + bottom_b) / 2, (left_b + right_b) / 2
    is_left = right <= left_b and rows >= 0.5 * min(bottom - top, bottom_b - top_b)
    share = len(f & g) / min(area, area_b)
    around = [(dy, dx) for dy in range(-t, t + 1) for dx in range(-t, t + 1)]
    touches = share < 0.1 and any(moved(v, dy, dx) & w for dy, dx in around)
    inside = area < area_b and len(v & pixels(other.silhouette)) >= 0.95 * len(v)
    gap = max(left - right_b, left_b - right, top - bottom_b, top_b - bottom)
    ahead = share < 0.1 and slow_ahead(scene, a, one) == b + 1
    rules = {
        "left of": is_left,
        "above": bottom <= top_b and columns >= 0.5 * min(right - left, right_b - left_b),
        "level with": is_left and abs(cy - cy_b) <= t,
        "far from": math.dist((cy, cx), (cy_b, cx_b)) >= 0.65 * side,
        "near": 0 <= gap <= 0.06 * side and share < 0.1 and not touches,
        "touching": touches,
        "standing on": touches and not f & g and bool(moved(f, t, 0) & g) and left_b <= cx <= right_b and cy < top_b,
        "on top of": a > b and share >= 0.1,
        "inside": inside,
        "in the hole of": inside and share < 0.1,
        "larger than": area >= 2.5 * area_b,
        "pointing at": one.thing.shape == "arrow" and ahead,
        "facing": one.thing.shape == "fish" and ahead,
        "same shape as": one.thing.shape == other.thing.shape,
        "same color as": one.thing.color == other.thing.color,
        "same texture as": one.thing.texture == other.thing.texture and one.thing.texture != "plain",
    }
    return {name for name, holds in rules.items() if holds}


def box(points: Pixels) -> tuple[int, int, int, int]:
    rows, columns = {y for y, _ in points}, {x for _, x in points}
    return min(rows), min(columns), max(rows) + 1, max(columns) + 1


def slow_ahead(scene: Scene, a: int, one: Placed) -> int:
    """The id of the first segment on the way from the tip, 0 where there is none."""
    sign = -1 if one.thing.flipped else 1
    dy, dx = sign * math.sin(one.thing.angle), sign * math.cos(one.thing.angle)
    step = 1.15 * one.thing.radius * scene.side
    while step < 1.5 * scene.side:
        y, x = round(one.y + step * dy), round(one.x + step * dx)
        if 0 <= y < scene.side and 0 <= x < scene.side:
            number = int(scene.segments[y, x])
            if number not in (0, a + 1):
                return number
        step += 0.5
    return 0
