"""Scores as a pair of CSV files, which any program can write: one of scores, one of targets."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from cotag.errors import LabelSpaceError, ScoresError, listing
from cotag.storage import write_text
from cotag.types.labels import LabelSpace
from cotag.types.scores import KINDS, Scores

PathLike = str | os.PathLike[str]
TARGETS = "allowed: 1 (present), 0 (absent), empty (unknown)"


def read_csv_pair(scores: PathLike, targets: PathLike, kind: str) -> Scores:
    """Scores from two CSV files whose first column is the id and whose others are the labels.

    Rows and labels are matched by name; the order is that of the scores file. In the targets 1 is present,
    0 absent, and an empty cell unknown.

    Raises:
        ScoresError: a file is missing, ids or labels differ, or a cell is not what it must be.
    """
    ids, labels, scores_NK = _read(scores, empty_allowed=False)
    target_ids, target_labels, targets_NK = _read(targets, empty_allowed=True)
    rows = _match(ids, target_ids, "image ids", scores, targets)
    columns = _match(labels, target_labels, "labels", scores, targets)
    targets_NK = targets_NK[np.ix_(rows, columns)]
    known = np.where(np.isnan(targets_NK), 0, targets_NK)
    if not np.isin(known, (0, 1)).all():
        row, label = np.argwhere(~np.isin(known, (0, 1)))[0]
        raise ScoresError(
            f"{targets}: image {ids[row]!r}, label {labels[label]!r}: {known[row, label]:g} is not a target; {TARGETS}"
        )
    as_int8 = np.where(np.isnan(targets_NK), -1, known).astype(np.int8)
    if kind not in KINDS:
        raise ScoresError(f"kind {kind!r} is not known; declare whether the scores are logit or probability")
    try:
        space = LabelSpace(tuple(labels))
        return Scores(ids, scores_NK, as_int8, kind, space, {"scores": str(scores), "targets": str(targets)})
    except (LabelSpaceError, ScoresError) as error:
        raise ScoresError(f"{scores}: {error}") from error


def write_csv_pair(value: Scores, scores: PathLike, targets: PathLike) -> None:
    """Write what ``read_csv_pair`` reads; the kind is not in the files and must be declared when reading."""
    head = ",".join(_quoted(name) for name in ("id", *value.label_space.names))
    lines = [head] + [
        ",".join(
            [
                _quoted(name),
                *(repr(float(cell)) if value.scores_NK.dtype == np.float64 else str(cell) for cell in row),
            ]
        )
        for name, row in zip(value.ids, value.scores_NK, strict=True)
    ]
    write_text(scores, "\n".join(lines) + "\n")
    shown = {1: "1", 0: "0", -1: ""}
    lines = [head] + [
        ",".join([_quoted(name), *(shown[int(cell)] for cell in row)])
        for name, row in zip(value.ids, value.targets_NK, strict=True)
    ]
    write_text(targets, "\n".join(lines) + "\n")


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if any(sign in text for sign in ',"\n\r') else text


def _read(path: PathLike, empty_allowed: bool) -> tuple[list[str], list[str], np.ndarray]:
    """Ids, labels and a float64 (N, K) array in which an empty cell is NaN."""
    if not Path(path).is_file():
        raise ScoresError(f"{path}: there is no such file")
    try:
        names = pa.csv.open_csv(path).schema.names
        double = [name for name, count in Counter(names).items() if count > 1]
        if double:
            raise ScoresError(f"{path}: column {double[0]!r} stands twice; give every label one column")
        as_text = {name: pa.string() for name in names}
        table = pa.csv.read_csv(path, convert_options=pa.csv.ConvertOptions(column_types=as_text))
    except UnicodeDecodeError:
        raise ScoresError(f"{path}: is not UTF-8; save it as CSV in UTF-8") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise ScoresError(
            f"{path}: is not a table ({str(error).splitlines()[0]}); write a CSV with a header"
        ) from error
    if len(names) < 2:
        raise ScoresError(
            f"{path}: has {len(names)} column; separated by commas, the first must be the id, the others the labels"
        )
    ids = [str(name) for name in table[names[0]].to_pylist()]
    if not ids:
        raise ScoresError(f"{path}: has a header and no rows; give every image one row")
    if "" in ids:
        raise ScoresError(f"{path}: row {ids.index('') + 1}: the id is empty; give every image one")
    double = [name for name, count in Counter(ids).items() if count > 1]
    if double:
        raise ScoresError(f"{path}: image id {double[0]!r} stands twice; give every image one row")
    values = np.full((len(ids), len(names) - 1), np.nan)
    for place, name in enumerate(names[1:]):
        values[:, place] = _numbers(path, ids, name, table[name], empty_allowed)
    return ids, names[1:], values


def _numbers(path: PathLike, ids: list[str], label: str, column: pa.ChunkedArray, empty_allowed: bool) -> np.ndarray:
    cells = column.to_pylist()
    values = np.array([_number(cell) for cell in cells])
    empty = np.array([not cell for cell in cells])
    odd = np.isnan(values) & ~empty if empty_allowed else np.isnan(values)
    if odd.any():
        row = int(np.flatnonzero(odd)[0])
        given = repr(cells[row]) if cells[row] else "an empty cell"
        wanted = TARGETS if empty_allowed else "every image needs a score for every label"
        raise ScoresError(f"{path}: image {ids[row]!r}, label {label!r}: {given} is not a number; {wanted}")
    return values


def _number(cell: str | None) -> float:
    """NaN where it is none; unlike ``float`` it takes no 1_000 and no digits of other scripts."""
    try:
        return float(cell) if cell and cell.isascii() and "_" not in cell else np.nan
    except ValueError:
        return np.nan


def _match(first: list[str], second: list[str], what: str, scores: PathLike, targets: PathLike) -> np.ndarray:
    """Positions in ``second`` of the entries of ``first``; both must hold the same."""
    place = {name: number for number, name in enumerate(second)}
    missing = [name for name in first if name not in place]
    added = sorted(set(second) - set(first))
    if missing or added:
        where, names = (targets, missing) if missing else (scores, added)
        raise ScoresError(f"{where}: {what} are missing that the other file has: {listing(names)}; both need the same")
    return np.array([place[name] for name in first], dtype=np.int64)
