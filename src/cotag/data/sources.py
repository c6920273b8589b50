"""What readers share about label files: where a row stands, options with few values, JSON with one-line errors."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cotag.errors import DataError, FormatError, SettingError, suggestion

PathLike = str | os.PathLike[str]
SPLITS = ("train", "val", "test", "trainval")


@dataclass(frozen=True)
class Source:
    """A label file, and how its rows are named in messages.

    Args:
        file: the label file or folder.
        row: from a row number, counted from 0, to its name there (``line 7``).
    """

    file: Path
    row: Callable[[int], str]

    def error(self, row: int, message: str) -> DataError:
        """A DataError that begins with the file and the row."""
        return DataError(f"{self.file}: {self.row(row)}: {message}")


def require_file(path: PathLike) -> Path:
    """The path of a label file that is there.

    Raises:
        DataError: it is not.
    """
    path = Path(path)
    if path.is_dir():
        raise DataError(f"{path}: is a folder and not a label file; give the path of the file")
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; give the path of the label file")
    return path


def first_bytes(path: Path, count: int) -> bytes:
    """The beginning of a file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with path.open("rb") as handle:
            return handle.read(count)
    except OSError as error:
        raise DataError(f"{path}: could not be read ({error.strerror or error}); check the file") from error


def require_folder(path: PathLike, what: str) -> Path:
    """The path of a folder that is there; ``what`` says in the message which one is meant.

    Raises:
        DataError: it is not.
    """
    path = Path(path)
    if not path.is_dir():
        state = "is a file" if path.exists() else "there is no such folder"
        raise DataError(f"{path}: {state}; give {what}")
    return path


def choice(name: str, value: str, allowed: Sequence[str]) -> str:
    """An option's value, if it is one of the allowed.

    Raises:
        SettingError: it is not; the message gives the nearest.
    """
    if value not in allowed:
        raise SettingError(f"{name}={value!r} is not known{suggestion(value, allowed)}")
    return value


def names_of(text: str | Iterable[str]) -> list[str]:
    """The names of an option that takes several: a list, or text with commas between them."""
    parts = text.split(",") if isinstance(text, str) else text
    return [part.strip() for part in parts if part.strip()]


@contextmanager
def no_collection() -> Iterator[None]:
    """Without Python's cycle collector: it takes two thirds of the time when a large JSON file is read."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def load_json(path: PathLike) -> dict[str, Any]:
    """The object that a JSON file holds.

    Raises:
        DataError: there is no such file, or it cannot be read.
        FormatError: it is not JSON, or not an object.
    """
    path = require_file(path)
    try:
        value = json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        raise FormatError(
            f"{path}: is not JSON (line {error.lineno}, column {error.colno}: {error.msg}); is the file complete?"
        ) from None
    except (UnicodeDecodeError, RecursionError) as error:
        reason = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else "it is nested too deeply"
        raise FormatError(f"{path}: is not JSON ({reason}); give a JSON file") from None
    except OSError as error:
        raise DataError(f"{path}: could not be read ({error.strerror or error}); check the file") from error
    if not isinstance(value, dict):
        raise FormatError(f"{path}: holds a {type(value).__name__}; a label file is a JSON object with named lists")
    return value


def entries(value: dict[str, Any], key: str, path: Path, expected: Sequence[str]) -> list[dict[str, Any]]:
    """The list of objects under a key of a JSON file.

    Raises:
        FormatError: there is no such key, or something else lies there; ``expected`` are the keys of the format.
    """
    if key not in value:
        keys = ", ".join(map(repr, list(value)[:8])) or "nothing"
        raise FormatError(f"{path}: has no {key!r}; expected {', '.join(map(repr, expected))}, found {keys}")
    found = value[key]
    if not isinstance(found, list):
        raise FormatError(f"{path}: {key!r} is a {type(found).__name__}; it must be a list")
    for number, entry in enumerate(found):
        if not isinstance(entry, dict):
            raise FormatError(f"{path}: entry {number} of {key!r} is {short(entry)}; it must be an object")
    return found


def column(found: list[dict[str, Any]], key: str, where: str, kinds: tuple[type, ...]) -> list[Any]:
    """One key of every entry.

    Args:
        where: file and list, for the message.
        kinds: the types that a value may have.

    Raises:
        DataError: an entry lacks the key, or its value is of another type.
    """
    values = [entry.get(key) for entry in found]
    if not set(map(type, values)) <= set(kinds):
        number = next(number for number, value in enumerate(values) if type(value) not in kinds)
        entry = found[number]
        name = f"entry {number} (id {short(entry['id'])})" if "id" in entry else f"entry {number}"
        allowed = " or ".join(kind.__name__ for kind in kinds)
        given = f"{key!r} is {short(entry[key])}" if key in entry else f"has no {key!r}"
        raise DataError(f"{where}: {name}: {given}; every entry needs one of type {allowed}")
    return values


def short(value: Any) -> str:
    """A value as one line of at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
