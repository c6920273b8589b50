"""The classifiers of a model as a picture: each label where its weight vector lies among the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cotag.labels.points import LETTER, LINE, LONGEST_NAME, WIDTH, group_numbers, kept_apart, legend, look
from cotag.labels.projection import group_agreement, in_plane
from cotag.types.labels import LabelSpace
from cotag.types.section import Section, drawn_names

NAMED = 150
MARGIN = 40


def classifier_sections(models: Mapping[str, np.ndarray], label_space: LabelSpace) -> list[Section]:
    """A table that says whether groups lie together, and a picture for each model.

    Args:
        models: name -> classifiers, float (K, D); D may differ.
        label_space: the K labels, with their groups if they have any.
    """
    groups = label_space.groups or (None,) * len(label_space)
    sections = []
    rows: list[list[Any]] = []
    for name, vectors_KD in models.items():
        found = group_agreement(vectors_KD, groups)
        if found is not None:
            rows.append([name, found.share, found.chance, found.p, found.labels])
        text = (
            "Each point is a label, placed by t-SNE of the cosine distances of the classifiers: near points are "
            "similar classifiers, far ones say little. Points are moved a little where names would overlap."
        )
        sections.append(
            Section(f"Classifiers of {name}", text, figure=_figure(in_plane(vectors_KD), label_space, len(vectors_KD)))
        )
    told = (
        "How many labels have a label of their own group as the nearest by cosine, in all dimensions; p is how often "
        "groups that are given at random agree as much."
        if rows
        else "The labels have no groups of two or more, so nothing can be said of them; color tells nothing."
    )
    columns = ("model", "nearest is of the group", "chance", "p", "labels") if rows else ()
    return [Section("Classifiers and groups", told, columns, rows), *sections]


def _figure(at: np.ndarray, label_space: LabelSpace, count: int) -> dict[str, Any]:
    names = drawn_names(label_space.names, LONGEST_NAME)
    full = drawn_names(label_space.names, 200)
    numbers, titles = group_numbers(label_space.groups or (None,) * count)
    height = float(np.clip(260 + 7 * count, 300, 1100))
    size = 11 if count <= NAMED else 6
    wide = np.array([LETTER * min(len(name), LONGEST_NAME) for name in names]) if count <= NAMED else np.zeros(count)
    boxes = np.stack((np.maximum(size, wide), np.full(count, size + LINE)), 1) + 6
    low, high = at.min(0), at.max(0)
    inside = (at - low) / np.maximum(high - low, 1e-9)
    inside[:, high - low < 1e-6] = 0.5
    placed = np.array([2 * MARGIN, MARGIN]) + inside * np.array([WIDTH - 4 * MARGIN, height - 2 * MARGIN])
    if count <= NAMED:
        placed = kept_apart(placed, boxes, height)
    points = {
        "type": "scatter",
        "mode": "markers+text" if count <= NAMED else "markers",
        "x": placed[:, 0],
        "y": placed[:, 1],
        "text": names,
        "textposition": "bottom center",
        "textfont": {"size": 11},
        "hovertext": [f"{name}<br>{titles[number]}" for name, number in zip(full, numbers, strict=True)],
        "hoverinfo": "text",
        "showlegend": False,
        "marker": {"size": size, "opacity": 1, **look(numbers)},
    }
    grouped = label_space.groups is not None
    key, depth = legend(titles) if grouped else ({}, 0.0)
    layout = {
        "title": {"text": f"{count} labels" + (f" of {len(titles)} groups" if grouped else "")},
        "xaxis": {"visible": False, "range": [0, WIDTH]},
        "yaxis": {"visible": False, "range": [-depth, height]},
        "height": int(height + depth + 40),
        "margin": {"l": 8, "r": 8, "t": 20, "b": 20},
        "hovermode": "closest",
        # Names and key need their room on a phone too, which then scrolls.
        "meta": {"wide": True},
        "showlegend": False,
    }
    return {"data": [points, key] if grouped else [points], "layout": layout}
