"""From a reader's plain arrays to an Index: list columns, missing images, and what is worth a note."""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cotag.data.references import MISSING, missing_error, present
from cotag.data.sources import Source, choice
from cotag.errors import CotagWarning, DataError, LabelSpaceError, listing
from cotag.types.columns import OBJECTS
from cotag.types.index import Index
from cotag.types.labels import LabelSpace
from cotag.types.places import Place


def assemble(
    columns: dict[str, Any],
    label_space: LabelSpace,
    source: Source,
    root: Place,
    *,
    missing: str = "keep",
    looked: Sequence[Place] = (),
    object_space: LabelSpace | None = None,
    notes: Sequence[str] = (),
) -> Index:
    """The Index of a reader's columns, with its missing images treated and its notes written.

    Args:
        columns: as ``Index.build`` takes them; ``image`` is relative to ``root``.
        missing: what becomes of rows whose image is not there: ``stop``, ``skip`` or ``keep``; addresses are not asked.
        looked: the folders where images were looked for, for the message.

    Raises:
        DataError: there are no images, or some are missing and ``missing`` is ``stop``.
    """
    choice("missing", missing, MISSING)
    references = columns["image"]
    if not len(references):
        raise DataError(f"{source.file}: has no images; give a label file with at least one")
    found = list(notes)
    kept = np.ones(len(references), dtype=bool) if missing == "keep" else present(references, root)
    absent = [references[row] for row in np.flatnonzero(~kept)]
    if absent and (missing == "stop" or not kept.any()):
        raise missing_error(absent, len(references), source.file, looked or [root])
    if absent:
        found.append(f"{len(absent)} of {len(references)} images are missing and left out: {listing(absent, 3)}")
    index = Index.build(columns, label_space, root, object_space)
    if absent:
        index = index.subset(np.flatnonzero(kept))
    found += label_notes(index, source.file)
    return Index(index.table, label_space, root, object_space, tuple(found))


def label_notes(index: Index, file: Path) -> list[str]:
    """What is odd about the labels: spelled in two ways (also warned), without images, only one."""
    names = index.label_space.names
    counts = index.counts()
    spellings = defaultdict(list)
    for number, name in enumerate(names):
        spellings[re.sub(r"[\s_-]+", "", name).casefold()].append(number)
    notes = []
    for numbers in spellings.values():
        if len(numbers) > 1:
            shown = " and ".join(f"{names[number]!r} ({counts[number]} images)" for number in numbers)
            notes.append(f"{file}: labels {shown} look like one label spelled differently; if so, rename in the file")
            warnings.warn(notes[-1], CotagWarning, stacklevel=2)
    empty = [repr(names[number]) for number in np.flatnonzero(counts == 0)]
    if empty:
        verb = "has" if len(empty) == 1 else "have"
        notes.append(f"{file}: {len(empty)} of {len(names)} labels {verb} no positive image: {listing(empty)}")
    if len(names) == 1:
        notes.append(f"{file}: there is only one label, {names[0]!r}")
    return notes


def space_of(file: Path, names: Sequence[str], **more: Any) -> LabelSpace:
    """A LabelSpace whose errors name the file.

    Raises:
        LabelSpaceError: no name, an empty one, or one that stands twice.
    """
    try:
        return LabelSpace(tuple(names), **more)
    except LabelSpaceError as error:
        raise LabelSpaceError(f"{file}: {error}") from None


def label_lists(rows: np.ndarray, labels: np.ndarray, count: int, size: int) -> pa.ListArray:
    """A list column of label ids, each once and ascending in its row.

    Args:
        rows, labels: M pairs of a row and a label id, in any order and as often as may be.
        count: number of rows.
        size: number of labels.
    """
    keys = np.sort(np.asarray(rows, dtype=np.int64) * size + np.asarray(labels, dtype=np.int64))
    keys = keys[np.diff(keys, prepend=-1) > 0]
    offsets = np.searchsorted(keys, np.arange(count + 1, dtype=np.int64) * size)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(keys % size, pa.int32()))


def object_lists(rows: np.ndarray, count: int, fields: dict[str, Any]) -> pa.Array:
    """The column ``objects``.

    Args:
        rows: for each of M objects its row; the objects of a row keep their order.
        count: number of rows.
        fields: ``category`` (M,); ``boxes`` (M, 4) as x, y, width, height in pixels, NaN where there is none;
            and where there are any ``mask`` (bytes or None), ``crowd``, ``segment``.
    """
    rows = np.asarray(rows, dtype=np.int64)
    order = np.argsort(rows, kind="stable")
    offsets = np.concatenate(([0], np.cumsum(np.bincount(rows, minlength=count))))
    boxes = np.asarray(fields["boxes"], dtype=np.float32).reshape(-1, 4)[order]
    none = pa.array(np.isnan(boxes).any(axis=1))
    columns = {
        "category": pa.array(np.asarray(fields["category"])[order], pa.int32()),
        "box": pa.FixedSizeListArray.from_arrays(pa.array(boxes.reshape(-1)), 4, mask=none),
        "mask": _taken(fields.get("mask"), order, pa.binary()),
        "crowd": _taken(fields.get("crowd", np.zeros(len(rows), dtype=bool)), order, pa.bool_()),
        "segment": _taken(fields.get("segment"), order, pa.int32()),
    }
    struct = pa.StructArray.from_arrays(list(columns.values()), names=list(columns))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), struct).cast(OBJECTS)


def _taken(values: Any, order: np.ndarray, kind: pa.DataType) -> pa.Array:
    if values is None:
        return pa.nulls(len(order), kind)
    return pa.array(values, kind).take(pa.array(order))
