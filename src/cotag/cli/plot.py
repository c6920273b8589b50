"""Curves as text: dots of braille characters, two by four in each."""

from __future__ import annotations

from collections.abc import Sequence

# The bits of the dots of a braille character, by row and column.
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
BLANK = 0x2800


def braille_plot(values: Sequence[float], width: int = 40, height: int = 5) -> list[str]:
    """A curve of values from 0 to 1, at even distances, as lines of text with their axis.

    Args:
        values: two or more; each column of dots shows the nearest.
        width: characters of a line, without the axis; height: lines.

    >>> print("\\n".join(braille_plot([0, 1], width=2, height=1)))
    1 ┤⣀⠏
    """
    across, up = 2 * width, 4 * height
    cells = [[BLANK] * width for _ in range(height)]
    before: int | None = None
    for column in range(across):
        value = values[round(column * (len(values) - 1) / (across - 1))]
        dot = up - 1 - round(min(1.0, max(0.0, value)) * (up - 1))
        # A jump is an upright line and not a gap: the dots next to those of the column before.
        first, last = dot, dot
        if before is not None and abs(dot - before) > 1:
            first, last = (before + 1, dot) if dot > before else (dot, before - 1)
        for row in range(first, last + 1):
            cells[row // 4][column // 2] |= DOTS[row % 4][column % 2]
        before = dot
    marks = ["1 ┤", *["  │"] * (height - 2), "0 ┤"] if height > 1 else ["1 ┤"]
    return [mark + "".join(map(chr, line)).rstrip(chr(BLANK)) for mark, line in zip(marks, cells, strict=True)]
