"""``cotag.read``: an Index of any label file."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

from cotag.data.recognize import INDEX, recognize
from cotag.data.sources import PathLike, short
from cotag.errors import FormatError, SettingError, suggestion
from cotag.registry import READERS
from cotag.types.index import Index

_WITH_FORMAT = re.compile(r"([A-Za-z][\w-]+):(.*)", re.DOTALL)


def read(data: PathLike, /, **options: Any) -> Index:
    """Read a label file, a data set's folder or a saved Index.

    Args:
        data: ``format:path`` (``coco:photos/annotations.json``; the formats are the readers' names), or a path whose
            format is plain from its content. Only text has a format; a path object is a path.
        options: what the reader takes (``images="photos"``, ``missing="skip"``); values may be text, as they come
            from a command line.

    Returns:
        The Index; what its ``notes`` hold is worth showing to the user.

    Raises:
        FormatError: the format is not known or not recognized.
        DataError: the files are wrong; the message names the file and the row.
        SettingError: the reader does not take an option, or not this value.
    """
    if not str(data).strip():
        raise FormatError("no data given; give format:path or a path")
    name, place = split_format(data)
    path: str | Path = place
    if name is None:
        name, path = recognize(Path(place))
    if name == INDEX:
        if options:
            raise SettingError(f"{place}: a saved index takes no options; given {', '.join(options)}")
        return Index.load(path)
    READERS.check(name, options)
    reader = READERS.get(name)
    first, *others = inspect.signature(reader).parameters.values()
    if first.name in options:
        raise SettingError(f"reader {name}: {first.name!r} is what stands after {name}: in the data; give it there")
    if not place and first.default is first.empty:
        raise FormatError(f"{data}: names no path; give {name}:PATH")
    defaults = {parameter.name: parameter.default for parameter in others}
    index: Index = reader(path, **{key: _typed(name, key, value, defaults) for key, value in options.items()})
    return index


def split_format(data: PathLike) -> tuple[str | None, str]:
    """The format and the path of ``format:path``; no format where there is none.

    A colon is part of the path where something of the whole name exists, and after a single letter (a drive).

    Raises:
        FormatError: the format is not known; the message gives the nearest.
    """
    match = _WITH_FORMAT.fullmatch(data) if isinstance(data, str) else None
    if match is None or Path(match[0]).exists():
        return None, str(Path(data))
    name, place = match.groups()
    if name not in READERS.entries:
        raise FormatError(f"{data}: format {name!r} is not known{suggestion(name, READERS.names())}")
    return name, place


def _typed(reader: str, key: str, value: Any, defaults: dict[str, Any]) -> Any:
    """Text as a value of the type that the option has by default."""
    kind = type(defaults.get(key))
    if not isinstance(value, str) or kind not in (bool, int, float):
        return value
    if kind is bool:
        words = {"true": True, "false": False}
        if value.lower() not in words:
            raise SettingError(f"reader {reader}: {key}={short(value)} is not known; allowed: true, false")
        return words[value.lower()]
    try:
        return kind(value)
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise SettingError(f"reader {reader}: {key}={short(value)} is not {what}") from None
