"""The network of a label graph as a plotly figure: a layout that is always the same, and names that do not overlap."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import numpy as np

from cotag.labels.graph import LabelGraph
from cotag.labels.points import COLORS as COLORS
from cotag.labels.points import LETTER, LINE, LONGEST_NAME, WIDTH, group_numbers, kept_apart, legend, look

if TYPE_CHECKING:
    from scipy.sparse import csr_array

MOST_NODES = 150
MOST_ARROWS = 600
MOST_CLUSTERS = 8


def shown_names(graph: LabelGraph, labels: np.ndarray) -> list[str]:
    """Names as plotly draws them: it reads markup, so ``<`` and ``&`` are escaped; long ones are cut."""
    names = [graph.label_space.names[label] for label in labels]
    short = [name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…" for name in names]
    again = {name for name in short if short.count(name) > 1}
    unique = [f"{name} ({label})" if name in again else name for name, label in zip(short, labels, strict=True)]
    return [html.escape(name, quote=False) for name in unique]


def clusters(graph: LabelGraph, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places of ``labels`` in the order of their clusters, and for each label the number of its cluster from 0.

    Labels are near where one of them implies the other: the distance is 1 - max(P(A|B), P(B|A)).
    """
    from scipy.cluster.hierarchy import fcluster, leaves_list, linkage
    from scipy.spatial.distance import squareform

    if len(labels) < 2:
        return np.arange(len(labels)), np.zeros(len(labels), dtype=np.int64)
    share = graph.conditional()[labels][:, labels].toarray()
    distance = 1 - np.maximum(share, share.T)
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), "average", optimal_ordering=True)
    return leaves_list(tree), fcluster(tree, min(MOST_CLUSTERS, -(-len(labels) // 3)), "maxclust") - 1


def network_figure(graph: LabelGraph, labels: np.ndarray, drawn_KK: csr_array) -> tuple[dict[str, Any], list[str]]:
    """The picture, and lines that say what was left out of it.

    Args:
        labels: the label ids to draw, the most important first.
        drawn_KK: P(B|A) in row A and column B where an arrow is to be drawn.
    """
    lines = []
    if len(labels) > MOST_NODES:
        lines.append(f"The {MOST_NODES} most connected labels are drawn; {len(labels) - MOST_NODES:,} are left out.")
        labels = labels[:MOST_NODES]
    arrows = drawn_KK[labels][:, labels].tocoo()
    order = np.argsort(-arrows.data, kind="stable")
    if len(order) > MOST_ARROWS:
        lines.append(f"The {MOST_ARROWS} strongest arrows are drawn; {len(order) - MOST_ARROWS:,} are left out.")
    a, b = arrows.row[order[:MOST_ARROWS]], arrows.col[order[:MOST_ARROWS]]
    names = shown_names(graph, labels)
    counts = graph.counts_K[labels]
    # many nodes are drawn smaller, so that names have room
    sizes = 9 + 31 * np.sqrt(counts / max(1, counts.max())) * min(1, 60 / len(labels))
    height = float(np.clip(220 + 9 * len(labels), 300, 1500))
    boxes = np.stack((np.maximum(sizes, [LETTER * min(len(name), LONGEST_NAME) for name in names]), sizes + LINE), 1)
    at = kept_apart(_layout(a, b, clusters(graph, labels)[0], height), boxes + 6, height)
    groups, titles = _groups(graph, labels)
    nodes = {
        "type": "scatter",
        "mode": "markers+text",
        "x": at[:, 0],
        "y": at[:, 1],
        "text": names,
        "textposition": "bottom center",
        "textfont": {"size": 11},
        "hovertext": [_node_text(name, int(n), titles[g]) for name, n, g in zip(names, counts, groups, strict=True)],
        "hoverinfo": "text",
        "showlegend": False,
        "marker": {"size": sizes, "opacity": 1, "line": {"width": 1, "color": "rgba(255,255,255,.8)"}, **look(groups)},
    }
    key, depth = legend(titles)
    is_edge = bool(graph.edges().nnz)
    layout = {
        "title": {"text": f"{len(labels)} labels and {len(a):,} {'edges' if is_edge else 'pairs'}"},
        "xaxis": {"visible": False, "range": [0, WIDTH]},
        "yaxis": {"visible": False, "range": [-depth, height]},
        "height": int(height + depth + 40),
        "margin": {"l": 8, "r": 8, "t": 20, "b": 20},
        "hovermode": "closest",
        # Names and key need their room on a phone too, which then scrolls.
        "meta": {"wide": True},
        "showlegend": False,
    }
    return {"data": [_arrows(graph, labels, at, a, b, names, is_edge), nodes, key], "layout": layout}, lines


def _node_text(name: str, images: int, group: str) -> str:
    return f"{name}<br>{images:,} images<br>{group}"


def _groups(graph: LabelGraph, labels: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """For each label the number of its group and the names of the groups; clusters where the labels have no groups."""
    given = graph.label_space.groups
    if given is None:
        numbers = clusters(graph, labels)[1]
        # a cluster is called after its most frequent label
        titles = []
        for number in range(int(numbers.max()) + 1):
            inside = labels[numbers == number]
            names = shown_names(graph, inside[np.argsort(-graph.counts_K[inside], kind="stable")])
            titles.append(", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else ""))
        return numbers, titles
    return group_numbers([given[label] for label in labels])


def _arrows(
    graph: LabelGraph, labels: np.ndarray, at: np.ndarray, a: np.ndarray, b: np.ndarray, names: list[str], is_edge: bool
) -> dict[str, Any]:
    """Lines from A to B with a head on the way, where the numbers show under the pointer."""
    middle = at[a] + 0.62 * (at[b] - at[a])
    gap = np.full_like(middle, np.nan)
    points = np.stack((at[a], middle, at[b], gap), 1).reshape(-1, 2)
    both = graph.pairs_KK[labels][:, labels].toarray()[a, b]
    share = both / graph.counts_K[labels][a]
    said = [
        f"{names[i]} → {names[j]}<br>P(B|A) {p:.3f}<br>{n:,} of {graph.counts_K[labels[i]]:,} images"
        for i, j, p, n in zip(a, b, share, both, strict=True)
    ]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "x": points[:, 0],
        "y": points[:, 1],
        "line": {"width": 1, "color": "rgba(128,136,146,.45)", "dash": "solid" if is_edge else "dot"},
        "marker": {
            "symbol": "arrow",
            "angleref": "previous",
            "size": [0, 7, 0, 0] * len(a),
            "color": "rgba(128,136,146,.85)",
            "opacity": 1,
            "line": {"width": 0},
        },
        "hovertext": [text for line in said for text in ("", line, "", "")],
        "hoverinfo": ["skip", "text", "skip", "skip"] * len(a),
        "showlegend": False,
    }


def _layout(a: np.ndarray, b: np.ndarray, order: np.ndarray, height: float, steps: int = 200) -> np.ndarray:
    """Places (n, 2) in pixels: labels pull on their neighbors and push all others away, from a circle on.

    Source: Fruchterman and Reingold, "Graph drawing by force-directed placement", 1991.
    Differs: begins on a circle in the order of the clusters, not at random; a slight pull to the middle; in the end
    places are spread, half by their rank.
    """
    count = len(order)
    angle = np.empty(count)
    angle[order] = 2 * np.pi * np.arange(count) / max(1, count)
    at = np.stack((np.cos(angle), np.sin(angle)), 1)
    near = np.zeros((count, count))
    near[a, b] = near[b, a] = 1
    length = 1.6 / np.sqrt(max(1, count))
    for step in range(steps):
        apart = at[:, None] - at[None]
        distance = np.maximum(np.linalg.norm(apart, axis=2), 1e-3)
        force = length**2 / distance - near * distance**2 / length
        move = (apart / distance[..., None] * force[..., None]).sum(1) - 0.4 * length * at
        size = np.maximum(np.linalg.norm(move, axis=1, keepdims=True), 1e-9)
        at = at + move / size * np.minimum(size, 0.15 * (1 - step / steps))
    low, high = at.min(0), at.max(0)
    inside = (at - low) / np.maximum(high - low, 1e-9)
    inside[:, high - low < 1e-6] = 0.5
    # half by rank, so that a few far labels do not press all others together
    inside = (inside + at.argsort(0, kind="stable").argsort(0, kind="stable") / max(1, count - 1)) / 2
    return np.array([60, 40]) + inside * np.array([WIDTH - 120, height - 80])
