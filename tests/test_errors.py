"""The exception tree and the ends of messages."""

from __future__ import annotations

import inspect
import re

import pytest

from cotag import errors
from cotag.errors import CotagError, CotagWarning, listing, suggestion

CLASSES = {
    name: found
    for name, found in vars(errors).items()
    if inspect.isclass(found) and issubclass(found, CotagError | CotagWarning)
}


def drawn_tree() -> dict[str, str]:
    """Each class of the drawing in the module's docstring with the one that it hangs on."""
    parents: dict[str, str] = {}
    above = ["CotagError"]
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"([│ ]*)[├└]── (\w+)", line)
        if found:
            depth = len(found[1]) // 4
            above[depth + 1 :] = [found[2]]
            parents[found[2]] = above[depth]
    return parents


def test_tree_is_as_drawn() -> None:
    expected = {name: found.__bases__[0].__name__ for name, found in CLASSES.items()}
    assert expected.pop("CotagError") == "Exception"
    assert expected.pop("CotagWarning") == "UserWarning"
    assert drawn_tree() == expected
    assert len(expected) > 10


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_every_exception_says_what_it_is_for(name: str) -> None:
    assert (CLASSES[name].__doc__ or "").endswith(".")


@pytest.mark.parametrize(
    ("given", "allowed", "said"),
    [
        ("lineer", ["gcn", "linear"], "; did you mean linear?"),
        ("ADAMW", ["sgd", "adam", "adamw"], "; did you mean adamw?"),
        ("dog", ["Dog", "cat"], "; did you mean Dog?"),
        ("zzz", ["sgd", "adam"], "; allowed: sgd, adam"),
        ("zzz", [], ""),
        (3, [1, 2], "; allowed: 1, 2"),
    ],
)
def test_suggestion(given: object, allowed: list[object], said: str) -> None:
    assert suggestion(given, allowed) == said


def test_suggestion_takes_any_iterable_once() -> None:
    assert suggestion("lineer", (name for name in ("gcn", "linear"))) == "; did you mean linear?"


def test_long_suggestion_is_cut() -> None:
    said = suggestion("zzz", [f"name{number:02}" for number in range(20)])
    assert said.startswith("; allowed: name00, name01")
    assert said.endswith("name11 and 8 more")


@pytest.mark.parametrize(
    ("items", "most", "said"),
    [
        ([], 5, ""),
        (["a", "b"], 5, "a, b"),
        (["a", "b"], 2, "a, b"),
        (["a", "b", "c"], 2, "a, b and 1 more"),
        (range(8), 5, "0, 1, 2, 3, 4 and 3 more"),
    ],
)
def test_listing(items: object, most: int, said: str) -> None:
    assert listing(items, most) == said  # type: ignore[arg-type]
