"""The PSG classification challenge: which images are asked for, in which order, and what an answer looks like."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cotag.data.psg import KEYS, VAGUE
from cotag.data.sources import load_json, no_collection, short
from cotag.errors import DataError, FormatError, LabelSpaceError, suggestion
from cotag.types.index import Index

PLACES = 3
"""How many relations are named of an image."""


@dataclass(frozen=True)
class Challenge:
    """What a PSG file asks for.

    Attributes:
        path: the file.
        test_ids: the images in the order in which they are answered.
        predicates: the names of the predicate classes, by id.
    """

    path: Path
    test_ids: tuple[str, ...]
    predicates: tuple[str, ...]

    def ids_of(self, names: Sequence[str]) -> np.ndarray:
        """The predicate id of each name; int64 (K,).

        Raises:
            LabelSpaceError: a name is not among the predicate classes; the message gives the nearest.
        """
        for name in names:
            if name not in self.predicates:
                raise LabelSpaceError(
                    f"{self.path}: label {name!r} of the model is not among the {len(self.predicates)} predicate "
                    f"classes{suggestion(name, self.predicates)}; give the file that the model was trained on"
                )
        return np.array([self.predicates.index(name) for name in names], dtype=np.int64)

    def evaluated(self, names: Sequence[str]) -> np.ndarray:
        """Which labels are evaluated, and may be named; bool (K,)."""
        return np.array([name not in VAGUE for name in names])

    def rows_in(self, index: Index) -> np.ndarray:
        """The row of each test image in the Index that was read of the file; int64.

        Raises:
            DataError: a test image has no record.
        """
        row_of = {name: row for row, name in enumerate(index.ids)}
        for name in self.test_ids:
            if name not in row_of:
                raise DataError(
                    f"{self.path}: image id {name} is in 'test_image_ids' and has no record in 'data'; add it, or "
                    "read the file with missing=keep"
                )
        return np.array([row_of[name] for name in self.test_ids], dtype=np.int64)

    def check(self, answers: Sequence[Sequence[int]]) -> None:
        """Refuse answers that the challenge would not take.

        Args:
            answers: for each test image, in their order, the ids of its relations.

        Raises:
            DataError: another count of lines, or a line that does not name 3 different evaluated relations.
        """
        if len(answers) != len(self.test_ids):
            raise DataError(
                f"{self.path}: {len(answers)} answers for {len(self.test_ids)} test images; give one line for each"
            )
        allowed = {number for number, name in enumerate(self.predicates) if name not in VAGUE}
        for place, (answer, name) in enumerate(zip(answers, self.test_ids, strict=True), start=1):
            wrong = [number for number in answer if number not in allowed]
            if wrong:
                raise DataError(
                    f"{self.path}: line {place}, image id {name}: {wrong[0]} is no evaluated relation; allowed: "
                    f"{len(allowed)} ids from {min(allowed)} to {max(allowed)}"
                )
            if len(answer) != PLACES or len(set(answer)) != PLACES:
                shown = " ".join(map(str, answer)) or "nothing"
                raise DataError(
                    f"{self.path}: line {place}, image id {name}: {shown}; name {PLACES} different relations"
                )


def read_challenge(path: str | Path) -> Challenge:
    """What a PSG file asks for.

    Raises:
        FormatError: the file is not of the format.
        DataError: it lists no test image, or one twice.
    """
    path = Path(path)
    with no_collection():
        value = load_json(path)
    if not isinstance(value, dict) or not all(isinstance(value.get(key), list) for key in KEYS):
        raise FormatError(
            f"{path}: has no lists {' and '.join(map(repr, KEYS))}; give a file such as psg_cls_basic.json"
        )
    listed = value.get("test_image_ids")
    if not isinstance(listed, list) or not listed:
        raise DataError(f"{path}: 'test_image_ids' is {short(listed)}; a submission answers these images, so list them")
    test_ids = tuple(map(str, listed))
    twice = [name for name, count in Counter(test_ids).items() if count > 1]
    if twice:
        raise DataError(f"{path}: image id {twice[0]} stands twice in 'test_image_ids'; list each image once")
    return Challenge(path, test_ids, tuple(str(name).strip() for name in value["predicate_classes"]))
