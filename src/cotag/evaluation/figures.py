"""Figures of runs as plotly JSON, made by hand so that nothing heavy is imported."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from cotag.types.section import drawn_names


def epoch_curves(history: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Losses and quality by epoch, one above the other.

    Args:
        history: one mapping for each epoch: ``epoch``, and any of ``train_*`` and ``val_*``; those that end in
            ``loss`` share the upper axis, the others the lower. A value may be missing or None.

    Returns:
        a plotly figure with one line for each key.
    """
    keys = dict.fromkeys(key for row in history for key in row if key.startswith(("train_", "val_")))
    losses = [key for key in keys if key.endswith("loss")]
    others = [key for key in keys if not key.endswith("loss")]
    lines = []
    for names, axis in ((losses, "y"), (others, "y2" if losses else "y")):
        for name in names:
            lines.append(
                {
                    "type": "scatter",
                    "mode": "lines+markers",
                    "name": name,
                    "x": [row["epoch"] for row in history],
                    "y": [row.get(name) for row in history],
                    "yaxis": axis,
                    "connectgaps": True,
                }
            )
    layout: dict[str, Any] = {
        "title": {"text": "Learning curves"},
        "xaxis": {"title": {"text": "epoch"}},
        "yaxis": {"title": {"text": "loss" if losses else "quality"}, "rangemode": "tozero"},
        "showlegend": True,
    }
    if losses and others:
        layout["yaxis"]["domain"] = [0.56, 1]
        layout["yaxis2"] = {"title": {"text": "quality"}, "rangemode": "tozero", "domain": [0, 0.44]}
        layout["xaxis"]["anchor"] = "y2"
        layout["height"] = 520
    return {"data": lines, "layout": layout}


# Ten that are told apart on white and on dark paper alike.
COLORS = (
    *("#3b82c4", "#e07b1a", "#2f9e62", "#cf4450", "#8f63c9", "#a0705a", "#d95f9f", "#7f8c8d", "#a8a316", "#17a3b8"),
)
SYMBOLS = ("circle", "square", "diamond", "cross", "triangle-up", "x")
PANEL_HEIGHT, PANEL_GAP = 230, 0.07
# A loss that spans more than this, as where one rate was too high, is drawn on a logarithmic axis.
LINEAR_SPAN = 20.0


def run_curves(
    panels: Mapping[str, Mapping[str, tuple[Sequence[float | None], Sequence[float | None]]]], x_title: str = "epoch"
) -> dict[str, Any]:
    """Lines of several runs, a panel for each quantity above the other, with one color for each run.

    Args:
        panels: title of a quantity -> name of a run -> (x, y); a gap where both are None.
        x_title: of the common axis.

    Returns:
        a plotly figure; the legend names each run once, and hides all its lines.
    """
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    drawn = dict(zip(names, drawn_names(names), strict=True))
    share = (1 - PANEL_GAP * (len(panels) - 1)) / max(1, len(panels))
    layout: dict[str, Any] = {
        "xaxis": {"title": {"text": x_title}, "anchor": f"y{len(panels)}" if len(panels) > 1 else "y"},
        "height": 110 + PANEL_HEIGHT * len(panels) + 10 * len(names),
        "showlegend": True,
        "hovermode": "closest",
        "meta": {"wide": True, "list": False},
    }
    data: list[dict[str, Any]] = []
    for place, (title, lines) in enumerate(panels.items()):
        axis = "" if place == 0 else str(place + 1)
        top = 1 - place * (share + PANEL_GAP)
        values = [y for _, ys in lines.values() for y in ys if y is not None and math.isfinite(y)]
        spread = bool(values) and min(values) > 0 and max(values) > LINEAR_SPAN * min(values)
        is_loss = "loss" in title
        layout[f"yaxis{axis}"] = {
            "title": {"text": title},
            "domain": [max(0.0, top - share), top],
            "type": "log" if is_loss and spread else "linear",
        }
        for name, (x, y) in lines.items():
            number = names.index(name)
            symbol = SYMBOLS[number // len(COLORS) % len(SYMBOLS)]
            data.append(
                {
                    "type": "scatter",
                    "mode": "lines+markers" if len(x) < 60 else "lines",
                    "name": drawn[name],
                    "legendgroup": name,
                    "showlegend": not any(line["legendgroup"] == name for line in data),
                    "line": {"color": COLORS[number % len(COLORS)], "width": 1.8},
                    "marker": {"size": 5, "symbol": symbol},
                    "x": list(x),
                    "y": list(y),
                    "yaxis": f"y{axis}",
                    "hovertemplate": f"{x_title} %{{x}}, {title} %{{y:.4f}}",
                }
            )
    return {"data": data, "layout": layout}


def count_against_score(counts: Sequence[int], ap: Sequence[float | None], names: Sequence[str]) -> dict[str, Any]:
    """Average precision of each label by its number of images.

    Args:
        counts: images with each label; the axis is logarithmic where all are above 0.
        ap: average precision in [0, 1]; a label with None or NaN is left out.
        names: the labels' names, which show under the pointer.
    """
    points = [
        (int(count), float(score), name)
        for count, score, name in zip(counts, ap, drawn_names(names), strict=True)
        if score is not None and score == score
    ]
    dots = {
        "type": "scatter",
        "mode": "markers",
        "x": [count for count, _, _ in points],
        "y": [score for _, score, _ in points],
        "text": [name for _, _, name in points],
        "hovertemplate": "%{text}<br>%{x} images<br>AP %{y:.3f}<extra></extra>",
        "marker": {"size": 8, "opacity": 0.7},
    }
    kind = "log" if points and min(count for count, _, _ in points) > 0 else "linear"
    layout = {
        "title": {"text": "Average precision by number of images"},
        "xaxis": {"title": {"text": "images with the label"}, "type": kind},
        "yaxis": {"title": {"text": "average precision"}, "range": [-0.02, 1.02]},
    }
    return {"data": [dots], "layout": layout}


def bar(names: Sequence[str], values: Sequence[float | None], title: str) -> dict[str, Any]:
    """One horizontal bar for each name, the first on top."""
    bars = {"type": "bar", "orientation": "h", "y": drawn_names(names), "x": list(values)}
    layout = {
        "title": {"text": title},
        "xaxis": {"rangemode": "tozero"},
        "yaxis": {"type": "category", "autorange": "reversed"},
        "height": max(200, 90 + 22 * len(names)),
    }
    return {"data": [bars], "layout": layout}
