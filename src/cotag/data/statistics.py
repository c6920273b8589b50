"""What is in a data set: counts, the long tail, co-occurrence, sizes, pixel values, and problems."""

from __future__ import annotations

from typing import Any

import numpy as np

from cotag.data.cooccurrence import cooccurrence_section
from cotag.data.image_sections import (
    across_splits,
    duplicate_section,
    pixel_section,
    side_section,
    size_section,
    unreadable_section,
)
from cotag.data.label_sections import (
    label_section,
    labels_per_image_section,
    parts,
    summary_section,
    tail_section,
)
from cotag.data.scan import SAMPLE, Scan, scan
from cotag.errors import DataError, listing
from cotag.types.index import Index
from cotag.types.progress import Progress
from cotag.types.section import Section

TINY = 8
"""An image with a side of fewer pixels than this is reported."""


def statistics(
    index: Index,
    pixels: bool = True,
    workers: int | None = None,
    progress: Progress | None = None,
    sample: int = SAMPLE,
    training_split: str = "train",
) -> list[Section]:
    """What is in an index and in its images.

    Args:
        pixels: whether the image files are read; without them sizes are those of the label file, and duplicates,
            unreadable files and pixel values are left out.
        workers: threads that read images; as many as processors where not given.
        sample: of more images than this, a seeded sample of this many is decoded for the pixel values; of the
            others the header and the bytes are read.
        training_split: the split whose counts make a label one of the head or of the tail; where there is no such
            split, all images do.

    Returns:
        Summary, problems, labels, long tail, labels per image, co-occurrence, sizes, and what the pixels say.

    Raises:
        DataError: the index has no images.
    """
    if not len(index):
        raise DataError(f"{index.root}: the index has no images; check the label file or the split")
    splits = parts(index)
    training = training_split if training_split in splits else "all"
    found = scan(index, workers, progress, sample) if pixels else None
    declared_N2 = _declared_sizes(index)
    sizes_N2 = found.sizes_N2 if found else declared_N2
    groups = found.duplicates() if found else []
    sections = [
        summary_section(splits),
        _problem_section(index, splits, found, groups, sizes_N2, declared_N2),
        label_section(splits, training),
        tail_section(splits[training], training),
        labels_per_image_section(index),
        cooccurrence_section(index),
        size_section(sizes_N2),
    ]
    if sizes_N2.any():
        sections.append(side_section(sizes_N2))
    if found:
        sections += [
            pixel_section(found),
            duplicate_section(index, groups),
            unreadable_section(index, found.unreadable),
        ]
    return sections


def _declared_sizes(index: Index) -> np.ndarray:
    """The sizes that the label file gives; int32 (N, 2), 0 where it gives none."""
    sizes = np.zeros((len(index), 2), dtype=np.int32)
    for place, name in enumerate(("width", "height")):
        if name in index.table.column_names:
            sizes[:, place] = index.table[name].fill_null(0).to_numpy()
    return sizes


def _problem_section(
    index: Index,
    splits: dict[str, Index],
    found: Scan | None,
    groups: list[np.ndarray],
    sizes_N2: np.ndarray,
    declared_N2: np.ndarray,
) -> Section:
    rows: list[list[Any]] = []

    def add(problem: str, which: list[str]) -> None:
        if which:
            rows.append([problem, len(which), listing(which)])

    def images(places: np.ndarray) -> list[str]:
        return [str(index.table["image"][int(place)].as_py()) for place in places]

    names = np.array(index.label_space.names, dtype=object)
    for name, part in splits.items():
        where = "" if name == "all" else f" in the split {name}"
        add(f"labels without positives{where}", names[part.counts() == 0].tolist())
        add(f"labels on every image{where}", names[part.counts() == len(part)].tolist())
    if len(splits) > 1:
        add("images without a split", images(np.flatnonzero(index.table["split"].is_null().to_numpy())))
    if found:
        add("images that cannot be read", images(np.array(list(found.unreadable))))
        leaks = [group for group, leaks in zip(groups, across_splits(index, groups), strict=True) if leaks]
        add("identical files in several splits", [" = ".join(images(group[:3])) for group in leaks])
        both = (sizes_N2 > 0).all(axis=1) & (declared_N2 > 0).all(axis=1)
        differs = both & (sizes_N2 != declared_N2).any(axis=1)
        add("images of another size than the label file says", images(np.flatnonzero(differs)))
    known = (sizes_N2 > 0).all(axis=1)
    add(f"images with a side below {TINY} pixels", images(np.flatnonzero(known & (sizes_N2.min(axis=1) < TINY))))
    rows += [["note of the reader", None, note] for note in index.notes]
    text = "" if rows else "None found."
    return Section("Problems", text, ("problem", "count", "which") if rows else (), rows)
