"""What the image files say: sizes, pixel values, copies, and files that cannot be read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cotag.data.label_sections import plain
from cotag.data.scan import Scan
from cotag.types.index import Index
from cotag.types.section import Section

SIDES = (1, 8, 32, 64, 128, 256, 512, 1024, 2048, 4096)
LISTED = 200
DOTS = 2_000
COLORS = {"red": "#d1495b", "green": "#3c9d5d", "blue": "#3d6fd1"}


def size_section(sizes_N2: np.ndarray) -> Section:
    """Width, height, shorter side and their ratio."""
    sizes = sizes_N2[(sizes_N2 > 0).all(axis=1)]
    if not len(sizes):
        return Section("Image sizes", "No image size is known.")
    width, height = sizes.T
    measured = {
        "width": width,
        "height": height,
        "shorter side": sizes.min(axis=1),
        "width / height": width / height,
    }
    rows = [
        [what, *(plain(f(values)) for f in (np.min, np.median, np.max, np.mean))] for what, values in measured.items()
    ]
    text = f"Pixels, of {len(sizes):,} images. Each dot is a size; a larger one stands for more images."
    return Section("Image sizes", text, ("quantity", "min", "median", "max", "mean"), rows, _size_figure(sizes))


def _size_figure(sizes: np.ndarray) -> dict[str, Any]:
    unique, counts = np.unique(sizes, axis=0, return_counts=True)
    most = np.argsort(-counts, kind="stable")[:DOTS]
    unique, counts = unique[most], counts[most]
    dots = {
        "type": "scatter",
        "mode": "markers",
        "x": unique[:, 0].tolist(),
        "y": unique[:, 1].tolist(),
        "text": [f"{count:,} images" for count in counts.tolist()],
        "marker": {
            "size": (4 + 26 * np.sqrt(counts / counts.max())).round(1).tolist(),
            "opacity": 0.55,
            "line": {"width": 0},
        },
    }
    more = "" if len(most) == len(np.unique(sizes, axis=0)) else f" (the {DOTS:,} most frequent)"
    layout = {
        "title": {"text": f"Width and height of the images{more}"},
        "xaxis": {"title": {"text": "width, pixels"}, "rangemode": "tozero"},
        "yaxis": {"title": {"text": "height, pixels"}, "rangemode": "tozero"},
    }
    return {"data": [dots], "layout": layout}


def side_section(sizes_N2: np.ndarray) -> Section:
    """A histogram of the shorter side, which an image size for training should not exceed by much."""
    sizes = sizes_N2[(sizes_N2 > 0).all(axis=1)]
    edges = [*SIDES, np.inf]
    counts, _ = np.histogram(sizes.min(axis=1), edges)
    filled = np.flatnonzero(counts)
    rows = []
    for place in range(filled[0], filled[-1] + 1) if len(filled) else ():
        low, high = edges[place], edges[place + 1]
        label = f"{low} to {high - 1}" if np.isfinite(high) else f"{low} or more"
        rows.append([label, int(counts[place]), float(counts[place] / len(sizes))])
    return Section("Shorter side", "", ("pixels", "images", "share"), rows, bars="images")


def pixel_section(scan: Scan) -> Section:
    """Mean and standard deviation of the pixel values of each channel."""
    title = "Pixel values"
    if not scan.decoded:
        return Section(title, "No image could be decoded.")
    means, deviations = scan.moments()
    rows = [[name, float(m), float(s)] for name, m, s in zip(COLORS, means, deviations, strict=True)]
    readable = len(scan.readable())
    of = f"all {scan.decoded:,}" if scan.decoded == readable else f"a seeded sample of {scan.decoded:,} of {readable:,}"
    text = (
        f"In [0, 1], over every pixel of {of} readable images at their own size (exact, not an average of averages); "
        "the standard deviation is that of the population."
    )
    lines = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": name,
            "x": list(range(256)),
            "y": (counts / counts.sum()).round(6).tolist(),
            "line": {"color": color, "width": 1.5},
        }
        for (name, color), counts in zip(COLORS.items(), scan.histogram_CV, strict=True)
    ]
    layout = {
        "title": {"text": "Distribution of the pixel values"},
        "xaxis": {"title": {"text": "value of 255"}},
        "yaxis": {"title": {"text": "share of pixels"}, "rangemode": "tozero"},
    }
    return Section(title, text, ("channel", "mean", "std"), rows, {"data": lines, "layout": layout})


def across_splits(index: Index, groups: Sequence[np.ndarray]) -> list[bool]:
    """For each group of identical files whether they lie in more than one split."""
    split = index.table["split"]
    return [len({split[int(row)].as_py() for row in group}) > 1 for group in groups]


def duplicate_section(index: Index, groups: Sequence[np.ndarray]) -> Section:
    """Images whose files hold the same bytes; those in several splits first."""
    title = "Exact duplicates"
    if not groups:
        return Section(title, "No two files hold the same bytes.")
    across = across_splits(index, groups)
    rows = []
    for place in np.argsort(np.logical_not(across), kind="stable")[:LISTED]:
        group = groups[place]
        image, split = (index.table[name].take(group[:4]).to_pylist() for name in ("image", "split"))
        targets = index.targets(group)
        same = "yes" if (targets == targets[0]).all() else "no"
        more = " ..." if len(group) > 4 else ""
        splits = dict.fromkeys(name or "none" for name in split)
        rows.append([", ".join(image) + more, len(group), ", ".join(splits) + more, same])
    extra = sum(len(group) for group in groups) - len(groups)
    text = f"Files that repeat another one, byte for byte: {extra:,}, in groups: {len(groups):,}. "
    text += (
        f"Groups that lie in more than one split: {sum(across):,}; what was trained on is judged too (leakage)."
        if any(across)
        else "No group lies in more than one split."
    )
    return Section(title, text + _more(len(groups)), ("images", "files", "splits", "same labels"), rows)


def unreadable_section(index: Index, unreadable: dict[int, str]) -> Section:
    """The images that cannot be read, with the reason."""
    title = "Unreadable images"
    if not unreadable:
        return Section(title, "Every image file could be read.")
    rows = [[row, index.table["image"][row].as_py(), reason] for row, reason in list(unreadable.items())[:LISTED]]
    text = f"Images that cannot be read: {len(unreadable):,} of {len(index):,}; rows count from 0."
    return Section(title, text + _more(len(unreadable)), ("row", "image", "reason"), rows)


def _more(count: int) -> str:
    return f" The first {LISTED:,} are listed." if count > LISTED else ""
