"""Scores: what a predictor said of every image, beside what is true."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cotag.errors import LabelSpaceError, ScoresError, listing
from cotag.storage import whole_file
from cotag.types.columns import checked_rows
from cotag.types.labels import LabelSpace

KINDS = ("logit", "probability")
OF_PROBABILITIES = "a probability: a number from 0 to 1; where these are logits, declare that kind"
MAKE_ONE = "give one, or make one of CSV files: cotag evaluate --scores CSV --targets CSV --kind KIND --out FILE"


@dataclass(frozen=True, eq=False)
class Scores:
    """One row per image: its id, a score and a target for each label.

    Args:
        ids: N ids, unique.
        scores_NK: float32 or float64; logits, or probabilities in [0, 1].
        targets_NK: int8; 1 present, 0 absent, -1 unknown.
        kind: ``logit`` or ``probability``; declared, never guessed.
        label_space: the K labels.
        origin: where the scores come from (model, split, time).

    Raises:
        ScoresError: shapes that do not fit, an id twice, a score that is not finite or a probability outside
            [0, 1], a target other than 1, 0 and -1; the message names image and label.
    """

    ids: Sequence[str]
    scores_NK: np.ndarray
    targets_NK: np.ndarray
    kind: str
    label_space: LabelSpace
    origin: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ScoresError(f"kind {self.kind!r} is not known; declare whether the scores are logit or probability")
        ids = [str(name) for name in self.ids]
        object.__setattr__(self, "ids", ids)
        shape = (len(ids), len(self.label_space))
        for name in ("scores_NK", "targets_NK"):
            given = np.asarray(getattr(self, name))
            if given.shape != shape:
                raise ScoresError(f"{name}: shape {given.shape}, but {shape[0]} ids and {shape[1]} labels need {shape}")
            object.__setattr__(self, name, given)
        double = [name for name, count in Counter(ids).items() if count > 1]
        if double:
            raise ScoresError(f"image id {double[0]!r} stands twice; give every image one row")
        if self.scores_NK.dtype not in (np.float32, np.float64):
            raise ScoresError(f"scores are {self.scores_NK.dtype}; allowed: float32, float64 (half loses ranks)")
        self._refuse(~np.isin(self.targets_NK, (-1, 0, 1)), "targets_NK", "1 (present), 0 (absent) or -1 (unknown)")
        object.__setattr__(self, "targets_NK", np.ascontiguousarray(self.targets_NK, dtype=np.int8))
        bad = ~np.isfinite(self.scores_NK)
        if self.kind == "probability":
            bad |= (self.scores_NK < 0) | (self.scores_NK > 1)
        allowed = "a logit: a finite number" if self.kind == "logit" else OF_PROBABILITIES
        self._refuse(bad, "scores_NK", allowed)

    def _refuse(self, bad_NK: np.ndarray, name: str, allowed: str) -> None:
        """Raise ScoresError at the first bad cell of an array."""
        if bad_NK.any():
            row, label = np.argwhere(bad_NK)[0]
            raise ScoresError(
                f"image {self.ids[row]!r}, label {self.label_space.names[label]!r}: {getattr(self, name)[row, label]} "
                f"in {name} must be {allowed}"
            )

    def __len__(self) -> int:
        return len(self.ids)

    def subset(self, rows: np.ndarray | Sequence[int]) -> Scores:
        """The given rows, in the given order.

        Raises:
            DataError: a row does not exist.
        """
        rows = checked_rows(rows, len(self))
        ids = [self.ids[row] for row in rows]
        return Scores(ids, self.scores_NK[rows], self.targets_NK[rows], self.kind, self.label_space, self.origin)

    def of_labels(self, kept_K: np.ndarray) -> Scores:
        """The columns of some labels; themselves where they are all.

        Args:
            kept_K: bool.

        Raises:
            LabelSpaceError: no label is kept.
        """
        if kept_K.all():
            return self
        space = self.label_space.take(np.flatnonzero(kept_K))
        scores_NK, targets_NK = self.scores_NK[:, kept_K], self.targets_NK[:, kept_K]
        return Scores(self.ids, scores_NK, targets_NK, self.kind, space, self.origin)

    def probabilities(self) -> np.ndarray:
        """The scores as probabilities; (N, K) of the scores' own type."""
        if self.kind == "probability":
            return self.scores_NK
        # Exact in both tails, where 1 / (1 + exp(-x)) overflows or rounds.
        found: np.ndarray = np.exp(-np.logaddexp(0, -self.scores_NK))
        return found

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one Parquet file: ``id``, ``scores`` and ``targets`` (lists of K), the rest as metadata."""
        size = len(self.label_space)
        about = {
            "cotag_scores": 1,
            "kind": self.kind,
            "label_space": self.label_space.to_json(),
            "origin": self.origin,
        }
        table = pa.table(
            {
                "id": pa.array(list(self.ids), pa.string()),
                "scores": pa.FixedSizeListArray.from_arrays(pa.array(self.scores_NK.ravel()), size),
                "targets": pa.FixedSizeListArray.from_arrays(pa.array(self.targets_NK.ravel()), size),
            }
        ).replace_schema_metadata({"cotag": json.dumps(about)})
        with whole_file(path) as temporary:
            pq.write_table(table, temporary, compression="zstd", use_dictionary=["id"])

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Scores:
        """Read what ``save`` wrote, or another program in the same way; a missing origin is empty.

        Raises:
            ScoresError: the file is missing, is not a scores file, or holds what Scores may not hold.
            LabelSpaceError: its label names were changed, are empty, or stand twice.
        """
        table, about = _read(path)
        try:
            if about.get("kind") is None:
                raise ScoresError("the kind is not declared; declare whether the scores are logit or probability")
            space = _label_space(about)
            scores_NK, targets_NK = (_cells(table, name, len(space)) for name in ("scores", "targets"))
            if table["id"].null_count:
                row = pc.index(table["id"].is_null(), True).as_py()
                raise ScoresError(f"row {row}: the id is empty; give every image one")
            ids = table["id"].to_pylist()
            return cls(ids, scores_NK, targets_NK, about["kind"], space, about.get("origin") or {})
        except (ScoresError, LabelSpaceError) as error:
            raise type(error)(f"{path}: {error}") from error


def _read(path: str | os.PathLike[str]) -> tuple[pa.Table, dict[str, Any]]:
    """The table of a scores file, and what stands beside it."""
    if Path(path).is_dir():
        raise ScoresError(f"{path}: is a folder; give a scores file")
    try:
        table = pq.read_table(path)
        about = json.loads((table.schema.metadata or {}).get(b"cotag", b"{}"))
    except FileNotFoundError:
        raise ScoresError(f"{path}: there is no such file") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ScoresError(f"{path}: is not a scores file ({str(error).splitlines()[0]}); {MAKE_ONE}") from error
    if "cotag_scores" not in about:
        raise ScoresError(f"{path}: is a Parquet file of something else; {MAKE_ONE}")
    missing = [name for name in ("id", "scores", "targets") if name not in table.column_names]
    if missing:
        raise ScoresError(f"{path}: has no column {listing(missing)}; a scores file has id, scores and targets")
    return table, about


def _label_space(about: dict[str, Any]) -> LabelSpace:
    try:
        return LabelSpace.from_json(about["label_space"])
    except (KeyError, TypeError) as error:
        raise ScoresError("its label space cannot be read; write label_space with the names of all labels") from error


def _cells(table: pa.Table, name: str, size: int) -> np.ndarray:
    """A column of lists of numbers as (N, K); a null among them is NaN."""
    column = table[name].combine_chunks()
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    numbers = (pa.types.is_floating, pa.types.is_integer, pa.types.is_boolean)
    if not (any(of(column.type) for of in lists) and any(of(column.type.value_type) for of in numbers)):
        raise ScoresError(f"{name} are {column.type}; give each image a list of {size} numbers, one for each label")
    lengths = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
    if (lengths != size).any():
        row = int(np.flatnonzero(lengths != size)[0])
        raise ScoresError(f"row {row}: {lengths[row]} {name} for {size} labels; give each image one for each label")
    return column.flatten().to_numpy(zero_copy_only=False).reshape(table.num_rows, size)
