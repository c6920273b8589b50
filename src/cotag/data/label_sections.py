"""What an index says about its labels: counts, shares, the long tail, labels for each image."""

from __future__ import annotations

from typing import Any

import numpy as np

from cotag.types.frequency import BORDERS, frequency_groups
from cotag.types.index import Index
from cotag.types.section import Section, drawn_names

NAMED_BARS = 100


def plain(value: Any) -> int | float:
    """A numpy number as a Python one; whole numbers as int."""
    return int(value) if float(value).is_integer() else float(value)


def parts(index: Index) -> dict[str, Index]:
    """The whole index, then its splits, by name."""
    return {"all": index, **{name: index.split(name) for name in index.splits() if name != "all"}}


def summary_section(splits: dict[str, Index]) -> Section:
    """Images, labels and positives, for the whole and for each split."""
    columns = {name: _summary(part) for name, part in splits.items()}
    rows = [[what, *(column[what] for column in columns.values())] for what in columns["all"]]
    return Section("Summary", columns=("quantity", *columns), rows=rows)


def _summary(index: Index) -> dict[str, Any]:
    lengths = np.diff(index.lists("positives")[0])
    counts = index.counts()
    return {
        "images": len(index),
        "labels": len(index.label_space),
        "labels with positives": int((counts > 0).sum()),
        "positives": int(lengths.sum()),
        "labels per image, mean": float(lengths.mean()),
        "labels per image, median": plain(np.median(lengths)),
        "labels per image, most": int(lengths.max()),
        "images without labels": int((lengths == 0).sum()),
        "unknown targets": int(index.counts("unknowns").sum()),
        "difficult targets": int(index.counts("difficult").sum()),
    }


def shares(index: Index) -> np.ndarray:
    """For each label its images divided by the images where it is known; NaN where it never is; (K,)."""
    known_K = len(index) - index.counts("unknowns") - index.counts("difficult")
    return np.divide(index.counts(), known_K, out=np.full(len(known_K), np.nan), where=known_K > 0)


def label_section(splits: dict[str, Index], training: str) -> Section:
    """Count and share of each label, for the whole and for each split; the most frequent first."""
    names = splits["all"].label_space.names
    counts = {name: part.counts() for name, part in splits.items()}
    ratios = {name: shares(part) for name, part in splits.items()}
    groups = frequency_groups(counts[training]).group_K
    order = np.argsort(-counts["all"], kind="stable")
    columns = ["label", "group", "images", "share"]
    for name in list(splits)[1:]:
        columns += [name, f"{name} share"]
    rows = []
    for label in order:
        row: list[Any] = [names[label], groups[label]]
        for name in splits:
            ratio = ratios[name][label]
            row += [int(counts[name][label]), None if np.isnan(ratio) else float(ratio)]
        rows.append(row)
    text = "The share is that of the images where the label is known."
    return Section("Labels", text, columns, rows, _count_figure(splits, order), "images")


def _count_figure(splits: dict[str, Index], order: np.ndarray) -> dict[str, Any]:
    shown = list(splits)[1:] or ["all"]
    names = drawn_names([splits["all"].label_space.names[label] for label in order])
    counts = {name: splits[name].counts()[order].tolist() for name in shown}
    layout: dict[str, Any] = {"title": {"text": "Images for each label"}, "yaxis": {"title": {"text": "images"}}}
    if len(order) <= NAMED_BARS:
        layout |= {"barmode": "stack", "xaxis": {"type": "category"}, "showlegend": len(shown) > 1}
        return {"data": [{"type": "bar", "name": n, "x": names, "y": counts[n]} for n in shown], "layout": layout}
    rank = list(range(1, len(order) + 1))
    line = {"type": "scatter", "mode": "lines", "x": rank, "text": names}
    layout["xaxis"] = {"title": {"text": "labels, the most frequent first"}}
    layout["yaxis"]["type"] = "log"
    # A logarithmic axis has no place for 0.
    lines = [{**line, "name": name, "y": [count or None for count in counts[name]]} for name in shown]
    return {"data": lines, "layout": layout}


def tail_section(index: Index, training: str) -> Section:
    """How unequal the labels are, by their training images."""
    counts = index.counts()
    groups, (upper, lower) = frequency_groups(counts), BORDERS
    total = max(1, int(counts.sum()))
    borders = {"head": f"more than {upper}", "middle": f"{lower} to {upper}", "tail": f"fewer than {lower}"}
    rows: list[list[Any]] = []
    for group, border in borders.items():
        inside = counts[groups.members(group)]
        rows.append([group, border, len(inside), int(inside.sum()), float(inside.sum() / total)])
    names = index.label_space.names
    most, least = int(np.argmax(counts)), int(np.argmin(np.where(counts > 0, counts, np.iinfo(np.int64).max)))
    where = "over all images" if training == "all" else f"in the split {training!r}"
    text = f"Groups by the number of images with the label {where}. "
    if counts[least]:
        text += (
            f"Imbalance ratio {counts[most] / counts[least]:.3g}: from {names[most]} with {counts[most]:,} images "
            f"to {names[least]} with {counts[least]:,}"
        )
        missing = int((counts == 0).sum())
        text += f"; labels with none: {missing}." if missing else "."
    columns = ("group", "images for a label", "labels", "positives", "share of positives")
    return Section("Long tail", text, columns, rows, bars="share of positives")


def labels_per_image_section(index: Index) -> Section:
    """How many images have 0, 1, 2 ... labels."""
    counts = np.bincount(np.diff(index.lists("positives")[0])).tolist()
    rows = [[number, count, count / len(index)] for number, count in enumerate(counts) if count]
    bar = {"type": "bar", "x": list(range(len(counts))), "y": counts}
    layout = {
        "title": {"text": "Images by their number of labels"},
        "xaxis": {"title": {"text": "labels"}, **({"dtick": 1} if len(counts) <= 15 else {})},
        "yaxis": {"title": {"text": "images"}},
    }
    figure = {"data": [bar], "layout": layout}
    return Section("Labels per image", "", ("labels", "images", "share"), rows, figure, "images")
