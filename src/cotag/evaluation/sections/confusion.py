"""Labels that are given wrongly where another label is present."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from cotag.types.scores import Scores
from cotag.types.section import Section, drawn_names

MOST_LABELS = 400
MOST_DRAWN = 40
MOST_PAIRS = 20
LONGEST_TICK = 24
# A single image says nothing of a pair.
LEAST_WRONG = 2
NORMAL_95 = 1.959964


class Confusion(NamedTuple):
    """How often label B is given to images that have A and not B; float64 (K, K), A in rows, B in columns.

    Attributes:
        images_KK: images that are known to have A and not B.
        wrong_KK: those of them that were given B.
        elsewhere_KK: share given B, of the images that have neither; NaN where there are none.
    """

    images_KK: np.ndarray
    wrong_KK: np.ndarray
    elsewhere_KK: np.ndarray

    def share(self) -> np.ndarray:
        """``wrong_KK`` / ``images_KK``; NaN where there is no such image."""
        with np.errstate(invalid="ignore"):
            found: np.ndarray = self.wrong_KK / self.images_KK
        return found


def confusion(targets_NK: np.ndarray, given_NK: np.ndarray) -> Confusion:
    """Count wrong labels by what the image has; unknown targets count on neither side.

    Args:
        targets_NK: 1 present, 0 absent, -1 unknown.
        given_NK: bool; the labels given.
    """
    # float32 counts exactly up to 2**24 images and multiplies fast.
    kind = np.float32 if len(targets_NK) < 2**24 else np.float64
    present, absent = (targets_NK == 1).astype(kind), (targets_NK == 0).astype(kind)
    wrong = absent * given_NK
    images_KK, wrong_KK = ((present.T @ what).astype(np.float64) for what in (absent, wrong))
    neither_KK, wrong_neither_KK = ((absent.T @ what).astype(np.float64) for what in (absent, wrong))
    with np.errstate(invalid="ignore"):
        return Confusion(images_KK, wrong_KK, wrong_neither_KK / neither_KK)


def lower_bound(wrong: np.ndarray, images: np.ndarray) -> np.ndarray:
    """The lower end of Wilson's 95 % interval of a share; NaN of no images. Source: E. B. Wilson, 1927."""
    z = NORMAL_95
    with np.errstate(invalid="ignore", divide="ignore"):
        share = wrong / images
        middle = share + z * z / (2 * images)
        spread = z * np.sqrt(share * (1 - share) / images + z * z / (4 * images * images))
        found: np.ndarray = (middle - spread) / (1 + z * z / images)
    return found


def confusion_section(scores: Scores, given_NK: np.ndarray) -> Section:
    """A heat map of the most frequent labels, and the pairs that stand out most.

    Args:
        scores: of N images and K labels, with targets.
        given_NK: bool; the labels given by the decision.
    """
    title = "Confusion between labels"
    positives_K = (scores.targets_NK == 1).sum(0)
    order = np.argsort(-positives_K, kind="stable")[:MOST_LABELS]
    names = [scores.label_space.names[k] for k in order]
    if len(names) < 2 or not positives_K.any():
        return Section(title, "It takes two labels, and images that have one of them.")
    found = confusion(scores.targets_NK[:, order], given_NK[:, order])
    pairs = _strongest(found)
    share_KK = found.share()
    rows = [
        [
            names[a],
            names[b],
            int(found.images_KK[a, b]),
            float(share_KK[a, b]),
            None if np.isnan(found.elsewhere_KK[a, b]) else float(found.elsewhere_KK[a, b]),
        ]
        for a, b in pairs
    ]
    text = (
        "Of the images that have a label and not another, the share that was given the other all the same. The table "
        "lists the pairs where this share is most surely above that of images that have neither label (by the lower "
        f"end of its 95 % interval; at least {LEAST_WRONG} images)."
    )
    if len(order) < len(positives_K):
        text += f" Among the {len(order)} most frequent of {len(positives_K):,} labels."
    if not rows:
        text += "\n\nNo pair stands out."
    columns = ("has", "wrongly given", "images", "share given", "share given elsewhere")
    return Section(title, text, columns, rows, _figure(share_KK, names))


def _strongest(found: Confusion) -> list[tuple[int, int]]:
    excess_KK = lower_bound(found.wrong_KK, found.images_KK) - np.nan_to_num(found.elsewhere_KK)
    np.fill_diagonal(excess_KK, np.nan)
    excess_KK = np.where((excess_KK > 0) & (found.wrong_KK >= LEAST_WRONG), excess_KK, -1)
    best = np.argsort(-excess_KK, axis=None, kind="stable")[:MOST_PAIRS]
    size = len(excess_KK)
    return [divmod(int(place), size) for place in best if excess_KK.flat[place] > 0]


def _figure(share_KK: np.ndarray, names: list[str]) -> dict[str, Any]:
    # Long names would leave no room for the map.
    drawn = drawn_names(names[:MOST_DRAWN], LONGEST_TICK)
    size = len(drawn)
    shown_KK = share_KK[:size, :size].copy()
    np.fill_diagonal(shown_KK, np.nan)
    ticks = {"tickmode": "array", "tickvals": list(range(size)), "ticktext": drawn}
    heat = {
        "type": "heatmap",
        "z": [[None if np.isnan(value) else round(float(value), 4) for value in row] for row in shown_KK],
        "zmin": 0,
        "customdata": [[f"{a}, wrongly given {b}" for b in drawn] for a in drawn],
        "hovertemplate": "%{customdata}: %{z:.3f}<extra></extra>",
        "hoverongaps": False,
        "xgap": 1,
        "ygap": 1,
        "colorbar": {"title": {"text": "share"}},
    }
    more = f", the {size} most frequent labels" if size < len(names) else ""
    side = max(320, 140 + 17 * size)
    layout = {
        "title": {"text": f"Share of images with one label and not the other that were given the other{more}"},
        "xaxis": {"title": {"text": "wrongly given"}, **ticks, "tickangle": -90, "showgrid": False},
        "yaxis": {"title": {"text": "has"}, **ticks, "autorange": "reversed", "showgrid": False},
        "height": side,
    }
    return {"data": [heat], "layout": layout}
