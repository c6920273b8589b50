"""Section: one titled part of a report, of the statistics or of a printed answer."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

LONGEST_NAME = 40


def drawn_names(names: Sequence[str], most: int = LONGEST_NAME) -> list[str]:
    """Names as a figure takes them, where markup is read as such: escaped, long ones cut, each still another.

    >>> drawn_names(["salt & pepper", "a very long name"], most=8)
    ['salt &amp; …', 'a very …']
    """
    short = [name if len(name) <= most else f"{name[: most - 1]}…" for name in names]
    count = Counter(short)
    unique = [f"{name} ({place})" if count[name] > 1 else name for place, name in enumerate(short, start=1)]
    return [html.escape(name, quote=False) for name in unique]


@dataclass
class Section:
    """A title with a text, a table, a figure, pictures, or several of them.

    Args:
        title: the heading.
        text: plain text, paragraphs separated by an empty line.
        columns: the names of the table's columns.
        rows: the table's rows; cells are text, numbers or None. Ratios are in [0, 1].
        figure: a plotly figure as JSON (``data`` and ``layout``).
        bars: name of the column whose numbers a terminal shows as bars, if any.
        pictures: ``image`` (a data URI), ``alt`` (what it shows, in words) and ``caption`` (lines) of each; ``begins``
            in one that begins a new row.
    """

    title: str
    text: str = ""
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[Any]] = field(default_factory=list)
    figure: dict[str, Any] | None = None
    bars: str | None = None
    pictures: Sequence[dict[str, str]] = ()

    def to_json(self) -> dict[str, Any]:
        """A JSON object without figure and pictures: title, text, and the rows as objects."""
        value: dict[str, Any] = {"title": self.title}
        if self.text:
            value["text"] = self.text
        if self.columns:
            value["rows"] = [dict(zip(self.columns, row, strict=True)) for row in self.rows]
        return value
