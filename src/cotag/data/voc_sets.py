"""The text files of VOC's ``ImageSets/Main``: lists of images, and a value for each image and class."""

from __future__ import annotations

import re
from pathlib import Path

from cotag.data.sources import SPLITS, short
from cotag.errors import DataError

ClassLines = dict[str, dict[str, int]]
_CLASS_FILE = re.compile(rf"(.+)_({'|'.join(SPLITS)})\.txt")
_VALUES = {"1": 1, "0": 0, "-1": -1}


def split_of_ids(main: Path) -> dict[str, str]:
    """The split of each image id, in the order of the files ``train``, ``val``, ``test``, ``trainval``.

    Raises:
        DataError: an image is in two of ``train``, ``val`` and ``test``, or in ``test`` and ``trainval``.
    """
    found: dict[str, str] = {}
    for split in SPLITS:
        file = main / f"{split}.txt"
        if not file.is_file():
            continue
        for number, words in _lines(file, 1):
            other = found.get(words[0])
            if other is not None and (split != "trainval" or other == "test"):
                raise DataError(
                    f"{file}: line {number}: image {words[0]!r} is in split {other!r} already; keep it in one of them"
                )
            found.setdefault(words[0], split)
    return found


def class_lines(main: Path) -> ClassLines:
    """For each class the value of each image: 1 present, 0 difficult, -1 absent; all splits together.

    Raises:
        DataError: a line is not an id and a value, or two files disagree.
    """
    found: ClassLines = {}
    for file in sorted(main.glob("*.txt")):
        match = _CLASS_FILE.fullmatch(file.name)
        if not match:
            continue
        values = found.setdefault(match[1], {})
        for number, (name, word) in _lines(file, 2):
            value = _VALUES.get(word)
            if value is None:
                raise DataError(
                    f"{file}: line {number}: image {name!r}: {word!r} is no value; "
                    "allowed: 1 (present), 0 (difficult), -1 (absent)"
                )
            if values.setdefault(name, value) != value:
                raise DataError(
                    f"{file}: line {number}: image {name!r} is {value} here and {values[name]} in another file of "
                    f"class {match[1]!r}; make them agree"
                )
    return found


def _lines(file: Path, count: int) -> list[tuple[int, list[str]]]:
    """The words of each line with its number; empty lines are passed over."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{file}: is not UTF-8 text; save it as such") from None
    found = [(number, words) for number, line in enumerate(text.splitlines(), 1) if (words := line.split())]
    for number, words in found:
        if len(words) != count:
            what = "an image id" if count == 1 else "an image id and a value"
            raise DataError(f"{file}: line {number}: {short(' '.join(words))} is not {what}; correct the line")
    return found
