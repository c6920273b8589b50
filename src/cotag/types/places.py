"""Where an image is, as text: a file, a part of a file that holds many, or an address.

========================  =================================================================
``photos/a.jpg``          a file, relative to the root or absolute
``train.tar::a.jpg``      the member ``a.jpg`` of a tar file
``train.parquet::photo/7``  row 7, counted from 0, of the column ``photo`` of a Parquet file
``s3://bucket/a.jpg``     whatever fsspec reads; also before ``::``
========================  =================================================================
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import quote

Place = Path | str
"""A path, or an address as text: a path would make one slash of two."""

_PART = re.compile(r"\.(tar|parquet)::", re.IGNORECASE)


def is_address(place: str | os.PathLike[str]) -> bool:
    """Whether fsspec reads it: text with ``://``, which no path of an Index holds."""
    return "://" in os.fspath(place)


def split_part(place: str | os.PathLike[str]) -> tuple[str, str, str] | None:
    """The kind (``tar`` or ``parquet``), the file and the part of it that a place names; None for a whole file.

    >>> split_part("photos/train.tar::a.jpg")
    ('tar', 'photos/train.tar', 'a.jpg')
    """
    text = os.fspath(place)
    found = _PART.search(text)
    if found is None:
        return None
    return found[1].lower(), text[: found.end() - 2], text[found.end() :]


def place_of(root: Place, reference: str) -> Place:
    """The place of an image whose reference starts from a root."""
    if is_address(reference):
        return reference
    if isinstance(root, str):
        return f"{root.rstrip('/')}/{_quoted(reference) if root.startswith('http') else reference}"
    return root / reference


def _quoted(reference: str) -> str:
    """A reference in a web address, where ``#`` and ``?`` mean something else; the part after ``::`` is none."""
    part = split_part(reference)
    return quote(reference) if part is None else f"{quote(part[1])}::{part[2]}"


def root_of(given: str | os.PathLike[str]) -> Place:
    """A root as it was given or saved."""
    return os.fspath(given) if is_address(given) else Path(given)


def whole(place: Place) -> str:
    """A place as text that means the same in any working directory."""
    return place if isinstance(place, str) else str(place.resolve())
