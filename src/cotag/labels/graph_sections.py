"""A label graph for people: its strongest edges, a heat map in the order of clusters, and a picture of the network."""

from __future__ import annotations

from typing import Any

import numpy as np

from cotag.errors import listing
from cotag.labels.graph import LabelGraph
from cotag.labels.graph_picture import clusters, network_figure, shown_names
from cotag.types.section import Section

TABLE_ROWS = 200
HEAT_MAP_LABELS = 100
NAMED_ISOLATED = 40
COLUMNS = ("A", "B", "images", "P(B|A)", "edge", "weight")


def graph_sections(graph: LabelGraph) -> list[Section]:
    """The settings with the strongest edges, the heat map of P(B|A), and the picture of the network.

    The last two are left out where no image has two labels.
    """
    sections = [_edge_section(graph)]
    if graph.pairs_KK.nnz:
        sections += [_heat_section(graph), _network_section(graph)]
    return sections


def strongest(graph: LabelGraph, most: int) -> list[list[Any]]:
    """The rows of the table: edges A -> B, or the nearest to one where there is none, by P(B|A) and then images."""
    if not graph.pairs_KK.nnz:
        return []
    shares = graph.conditional()
    among = graph.edges().multiply(shares).tocoo()
    is_edge = bool(among.nnz)
    if not is_edge:
        among = shares.tocoo()
    both = np.asarray(graph.pairs_KK[among.row, among.col]).ravel()
    order = np.lexsort((among.col, among.row, -both, -among.data))[:most]
    a, b = among.row[order], among.col[order]
    weights = np.asarray(graph.normalized()[b, a]).ravel()
    names = graph.label_space.names
    return [
        [names[a[k]], names[b[k]], int(both[order[k]]), float(among.data[order[k]]), is_edge, float(weights[k])]
        for k in range(len(order))
    ]


def _edge_section(graph: LabelGraph) -> Section:
    rows = strongest(graph, TABLE_ROWS)
    parts = [graph.describe()[0].upper() + graph.describe()[1:] + ".", *(f"Note: {note}." for note in graph.notes())]
    if rows:
        parts.append(
            "P(B|A) is the share of images with B among the images with A; unknown labels count as absent. The weight "
            "is the entry of the normalized matrix in row B and column A: what B takes from A."
        )
        count = graph.edges().multiply(graph.pairs_KK.sign()).nnz
        if not rows[0][COLUMNS.index("edge")]:
            parts.append("There is no edge; the pairs with the largest P(B|A) are shown instead.")
        elif count > len(rows):
            parts.append(f"The {len(rows)} edges with the largest P(B|A) are shown, of {count:,}.")
    isolated = graph.isolated()
    if len(isolated) and graph.kind != "identity":
        names = listing((graph.label_space.names[label] for label in isolated), NAMED_ISOLATED)
        parts.append(f"Without an edge: {names}.")
    return Section("Label graph", "\n\n".join(parts), COLUMNS if rows else (), rows, bars="P(B|A)" if rows else None)


def _heat_section(graph: LabelGraph) -> Section:
    shown = most_connected(graph, HEAT_MAP_LABELS)
    shown = shown[clusters(graph, shown)[0]]
    names = shown_names(graph, shown)
    share = graph.conditional()[shown][:, shown].toarray()
    np.fill_diagonal(share, np.nan)
    cells = [[None if np.isnan(value) else round(float(value), 4) for value in row] for row in share]
    heat = {
        "type": "heatmap",
        "x": names,
        "y": names,
        "z": cells,
        "zmin": 0,
        "zmax": 1,
        "xgap": 1,
        "ygap": 1,
        "colorbar": {"title": {"text": "P(B|A)", "side": "right"}},
        "hovertemplate": "A %{y}<br>B %{x}<br>P(B|A) %{z:.3f}<extra></extra>",
    }
    axis = {"type": "category", "dtick": 1, "ticks": "", "tickfont": {"size": 9 if len(names) > 40 else 12}}
    layout = {
        "title": {"text": f"P(B|A) of {len(names)} labels in the order of clusters"},
        "xaxis": {"title": {"text": "B"}, **axis, "tickangle": -90 if len(names) > 8 else 0},
        "yaxis": {"title": {"text": "A"}, **axis, "autorange": "reversed"},
        "height": 180 + max(260, (13 if len(names) > 40 else 24) * len(names)),
    }
    left = int((graph.counts_K > 0).sum()) - len(shown)
    text = (
        "Each row is a label A, each column a label B, and the color is P(B|A). Labels that come together lie side by "
        "side: they are ordered by hierarchical clustering (average linkage of 1 - max(P(A|B), P(B|A)), with the "
        "optimal order of leaves)."
    )
    if left > 0:
        text += f" The {len(shown)} most connected labels are shown; {left:,} others are left out."
    return Section("Labels that come together", text, figure={"data": [heat], "layout": layout})


def most_connected(graph: LabelGraph, most: int, alone: bool = True) -> np.ndarray:
    """Label ids by their number of edges, then their images with other labels; int64, ``most`` at most.

    Args:
        alone: whether labels with images that come with no other label are among them.
    """
    edges = graph.edges()
    degree_K = np.asarray(edges.sum(axis=0)).ravel() + np.asarray(edges.sum(axis=1)).ravel()
    together_K = np.asarray(graph.pairs_KK.sum(axis=1)).ravel()
    order = np.lexsort((-graph.counts_K, -together_K, -degree_K))
    return order[(graph.counts_K if alone else together_K)[order] > 0][:most]


def _network_section(graph: LabelGraph) -> Section:
    edges = graph.edges()
    drawn = edges.multiply(graph.conditional()).tocsr() if edges.nnz else graph.conditional()
    linked = np.asarray(drawn.sum(axis=0)).ravel() + np.asarray(drawn.sum(axis=1)).ravel() > 0
    order = most_connected(graph, len(graph), alone=False)
    figure, lines = network_figure(graph, order[linked[order]], drawn)
    groups = "its group" if graph.label_space.groups else "the cluster that it lies in"
    text = f"Each node is a label: its size grows with its images, its color and shape tell {groups}. An arrow A to B "
    if edges.nnz:
        text += "is an edge: where A is, B is often too. Point at a node or at an arrow's head for its numbers."
    else:
        text += "(dotted) is the P(B|A) of a pair; none is large enough to be an edge of this graph."
    return Section("Network", "\n\n".join([text, *lines]), figure=figure)
