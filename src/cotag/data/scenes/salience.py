"""The relations that somebody would name of a scene: 50 that say something, and 6 vague ones.

They are computed from the relations of ``cotag.data.scenes.relations`` and from what the two objects are. A kind holds
for (subject, object) where one of its relations does (``~`` stands for the reverse: the object has it to the subject)
and where subject and object have the words that it asks for (of their shape, color, texture and size).

Of every two objects at most one geometric kind is told, the one that stands first, and at most one kind of likeness
(the last three); where there is neither, a vague one. Of a scene the first ``MOST`` different kinds are told, each of
the first two objects that it holds for. So rare kinds hide frequent ones, as with people who describe a picture; what
is not told may be true.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cotag.data.scenes.relations import MUTUAL
from cotag.data.scenes.vocabulary import PREDICATES

MOST = 4
LIKENESS = ("patterned like", "repeating", "matching")


@dataclass(frozen=True)
class Kind:
    """A relation to be told.

    Args:
        name: its predicate.
        relations: names of ``PREDICATES``, of which one must hold; with ``~``, from object to subject.
        subject, object: words that the two must have, separated by spaces.
    """

    name: str
    relations: tuple[str, ...]
    subject: str = ""
    object: str = ""


VAGUE_KINDS = (
    Kind("over", ("above",)),
    Kind("in front of", ("on top of",)),
    Kind("beside", ("left of",)),
    Kind("on", ("standing on",)),
    Kind("in", ("inside",)),
    Kind("attached to", ("touching",)),
)
# The vaguer, the later: what is in something lies in front of it too.
VAGUE_ORDER = ("in", "on", "attached to", "in front of", "over", "beside")

KINDS = (
    Kind("striking", ("touching", "on top of", "standing on"), "bolt"),
    Kind("flashing beside", ("near", "left of", "~left of"), "bolt"),
    Kind("chasing", ("facing",), "fish", "fish"),
    Kind("staring at", ("facing",), "fish"),
    Kind("swimming over", ("above",), "fish"),
    Kind("nibbling", ("touching",), "fish"),
    Kind("diving into", ("on top of", "inside"), "fish"),
    Kind("pointing at", ("pointing at",), "arrow"),
    Kind("planted in", ("inside",), "arrow"),
    Kind("piercing", ("on top of",), "arrow"),
    Kind("poking", ("touching",), "arrow"),
    Kind("hanging over", ("above",), "crescent"),
    Kind("cradling", ("~on top of", "~inside"), "crescent"),
    Kind("hooked on", ("touching", "on top of"), "crescent"),
    Kind("kissing", ("touching", "near"), "heart", "heart"),
    Kind("sealing", ("on top of",), "heart"),
    Kind("hugging", ("touching",), "heart"),
    Kind("perched on", ("standing on",), "small", "large"),
    Kind("growing on", ("standing on",), "flower"),
    Kind("bedded with", ("touching",), "flower", "flower"),
    Kind("decorating", ("on top of",), "flower"),
    Kind("blooming beside", ("touching", "near"), "flower"),
    Kind("grafted on", ("standing on",), "cross"),
    Kind("marking", ("on top of", "inside"), "cross"),
    Kind("blocking", ("touching", "near"), "cross"),
    Kind("crowning", ("standing on",), "star"),
    Kind("clustered with", ("touching",), "star", "star"),
    Kind("shining over", ("above",), "star"),
    Kind("pinned on", ("on top of",), "star"),
    Kind("twinkling near", ("near", "touching"), "star"),
    Kind("caught in the loop of", ("in the hole of",), "", "ring"),
    Kind("encircling", ("~inside",), "ring"),
    Kind("chained to", ("touching", "on top of"), "ring", "ring"),
    Kind("looped over", ("on top of",), "ring"),
    Kind("hung beside", ("touching",), "ring"),
    Kind("roofing", ("standing on",), "triangle", "square"),
    Kind("pitched on", ("standing on",), "triangle"),
    Kind("lodged in", ("inside",), "triangle"),
    Kind("wedged against", ("touching",), "triangle"),
    Kind("stacked on", ("standing on",), "square", "square"),
    Kind("framing", ("~inside",), "square"),
    Kind("boxed against", ("touching",), "square", "square"),
    Kind("looming over", ("above",), "large", "small"),
    Kind("orbiting", ("near", "touching"), "small circle", "large circle"),
    Kind("rolling on", ("standing on",), "circle"),
    Kind("bumping", ("touching",), "circle", "circle"),
    Kind("eclipsing", ("on top of",), "circle", "circle"),
    Kind("patterned like", ("same texture as",)),
    Kind("repeating", ("same shape as",)),
    Kind("matching", ("same color as",)),
)

NAMES = tuple(kind.name for kind in (*VAGUE_KINDS, *KINDS))
_GEOMETRIC = tuple(kind for kind in KINDS if kind.name not in LIKENESS)
_LIKENESS = tuple(kind for kind in KINDS if kind.name in LIKENESS)
_VAGUE = tuple(sorted(VAGUE_KINDS, key=lambda kind: VAGUE_ORDER.index(kind.name)))
_RANK = {kind.name: place for place, kind in enumerate((*KINDS, *_VAGUE))}


def salient(words: Sequence[frozenset[str]], triplets: Iterable[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """What is told of a scene: (subject, predicate, object), at most ``MOST``, the most specific first.

    Args:
        words: shape, color, texture and size of each object.
        triplets: (subject, predicate, object), all that hold; positions in ``words`` and ids of ``PREDICATES``.

    Returns:
        positions in ``words`` and, as predicates, positions in ``NAMES``.
    """
    held: dict[tuple[int, int], set[str]] = {}
    for a, number, b in triplets:
        name = PREDICATES[number]
        held.setdefault((a, b), set()).add(name)
        held.setdefault((b, a), set()).add(name if name in MUTUAL else f"~{name}")
    told: dict[str, tuple[int, int]] = {}
    for a, b in sorted(pair for pair in held if pair[0] < pair[1]):
        found = [one for kinds in (_GEOMETRIC, _LIKENESS) if (one := _first(kinds, words, held, a, b))]
        for name, subject, other in found or filter(None, [_first(_VAGUE, words, held, a, b)]):
            told.setdefault(name, (subject, other))
    chosen = sorted(told, key=_RANK.__getitem__)[:MOST]
    return [(told[name][0], NAMES.index(name), told[name][1]) for name in chosen]


def _first(
    kinds: Sequence[Kind], words: Sequence[frozenset[str]], held: dict[tuple[int, int], set[str]], a: int, b: int
) -> tuple[str, int, int] | None:
    """The first kind that holds between two objects, in either direction, with its subject and object."""
    for kind in kinds:
        for subject, other in ((a, b), (b, a)):
            fits = words[subject].issuperset(kind.subject.split()) and words[other].issuperset(kind.object.split())
            if fits and not held[subject, other].isdisjoint(kind.relations):
                return kind.name, subject, other
    return None
