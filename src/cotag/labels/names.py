"""Label names as the words that a table of word vectors may hold."""

from __future__ import annotations

import re

# A word ends where a capital begins one (TennisRacket), or where capitals end before one (TVMonitor).
_JOINT = re.compile(r"(?<=[^\W\d_A-Z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SEPARATORS = re.compile(r"[\W_]+")


def words_of(name: str) -> list[str]:
    """The words of a label name, as they are written; empty where it has neither letter nor digit.

    >>> words_of("TennisRacket"), words_of("hot-dog"), words_of("dining_table")
    (['Tennis', 'Racket'], ['hot', 'dog'], ['dining', 'table'])
    """
    return [word for word in _SEPARATORS.split(_JOINT.sub(" ", name)) if word]


def spellings_of(name: str) -> list[str]:
    """How a whole name may stand in a table, the likeliest first, each as it is written and then in lower case.

    >>> spellings_of("traffic light")
    ['traffic light', 'traffic_light', 'traffic-light', 'trafficlight']
    """
    words = words_of(name)
    written = [name.strip(), *(joint.join(words) for joint in ("_", "-", "") if words)]
    return unique(form for text in written for form in cases_of(text))


def cases_of(text: str) -> list[str]:
    """The text as it is, then in lower case where that differs."""
    return unique([text, text.lower()])


def unique(texts: object) -> list[str]:
    """Each text once, in the order of first sight."""
    return list(dict.fromkeys(texts))  # type: ignore[call-overload]
