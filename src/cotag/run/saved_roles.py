"""The roles of a run's images in a CSV file, by id; columns, and no Python object for each image."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from cotag.data.splits import ROLES
from cotag.errors import ResumeError
from cotag.storage import whole_file
from cotag.types.index import Index

BLOCK = 65536


@dataclass(frozen=True, eq=False)
class SavedRoles:
    """Which images train, choose and judge in a run.

    Attributes:
        ids: text (N,).
        codes_N: the role of each as its place in ``ROLES``, -1 for an image that is not used; int8.
    """

    ids: pa.ChunkedArray
    codes_N: np.ndarray

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write ``id`` and ``role``, a row for each image."""
        names = (*ROLES, "")
        with whole_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as handle:
            writer = csv.writer(handle, lineterminator="\n")
            writer.writerow(["id", "role"])
            for start in range(0, len(self.codes_N), BLOCK):
                codes = self.codes_N[start : start + BLOCK].tolist()
                ids = self.ids.slice(start, BLOCK).to_pylist()
                writer.writerows((name, names[code]) for name, code in zip(ids, codes, strict=True))

    @classmethod
    def load(cls, path: Path) -> SavedRoles:
        """Read what ``save`` wrote.

        Raises:
            ResumeError: the file is damaged.
        """
        text = pa.csv.ConvertOptions(column_types={"id": pa.string(), "role": pa.string()}, strings_can_be_null=False)
        try:
            table = pa.csv.read_csv(path, None, pa.csv.ParseOptions(newlines_in_values=True), text)
            ids, roles = table["id"], table["role"]
        except (pa.ArrowException, KeyError) as error:
            raise ResumeError(f"{path}: is damaged ({str(error).splitlines()[0]}); train that run again") from None
        codes = pc.fill_null(pc.index_in(roles, pa.array(ROLES)), -1)
        return cls(ids, codes.to_numpy().astype(np.int8))

    def count(self, roles: Sequence[str]) -> int:
        """How many images have one of these roles."""
        return int(np.isin(self.codes_N, [ROLES.index(role) for role in roles]).sum())

    def rows_of(self, roles: Sequence[str], index: Index) -> np.ndarray:
        """The rows of an Index whose images have one of these roles; int64, ascending."""
        places = self._places(index)
        wanted = np.isin(self.codes_N, [ROLES.index(role) for role in roles])
        return np.flatnonzero(wanted if places is None else np.append(wanted, False)[places])

    def changed(self, index: Index) -> list[str]:
        """The ids that either the run or the Index has alone, sorted."""
        if self._places(index) is None:
            return []
        ours, theirs = self.ids.cast(pa.large_string()), index.table["id"].cast(pa.large_string())
        alone = [a.filter(pc.invert(pc.is_in(a, b.combine_chunks()))) for a, b in ((ours, theirs), (theirs, ours))]
        return sorted(name for part in alone for name in part.to_pylist())

    def _places(self, index: Index) -> np.ndarray | None:
        """For each row of an Index its place here, -1 where it has none; None where all stand in the same order."""
        ours, theirs = self.ids.cast(pa.large_string()), index.table["id"].cast(pa.large_string())
        if ours.equals(theirs):
            return None
        found: np.ndarray = pc.fill_null(pc.index_in(theirs, ours.combine_chunks()), -1).to_numpy()
        return found
