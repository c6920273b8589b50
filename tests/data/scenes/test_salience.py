"""What would be told of a scene, worked out by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from cotag.data.psg import VAGUE
from cotag.data.scenes.relations import relations_of
from cotag.data.scenes.salience import KINDS, MOST, NAMES, VAGUE_KINDS, VAGUE_ORDER, salient
from cotag.data.scenes.scene import Scene, Thing
from cotag.data.scenes.vocabulary import COLORS, PLAIN, PREDICATES, SHAPES, SIZES, TEXTURES

Holding = tuple[int, str, int]


def told(words: list[str], *holding: Holding) -> list[tuple[int, str, int]]:
    """What is told of objects with these words, between which these relations hold."""
    triplets = [(a, PREDICATES.index(name), b) for a, name, b in holding]
    found = salient([frozenset(text.split()) for text in words], triplets)
    return [(a, NAMES[number], b) for a, number, b in found]


def test_there_are_50_kinds_beside_the_6_that_the_reader_knows_as_vague() -> None:
    assert len(KINDS) == 50
    assert NAMES[:6] == VAGUE == tuple(kind.name for kind in VAGUE_KINDS)
    assert sorted(VAGUE_ORDER) == sorted(VAGUE)
    assert len(set(NAMES)) == 56


def test_kinds_ask_for_relations_and_words_that_there_are() -> None:
    words = {*SHAPES, *COLORS, *TEXTURES, PLAIN, *SIZES}
    for kind in (*KINDS, *VAGUE_KINDS):
        assert {name.removeprefix("~") for name in kind.relations} <= set(PREDICATES), kind.name
        assert {*kind.subject.split(), *kind.object.split()} <= words, kind.name


@pytest.mark.parametrize(
    ("words", "holding", "wanted"),
    [
        (["bolt red", "circle blue"], [(0, "touching", 1)], [(0, "striking", 1)]),
        # Touching holds both ways and is told once, with the earlier object as subject: here the bolt is the later.
        (["circle blue", "bolt red"], [(0, "touching", 1)], [(1, "striking", 0)]),
        (["circle blue", "bolt red"], [(0, "left of", 1)], [(1, "flashing beside", 0)]),
        # What is told of the ring is the reverse of what holds.
        (["star white", "ring blue"], [(0, "inside", 1)], [(1, "encircling", 0)]),
        (["star white", "circle blue"], [(0, "inside", 1)], [(0, "in", 1)]),
        # Above holds one way only: a fish below swims over nothing.
        (["circle blue", "fish red"], [(0, "above", 1)], [(0, "over", 1)]),
        (["circle blue", "fish red"], [(1, "above", 0)], [(1, "swimming over", 0)]),
        # The first geometric kind and the first likeness of two objects.
        (
            ["heart red", "heart red"],
            [(0, "touching", 1), (0, "same shape as", 1), (0, "same color as", 1)],
            [(0, "kissing", 1), (0, "repeating", 1)],
        ),
        (["circle small", "circle large"], [(0, "near", 1)], [(0, "orbiting", 1)]),
        (["circle large", "circle large"], [(0, "near", 1)], []),
        # Vague ones, the least vague; none where anything says more.
        (["square red", "circle blue"], [(0, "inside", 1), (0, "on top of", 1)], [(0, "in", 1)]),
        (["square red", "circle blue"], [(0, "on top of", 1), (0, "left of", 1)], [(0, "in front of", 1)]),
        (["square red", "circle red"], [(0, "left of", 1), (0, "same color as", 1)], [(0, "matching", 1)]),
        # Larger than and far from say nothing that anybody would tell.
        (["square large", "circle small"], [(0, "larger than", 1), (0, "far from", 1)], []),
        (["square red"], [], []),
    ],
)
def test_what_is_told_of_two(words: list[str], holding: list[Holding], wanted: list[Holding]) -> None:
    assert told(words, *holding) == wanted


def test_of_many_the_most_specific_are_told_each_once() -> None:
    words = ["bolt", "fish", "arrow", "heart", "circle", "square"]
    holding = [(one, "touching", 4) for one in range(4)] + [(5, "on top of", 4), (0, "touching", 5)]
    found = told(words, *holding)
    assert [name for _, name, _ in found] == ["striking", "nibbling", "poking", "hugging"]
    assert len(found) == MOST
    assert found[0] == (0, "striking", 4)


def test_of_a_drawn_scene(by_hand: Callable[..., Scene]) -> None:
    """A star that stands on a large square, and a ring to the right of both."""
    scene = by_hand(
        (Thing("square", "blue", radius=0.27, size="large"), 70, 35),
        (Thing("star", "yellow", radius=0.11, size="small"), 36, 35),
        (Thing("ring", "red", radius=0.17), 50, 80),
    )
    words = [
        frozenset({item.thing.shape, item.thing.color, item.thing.texture, item.thing.size}) for item in scene.objects
    ]
    found = [(a, NAMES[number], b) for a, number, b in salient(words, relations_of(scene))]
    assert (1, "perched on", 0) in found
    assert np.isin([number for _, number, _ in salient(words, relations_of(scene))], np.arange(56)).all()
