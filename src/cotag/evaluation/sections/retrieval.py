"""Retrieval in a report: what the spaces are worth, their differences, and rows of queries with what was found."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cotag.errors import listing
from cotag.evaluation.retrieval import MEASURES, Measured
from cotag.evaluation.sections.gallery import MOST_BYTES
from cotag.types.section import Section

SHOWN_QUERIES = 8
SHOWN_FOUND = 4
NAME_LENGTH = 40
DEFINED = (
    "An image is relevant where it shares at least one label with the query; unknown labels count as absent. "
    "precision@k: share of the k nearest that are relevant. recall@k: share of all relevant images that are among the "
    "k. mAP@k: mean over queries of the average precision at k, whose sum over relevant ranks is divided by the "
    "smaller of k and the number of relevant images. shared@k: labels that query and found image share, on average. "
    "jaccard@k: shared labels over those that either has."
)


def retrieval_sections(found: Sequence[Measured], text: str) -> list[Section]:
    """The means of every space and, with several spaces, their paired differences from the first.

    Args:
        found: of ``retrieval.measure``.
        text: which images were looked for, and among which.
    """
    spaces = list(dict.fromkeys(one.space for one in found))
    ks = sorted({one.k for one in found})
    values = {(one.space, one.k, one.measure): one for one in found}
    rows = [[space, k, *(values[space, k, name].value for name in MEASURES)] for k in ks for space in spaces]
    columns = ("space", "k", *(f"{name}@k" for name in MEASURES))
    sections = [Section("Retrieval", f"{text}\n\n{DEFINED}", columns, rows)]
    detail: list[list[Any]] = []
    for one in found:
        difference = (one.difference, *(one.difference_interval or (None, None)), one.p)
        detail.append([one.space, f"{one.measure}@{one.k}", one.value, *one.interval, *difference])
    told = (
        "95 % bootstrap intervals over the queries; the gallery stays as it is. The difference is from "
        f"{spaces[0]}, query by query; p is not corrected for the number of rows."
    )
    names = ("space", "measure", "value", "low", "high", "difference", "difference low", "difference high", "p")
    return [*sections, Section("Retrieval, with intervals", told, names, detail)]


@dataclass(frozen=True, eq=False)
class Pictured:
    """What rows of pictures are made of.

    Attributes:
        ids: of all N images.
        targets_NK: theirs; 1 present.
        names: of the K labels.
        thumbnail: a small JPEG of the image with an id, or None where there is none.
    """

    ids: Sequence[str]
    targets_NK: np.ndarray
    names: Sequence[str]
    thumbnail: Callable[[str], bytes | None]

    def labels(self, which_K: np.ndarray, most: int = 5) -> str:
        """Names of some labels, long ones cut."""
        return listing((_short(self.names[int(k)]) for k in np.flatnonzero(which_K)), most)

    def picture(self, row: int, *lines: str) -> dict[str, str] | None:
        """A picture with its caption; None where there is no picture, or a large one."""
        jpeg = self.thumbnail(self.ids[row])
        if jpeg is None or len(jpeg) > MOST_BYTES:
            return None
        return {
            "image": "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii"),
            "alt": ". ".join([_short(self.ids[row]), *lines]),
            "caption": "\n".join(lines),
        }


def picture_section(rows_Q: np.ndarray, spaces: Mapping[str, np.ndarray], about: Pictured, seed: int = 0) -> Section:
    """Some queries, each with the nearest images in every space, one row of pictures for each space.

    Args:
        rows_Q: the queries' rows among all images.
        spaces: name -> rows of the found images among all, int64 (Q, k), the nearest first.
        seed: of the draw of the queries.
    """
    drawn = np.random.default_rng(seed).permutation(len(rows_Q))
    with_labels = [int(place) for place in drawn if (about.targets_NK[rows_Q[place]] == 1).any()]
    pictures: list[dict[str, str]] = []
    shown = 0
    for place in with_labels:
        if shown == SHOWN_QUERIES:
            break
        rows = [_row(int(rows_Q[place]), name, found_Qk[place], about) for name, found_Qk in spaces.items()]
        if all(rows):
            pictures += [picture for row in rows for picture in row]
            shown += 1
    text = (
        f"{shown} queries, drawn at random (seed {seed}) and not chosen, each with its {SHOWN_FOUND} nearest images: "
        f"one row for each of {listing(spaces)}."
    )
    return Section("Queries and what was found", text if shown else "There are no pictures to show.", pictures=pictures)


def _row(query: int, space: str, found_k: np.ndarray, about: Pictured) -> list[dict[str, str]]:
    """The query and its nearest images; empty where one of them has no picture."""
    own_K = about.targets_NK[query] == 1
    first = about.picture(query, f"query: {about.labels(own_K)}", f"by {space}")
    if first is None:
        return []
    row = [{**first, "begins": "row"}]
    for found in found_k[:SHOWN_FOUND]:
        has_K = about.targets_NK[int(found)] == 1
        shared, others = about.labels(has_K & own_K), about.labels(has_K & ~own_K)
        lines = [f"shares {shared}" if shared else "shares none", *([f"besides: {others}"] if others else [])]
        picture = about.picture(int(found), *lines)
        if picture is None:
            return []
        row.append(picture)
    return row


def _short(name: str) -> str:
    return name if len(name) <= NAME_LENGTH else f"{name[: NAME_LENGTH - 1]}…"
