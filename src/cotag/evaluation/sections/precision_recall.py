"""Precision over recall: a curve for each label and one of all together."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from cotag.types.scores import Scores
from cotag.types.section import Section, drawn_names

MOST_CURVES = 80
MOST_POINTS = 200
VISIBLE = 3
MICRO = "all labels together (micro)"


class Curve(NamedTuple):
    """Precision and recall after each distinct score, highest first, down to the last positive; (S,)."""

    recall: np.ndarray
    precision: np.ndarray
    score: np.ndarray


def precision_recall_curve(score_M: np.ndarray, target_M: np.ndarray) -> Curve | None:
    """The curve of one ranking; None without a known positive.

    Args:
        score_M: any finite numbers of which higher means more likely.
        target_M: 1 present, 0 absent, -1 unknown (left out).
    """
    known = target_M >= 0
    score, positive = score_M[known], target_M[known] == 1
    if not positive.any():
        return None
    order = np.argsort(-score, kind="stable")
    score, positive = score[order], positive[order]
    ends = np.append(np.flatnonzero(np.diff(score)), len(score) - 1)
    hits = np.cumsum(positive)[ends]
    last = int(np.searchsorted(hits, hits[-1])) + 1
    ends, hits = ends[:last], hits[:last]
    return Curve(hits / hits[-1], hits / (ends + 1), score[ends])


def corners(x: np.ndarray, y: np.ndarray, most: int) -> np.ndarray:
    """Places of at most ``most`` points that keep the shape of a line.

    Both ends are kept, then again and again the point that is farthest from the line between its kept neighbors
    (Douglas and Peucker, 1973), so that corners stay and points on straight parts go.
    """
    if len(x) <= most:
        return np.arange(len(x))
    kept, queue = [0, len(x) - 1], [_farthest(x, y, 0, len(x) - 1)]
    while queue and len(kept) < most:
        distance, place, first, last = heapq.heappop(queue)
        if not distance:
            break
        kept.append(place)
        for start, end in ((first, place), (place, last)):
            if end - start > 1:
                heapq.heappush(queue, _farthest(x, y, start, end))
    return np.sort(kept)


def _farthest(x: np.ndarray, y: np.ndarray, first: int, last: int) -> tuple[float, int, int, int]:
    """(minus the distance, place) of the point between two others that is farthest from the line through them."""
    dx, dy = x[last] - x[first], y[last] - y[first]
    u, v = x[first + 1 : last] - x[first], y[first + 1 : last] - y[first]
    length = np.hypot(dx, dy)
    distance = np.abs(u * dy - v * dx) / length if length else np.hypot(u, v)
    place = int(np.argmax(distance))
    return -float(distance[place]), first + 1 + place, first, last


def precision_recall_section(scores: Scores, precisions_K: Sequence[float | None]) -> Section:
    """Curves of the labels with most positives and of all labels together; a few are visible at first.

    Args:
        scores: of N images and K labels, with targets.
        precisions_K: average precision of each label, None where it has none; names the curves.
    """
    title = "Precision and recall"
    positives_K = (scores.targets_NK == 1).sum(0)
    order = [int(k) for k in np.argsort(-positives_K, kind="stable") if positives_K[k]]
    micro = precision_recall_curve(scores.scores_NK.ravel(), scores.targets_NK.ravel())
    if micro is None:
        return Section(title, "No label has a known positive, so there is no curve.")
    drawn = order[:MOST_CURVES]
    lines = [_line(MICRO, micro, scores.kind, visible=True)] if len(order) > 1 else []
    names = drawn_names([scores.label_space.names[k] for k in drawn])
    for place, k in enumerate(drawn):
        curve = precision_recall_curve(scores.scores_NK[:, k], scores.targets_NK[:, k])
        assert curve is not None
        value = precisions_K[k]
        told = f" (AP {value:.3f})" if value is not None else ""
        line = _line(names[place] + told, curve, scores.kind, visible=place < VISIBLE)
        # By the whole name it is found in the list below the figure.
        lines.append({**line, "meta": scores.label_space.names[k] + told})
    text = "Precision over recall as the threshold falls, each label by itself; the pointer shows the threshold."
    if len(drawn) > VISIBLE:
        text += f" The {VISIBLE} most frequent labels are drawn; choose others below the figure."
    if len(drawn) < len(order):
        text += f" Of {len(order):,} labels with positives the {len(drawn)} most frequent can be chosen."
    layout = {
        "title": {"text": "Precision over recall"},
        "xaxis": {"title": {"text": "recall"}, "range": [-0.01, 1.01]},
        "yaxis": {"title": {"text": "precision"}, "range": [-0.01, 1.02]},
        "height": 440,
        "showlegend": True,
    }
    return Section(title, text, figure={"data": lines, "layout": layout})


def _line(name: str, curve: Curve, kind: str, visible: bool) -> dict[str, Any]:
    # Up to the recall of the first hit precision counts as it is there, as in the area under the curve.
    first = int(np.searchsorted(curve.recall, 0, side="right"))
    x, y, score = (np.concatenate([values[first : first + 1], values[first:]]) for values in curve)
    x[0] = 0
    kept = corners(x, y, MOST_POINTS)
    score = score[kept].astype(np.float64)
    probability = score if kind == "probability" else np.exp(-np.logaddexp(0, -score))
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "visible": visible,
        "x": x[kept].round(4).tolist(),
        "y": y[kept].round(4).tolist(),
        "customdata": [float(f"{value:.3g}") for value in probability],
        "hovertemplate": "recall %{x:.3f}, precision %{y:.3f}<br>at probability %{customdata}",
    }
