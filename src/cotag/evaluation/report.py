"""Sections as one HTML file that needs no network: text, tables to sort and search, figures and pictures."""

from __future__ import annotations

import html
import json
import math
import os
from collections.abc import Sequence
from importlib.resources import files
from numbers import Integral
from typing import Any

from cotag import __version__
from cotag.storage import require_free, write_text
from cotag.types.section import Section

DASH = "–"
# Longer tables get a search field, and figures with more lines a list to choose from.
SEARCHED_ROWS = 12
CHOSEN_LINES = 8


def write_report(
    sections: Sequence[Section],
    path: str | os.PathLike[str],
    title: str,
    subtitle: str = "",
    force: bool = False,
) -> None:
    """Write one self-contained HTML file.

    It opens without a network, in light and dark, on a phone, with a keyboard and on paper. Whatever a label, a
    file or a section is called stands there as text.

    Args:
        sections: in their order; the first is read first.
        path: the file to write.
        title: heading of the page; ``subtitle`` is one line below it.
        force: whether a file that is there already may be replaced.

    Raises:
        OutputExists: there is a file at ``path`` and ``force`` was not given.
        StorageError: it could not be written.
    """
    require_free(path, force)
    write_text(path, render(sections, title, subtitle))


def render(sections: Sequence[Section], title: str, subtitle: str = "") -> str:
    """The text of the HTML file that ``write_report`` writes."""
    from jinja2 import Environment, StrictUndefined

    template = files("cotag.evaluation").joinpath("templates/report.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(template).render(
        title=title,
        subtitle=subtitle,
        version=__version__,
        parts=[_part(number, section) for number, section in enumerate(sections, start=1)],
        plotly=_plotly() if any(section.figure for section in sections) else "",
    )


def format_cell(value: Any) -> str:
    """A table's cell as text: whole numbers without decimals, others with three, nothing as a dash."""
    if value is None:
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if not math.isfinite(value):
        return DASH if math.isnan(value) else str(value)
    if isinstance(value, Integral):
        return f"{int(value):,}"
    if 0 < abs(value) < 0.0005:
        return f"{value:.1e}"
    return f"{value:,.3f}" if abs(value) < 100 else f"{value:,.1f}"


def _part(number: int, section: Section) -> dict[str, Any]:
    """What the template needs of a section."""
    numeric = [_is_numeric([row[place] for row in section.rows]) for place in range(len(section.columns))]
    return {
        "key": f"section-{number}",
        "title": section.title,
        "paragraphs": [paragraph for paragraph in section.text.split("\n\n") if paragraph.strip()],
        "columns": list(zip(section.columns, numeric, strict=True)) if section.rows else [],
        "rows": _cells(section, numeric),
        "searched": len(section.rows) > SEARCHED_ROWS,
        "figure": _figure(section.figure, section.title) if section.figure else None,
        "pictures": [_picture(picture) for picture in section.pictures],
    }


def _picture(picture: dict[str, str]) -> dict[str, Any]:
    """What the template needs of a picture; only one that lies in the page itself can be shown."""
    if not picture["image"].startswith("data:image/"):
        raise ValueError("a picture of a section must be a data URI of an image")
    return {**picture, "lines": picture["caption"].split("\n")}


def _is_numeric(values: Sequence[Any]) -> bool:
    given = [value for value in values if value is not None]
    return bool(given) and all(hasattr(value, "__float__") and not isinstance(value, bool) for value in given)


def _cells(section: Section, numeric: list[bool]) -> list[list[dict[str, Any]]]:
    """The rows as cells: text, the value to sort by, and the length of the bar in percent, if there is one."""
    shown = list(section.columns).index(section.bars) if section.bars else None
    longest = 0.0
    if shown is not None and numeric[shown]:
        longest = max(abs(float(row[shown] or 0)) for row in section.rows)
    rows = []
    for row in section.rows:
        cells = []
        for place, value in enumerate(row):
            known = numeric[place] and value is not None and math.isfinite(value)
            bar = round(100 * abs(float(value)) / longest, 1) if known and place == shown and longest else None
            cells.append({"text": format_cell(value), "value": float(value) if known else None, "bar": bar})
        rows.append(cells)
    return rows


def _figure(figure: dict[str, Any], title: str) -> dict[str, Any]:
    """The figure as JSON for a script element; its title becomes the caption, which is text and not drawn."""
    layout = dict(figure.get("layout", {}))
    heading = layout.pop("title", None) or title
    caption = heading.get("text", title) if isinstance(heading, dict) else heading
    data, about = figure["data"], layout.get("meta", {})
    text = json.dumps(plain({"data": data, "layout": layout}), allow_nan=False)
    return {
        "caption": caption,
        "json": text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"),
        "height": layout.get("height", 360),
        "wide": about.get("wide", any(trace.get("type") == "heatmap" for trace in data)),
        "lines": [_line_name(trace) for trace in data] if about.get("list", len(data) > CHOSEN_LINES) else [],
        "visible": [trace.get("visible", True) is True for trace in data],
    }


def _line_name(trace: dict[str, Any]) -> str:
    """What a line is called in the list to choose from, which is no figure and reads no markup."""
    name: str = trace.get("meta") or html.unescape(trace.get("name", ""))
    return name


def plain(value: Any) -> Any:
    """Numpy values as Python ones, and numbers that JSON does not have as null."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    script: str = get_plotlyjs()
    return script.replace("</script", "<\\/script")
