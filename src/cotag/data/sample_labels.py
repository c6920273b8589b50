"""The labels of WebDataset samples: JSON, numbers or text beside the picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cotag.data.sources import PathLike, choice, require_file, short
from cotag.errors import DataError, FormatError, SettingError, listing, suggestion

ENDINGS = ("json", "cls", "txt")


@dataclass
class Labels:
    """Label names as they come, and pairs of a row and a place among them."""

    names: dict[str, int] = field(default_factory=dict)
    positives: list[tuple[int, int]] = field(default_factory=list)
    unknowns: list[tuple[int, int]] = field(default_factory=list)

    def order(self, names: Sequence[str] | None) -> tuple[np.ndarray, list[str]]:
        """Where each name that came is among all in their order, and these: the given ones, or those that came."""
        ordered = list(names) if names is not None else sorted(self.names)
        place = {name: number for number, name in enumerate(ordered)}
        return np.array([place[name] for name in self.names], dtype=np.int64), ordered


class LabelReader:
    """Reads the labels of samples.

    Args:
        ending, key, separator, names: see ``read_webdataset``.

    Raises:
        SettingError: the ending is none that is known, or the separator is empty.
        DataError: the file of names is missing or empty, or has a name twice.
    """

    def __init__(self, ending: str | None, key: str, separator: str, names: PathLike | None) -> None:
        self.ending = choice("labels", ending.lower().lstrip("."), ENDINGS) if ending is not None else None
        if not separator:
            raise SettingError("separator is empty; give the text between two labels, such as separator=;")
        self.key, self.separator = key, separator
        self.names = _names(names) if names is not None else None
        self._allowed = set(self.names or ())

    def wants(self, ending: str) -> bool:
        """Whether a member of this ending has to be read."""
        return ending in (ENDINGS if self.ending is None else (self.ending,))

    def has(self, texts: dict[str, bytes], where: str) -> bool:
        """Whether a sample has labels; the first that does decides by which ending, where none was given.

        Raises:
            FormatError: it has several that may be.
        """
        if self.ending is None:
            if len(texts) > 1:
                raise FormatError(f"{where} has {listing(texts)}; read with labels=ENDING, that of the labels")
            self.ending = next(iter(texts), None)
        return self.ending in texts

    def read(self, texts: dict[str, bytes], row: int, labels: Labels, where: str) -> None:
        """Add the labels of a sample.

        Raises:
            DataError: they cannot be read, or a name or number is not known.
        """
        text = texts[str(self.ending)]
        try:
            found = self._values(text.decode("utf-8-sig"), where)
        except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
            raise DataError(f"{where}: its .{self.ending} cannot be read ({error}); write it again") from None
        for value, state in found.items():
            pair = (row, labels.names.setdefault(self._name(value, where), len(labels.names)))
            if state is None:
                labels.unknowns.append(pair)
            elif state:
                labels.positives.append(pair)

    def _values(self, text: str, where: str) -> dict[Any, int | None]:
        """What stands for labels, each with 1, 0 or None for unknown."""
        if self.ending == "txt":
            parts = (part.strip() for line in text.splitlines() for part in line.split(self.separator))
            return dict.fromkeys(filter(None, parts), 1)
        if self.ending == "cls":
            if not all(part.isdecimal() for part in text.split()):
                raise DataError(f"{where}: its .cls holds {short(text)}; it must hold numbers")
            return dict.fromkeys(map(int, text.split()), 1)
        value = json.loads(text)
        if not isinstance(value, dict) or self.key not in value:
            keys = listing(map(repr, value)) if isinstance(value, dict) else short(value)
            raise DataError(f"{where}: its .json has no {self.key!r}; read with key=NAME; it has {keys or 'nothing'}")
        given = value[self.key]
        if isinstance(given, dict):
            if not all(
                state is None or (isinstance(state, int | float) and state in (0, 1)) for state in given.values()
            ):
                raise DataError(
                    f"{where}: {self.key!r} is {short(given)}; allowed: 1 (present), 0 (absent), null (unknown)"
                )
            return {name: None if state is None else int(state) for name, state in given.items()}
        listed = given if isinstance(given, list) else [] if given is None else [given]
        if not all(isinstance(one, str | int) and not isinstance(one, bool) for one in listed):
            raise DataError(f"{where}: {self.key!r} is {short(given)}; it must hold names or numbers")
        return dict.fromkeys(listed, 1)

    def _name(self, value: str | int, where: str) -> str:
        if isinstance(value, int):
            if self.names is None:
                raise DataError(f"{where}: label {value} is a number; read with names=FILE, a file of label names")
            if not 0 <= value < len(self.names):
                raise DataError(f"{where}: label {value}: the file of names has {len(self.names)}, counted from 0")
            return self.names[value]
        name = value.strip()
        if not name:
            raise DataError(f"{where}: holds an empty label name; remove it")
        if self.names is not None and name not in self._allowed:
            raise DataError(f"{where}: label {name!r} is not in the file of names{suggestion(name, self.names)}")
        return name


def _names(path: PathLike) -> list[str]:
    file: Path = require_file(path)
    try:
        names = [line.strip() for line in file.read_text("utf-8-sig").splitlines()]
    except UnicodeDecodeError:
        raise DataError(f"{file}: is not UTF-8 text; give a label name on each line") from None
    while names and not names[-1]:
        names.pop()
    seen: set[str] = set()
    for number, name in enumerate(names, 1):
        if not name or name in seen:
            what = "is empty" if not name else f"{name!r} stands twice"
            raise DataError(f"{file}: line {number}: {what}; give a label name on each line")
        seen.add(name)
    if not names:
        raise DataError(f"{file}: is empty; give a label name on each line")
    return names
