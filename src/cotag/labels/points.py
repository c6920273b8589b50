"""Labels as points of a picture: their colors and shapes by group, the key below, and room for their names."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np

LONGEST_NAME = 28
# The figure counts in pixels of a page of usual width, so that names can be kept apart.
WIDTH = 960
LETTER, LINE = 6.4, 15
COLORS = (
    "#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#b07aa1", "#c9a227",
    "#3aa6b9", "#9c755f", "#e377a8", "#7f8790", "#6a5acd", "#8cb33e",
)  # fmt: skip
SYMBOLS = ("circle", "square", "diamond")


def look(groups: np.ndarray) -> dict[str, list[str]]:
    """Color and shape of each node, so that nothing rests on color alone."""
    return {
        "color": [COLORS[group % len(COLORS)] for group in groups],
        "symbol": [SYMBOLS[group % len(SYMBOLS)] for group in groups],
    }


def group_numbers(groups: Sequence[str | None]) -> tuple[np.ndarray, list[str]]:
    """For each label the number of its group, and the groups' names as a figure takes them, the largest first.

    Where there are more groups than colors, the smallest are one.
    """
    named = [group or "no group" for group in groups]
    found = sorted(dict.fromkeys(named), key=lambda name: (-named.count(name), name))
    kept = found if len(found) <= len(COLORS) else found[: len(COLORS) - 1]
    titles = [*kept, *(["other groups"] if len(kept) < len(found) else [])]
    numbers = np.array([kept.index(name) if name in kept else len(kept) for name in named])
    return numbers, [html.escape(title[:LONGEST_NAME], quote=False) for title in titles]


def legend(titles: list[str]) -> tuple[dict[str, Any], float]:
    """The groups below the picture, in as many lines as they need, and how deep these are."""
    x, y, left, line = [], [], 12.0, 0
    for title in titles:
        wide = 32 + LETTER * 1.3 * len(html.unescape(title))
        if left > 12 and left + wide > WIDTH:
            left, line = 12.0, line + 1
        x.append(left)
        y.append(-30.0 - 24 * line)
        left += wide
    key = {
        "type": "scatter",
        "mode": "markers+text",
        "x": x,
        "y": y,
        "text": [f" {title}" for title in titles],
        "textposition": "middle right",
        "hoverinfo": "skip",
        "showlegend": False,
        "marker": {"size": 12, "opacity": 1, **look(np.arange(len(titles)))},
    }
    return key, 50.0 + 24 * line


def kept_apart(at: np.ndarray, boxes: np.ndarray, height: float, steps: int = 400) -> np.ndarray:
    """Move nodes until their boxes (width and height in pixels, with the name) overlap no more, where there is room."""
    if len(at) < 2:
        return at
    # a name hangs below its node, so the box does too
    hang = np.array([0, LINE / 2])
    at = at - hang
    wanted = (boxes[:, None] + boxes[None]) / 2
    half, room = boxes / 2, np.array([WIDTH, height])
    index = np.arange(len(at))
    sign = np.where(index[:, None] > index[None], 1.0, -1.0)
    for _ in range(steps):
        apart = at[:, None] - at[None]
        over = wanted - np.abs(apart)
        meets = (over > 0).all(2)
        np.fill_diagonal(meets, False)
        if not meets.any():
            break
        # mostly along the shorter way out, and a little along the other, so that names do not pile up in columns
        along = np.where(over.argmin(2)[..., None] == np.arange(2), 1, 0.15)
        way = np.where(apart == 0, sign[..., None], np.sign(apart))
        at = at + (way * over * along * meets[..., None]).sum(1) * 0.3
        at = np.clip(at, half, room - half)
    return at + hang
