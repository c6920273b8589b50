"""Names of data in several files: the patterns that stand for them, and the splits that they tell."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from cotag.errors import DataError
from cotag.types.places import Place, is_address

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


def is_pattern(text: str) -> bool:
    """Whether a name may stand for several files; one that is there stands for itself."""
    return (glob.has_magic(text) or _RANGE.search(text) is not None) and not Path(text).exists()


def numbered(text: str) -> Iterator[str]:
    """A pattern with each of its ranges of numbers written out.

    >>> list(numbered("train-{08..10}.tar"))
    ['train-08.tar', 'train-09.tar', 'train-10.tar']
    """
    match = _RANGE.search(text)
    if match is None:
        yield text
        return
    first, last = match.groups()
    for number in range(int(first), int(last) + 1):
        yield from numbered(f"{text[: match.start()]}{number:0{len(first)}d}{text[match.end() :]}")


def files_of(pattern: str, kind: str) -> list[Path]:
    """The files that a pattern stands for, in order; ``kind`` says in messages what they should be.

    Raises:
        DataError: there are none, or one of a range of numbers is missing.
    """
    return [file for one in numbered(pattern) for file in _matching(one, kind)]


def _matching(pattern: str, kind: str) -> list[Path]:
    path = Path(pattern)
    if path.is_file():
        return [path]
    found = sorted(path.parent.glob(path.name)) if glob.has_magic(path.name) and path.parent.is_dir() else []
    if not found:
        raise DataError(f"{pattern}: there is no such file; give {kind}, or a pattern of them")
    return found


def common_folder(files: Collection[Path]) -> Path:
    """The folder that all files are in or below."""
    parents = {one.parent for one in files}
    return min(parents) if len(parents) == 1 else Path(os.path.commonpath([one.absolute() for one in parents]))


def below(file: Place, root: Place) -> str:
    """A file as its references begin, relative to the root."""
    if is_address(file):
        return os.fspath(file)
    return Path(os.path.relpath(file, root)).as_posix()


def split_of(file: Place, allowed: Collection[str]) -> str | None:
    """The split that a file's folder or the beginning of its name is, if one of the allowed."""
    *_, folder, name = ["", "", *os.fspath(file).split("/")]
    if folder in allowed:
        return folder
    first = re.split(r"[-_.]", name, maxsplit=1)[0]
    return first if first in allowed else None
