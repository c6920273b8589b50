"""Label names: as a list in a text file, and as the words that a table of word vectors may hold."""

from __future__ import annotations

import os
import re
from pathlib import Path

from cotag.errors import DataError, LabelSpaceError
from cotag.types.labels import LabelSpace

# A word ends where a capital begins one (TennisRacket), or where capitals end before one (TVMonitor).
_JOINT = re.compile(r"(?<=[^\W\d_A-Z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SEPARATORS = re.compile(r"[\W_]+")


def read_label_names(path: str | os.PathLike[str]) -> LabelSpace:
    """The labels of a text file in UTF-8 with one name in each line, in the order of the lines.

    Raises:
        DataError: the file cannot be read as text, or a line between others is empty.
        LabelSpaceError: a name stands twice, or there is none.
    """
    try:
        lines = Path(path).read_text("utf-8-sig").rstrip().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise DataError(
            f"{path}: cannot be read ({reason}); give a text file with one label name in each line"
        ) from None
    names = [line.strip() for line in lines]
    if "" in names:
        raise DataError(f"{path}, line {names.index('') + 1}: is empty; give every line a label name")
    try:
        return LabelSpace(tuple(names))
    except LabelSpaceError as error:
        raise LabelSpaceError(f"{path}: {error}") from None


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
