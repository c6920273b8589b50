"""Which labels come together: sparse counts, and the pairs that do so more than by chance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cotag.types.columns import checked_rows
from cotag.types.index import Index
from cotag.types.section import Section, drawn_names

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

BLOCK = 200_000
HEAT_MAP_LABELS = 60


def pair_counts(index: Index, second: str = "positives", rows: np.ndarray | None = None) -> csr_matrix:
    """How many images have label A among ``positives`` and label B in the list column ``second``.

    Args:
        rows: the row numbers to count; all rows where not given.

    Returns:
        sparse int64 (K, K); on the diagonal, for ``positives``, the number of images with each label.

    Raises:
        DataError: a row does not exist.
    """
    from scipy.sparse import csr_matrix

    size = len(index.label_space)
    rows = np.arange(len(index)) if rows is None else checked_rows(rows, len(index))
    total = csr_matrix((size, size), dtype=np.int64)
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        first_NK, second_NK = (_membership(index, name, block) for name in ("positives", second))
        total = total + first_NK.T @ second_NK
    return total.tocsr()


def _membership(index: Index, name: str, rows: np.ndarray) -> csr_matrix:
    """0/1 for some rows and all labels."""
    from scipy.sparse import csr_matrix

    offsets, labels = index.lists(name)
    lengths = (offsets[rows + 1] - offsets[rows]).astype(np.int64)
    ends = np.concatenate(([0], np.cumsum(lengths)))
    inside = labels[np.repeat(offsets[rows] - ends[:-1], lengths) + np.arange(ends[-1])]
    return csr_matrix((np.ones(len(inside), dtype=np.int64), inside, ends), shape=(len(rows), len(index.label_space)))


def cooccurrence_section(index: Index, most: int = 30) -> Section:
    """The strongest pairs of labels, and a heat map of the most frequent labels."""
    counts_KK = pair_counts(index)
    unsure_KK = pair_counts(index, "unknowns") + pair_counts(index, "difficult")
    rows = _strongest(index, counts_KK, unsure_KK, most)
    if not rows:
        return Section("Co-occurrence", "No image has two labels.")
    text = (
        "P(B|A) is the share of images with B among the images with A; lift is P(B|A) divided by the share of B "
        "among all images, so 1 is chance. Images where B is unknown are left out of both. The pairs stand in the "
        "order of images times the logarithm of lift, which puts those first that are frequent and not by chance."
    )
    figure = _heat_map(index, counts_KK, unsure_KK)
    return Section("Co-occurrence", text, ("A", "B", "images", "P(B|A)", "lift"), rows, figure, "P(B|A)")


def _strongest(index: Index, counts_KK: csr_matrix, unsure_KK: csr_matrix, most: int) -> list[list[Any]]:
    pairs = counts_KK.tocoo()
    above = pairs.row < pairs.col
    a, b, both = pairs.row[above], pairs.col[above], pairs.data[above]
    if not len(a):
        return []
    positives_K = index.counts()
    shares_K = positives_K / np.maximum(1, len(index) - index.counts("unknowns") - index.counts("difficult"))
    given_a = both / (positives_K[a] - np.asarray(unsure_KK[a, b]).ravel())
    given_b = both / (positives_K[b] - np.asarray(unsure_KK[b, a]).ravel())
    # Of a pair's two directions the one that says more is shown: mostly from the rarer label to the other.
    turned = given_b > given_a
    a, b, p = np.where(turned, b, a), np.where(turned, a, b), np.maximum(given_a, given_b)
    lift = p / shares_K[b]
    names = index.label_space.names
    return [
        [names[a[place]], names[b[place]], int(both[place]), float(p[place]), float(lift[place])]
        for place in np.lexsort((b, a, -both * np.log(lift)))[:most]
    ]


def _heat_map(index: Index, counts_KK: csr_matrix, unsure_KK: csr_matrix) -> dict[str, Any]:
    """P(column | row) between the most frequent labels, which lie in the order of their frequency."""
    positives_K = index.counts()
    shown = np.argsort(-positives_K, kind="stable")[:HEAT_MAP_LABELS]
    shown = shown[positives_K[shown] > 0]
    both = counts_KK[shown][:, shown].toarray()
    known = positives_K[shown][:, None] - unsure_KK[shown][:, shown].toarray()
    share = both / np.maximum(1, known)
    np.fill_diagonal(share, np.nan)
    names = drawn_names([index.label_space.names[label] for label in shown])
    cells = [[None if np.isnan(value) else round(float(value), 4) for value in row] for row in share]
    heat = {
        "type": "heatmap",
        "x": names,
        "y": names,
        "z": cells,
        "zmin": 0,
        "colorbar": {"title": {"text": "P(B|A)"}},
        "hovertemplate": "A %{y}<br>B %{x}<br>P(B|A) %{z:.3f}<extra></extra>",
    }
    axis = {"type": "category", "tickfont": {"size": 10 if len(names) > 25 else 13}}
    layout = {
        "title": {"text": f"P(B|A) of the {len(names)} most frequent labels"},
        "xaxis": {"title": {"text": "B"}, **axis},
        "yaxis": {"title": {"text": "A"}, **axis, "autorange": "reversed"},
        "height": 160 + 16 * max(15, len(names)),
    }
    return {"data": [heat], "layout": layout}
