"""LabelSpace: the label names in their fixed order."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from cotag.errors import LabelSpaceError, listing, suggestion

NOT_EVALUATED = "not evaluated"
"""The group of labels that a data set has and does not judge (the vague relations of PSG)."""


@dataclass(frozen=True)
class LabelSpace:
    """The label names in their fixed order; the only owner of the number and order of labels.

    Args:
        names: K label names, each once, none empty.
        source_ids: K ids that the labels have in the file they come from (COCO category ids).
        groups: K group names (COCO supercategories); None where a label has no group.

    Raises:
        LabelSpaceError: a name is empty or stands twice, or the lengths differ.

    >>> space = LabelSpace(("cat", "dog"))
    >>> len(space), space.id("dog")
    (2, 1)
    """

    names: tuple[str, ...]
    source_ids: tuple[int | str, ...] | None = None
    groups: tuple[str | None, ...] | None = None
    _ids: dict[str, int] = field(init=False, repr=False, compare=False, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(str(name) for name in self.names))
        if not self.names:
            raise LabelSpaceError("a label space needs at least one label; given none")
        if "" in self.names:
            raise LabelSpaceError(f"label {self.names.index('')}: the name is empty; give every label a name")
        object.__setattr__(self, "_ids", {name: number for number, name in enumerate(self.names)})
        if len(self._ids) != len(self.names):
            double = [name for name, count in Counter(self.names).items() if count > 1]
            raise LabelSpaceError(f"label names stand twice: {listing(double)}; rename or merge them")
        for what in ("source_ids", "groups"):
            values = getattr(self, what)
            if values is None:
                continue
            object.__setattr__(self, what, tuple(values))
            if len(values) != len(self.names):
                raise LabelSpaceError(f"{what}: {len(values)} given for {len(self.names)} labels; give one for each")

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def hash(self) -> str:
        """16 hexadecimal digits of the SHA-256 of the names in their order; source ids and groups do not count."""
        text = json.dumps(list(self.names), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def id(self, name: str) -> int:
        """The position of a label.

        Raises:
            LabelSpaceError: there is no such label; the message names the nearest.
        """
        number = self._ids.get(name)
        if number is None:
            raise LabelSpaceError(f"label {name!r} is not among the {len(self)} labels{suggestion(name, self.names)}")
        return number

    def __contains__(self, name: object) -> bool:
        return name in self._ids

    @property
    def evaluated(self) -> np.ndarray:
        """Which labels are judged: all but those of the group ``not evaluated``; bool (K,)."""
        return np.array([group != NOT_EVALUATED for group in self.groups or (None,) * len(self)])

    def take(self, places: Sequence[int] | np.ndarray) -> LabelSpace:
        """The labels at these positions, in the given order, with their source ids and groups.

        Raises:
            LabelSpaceError: none is given, or one twice.
        """
        parts = [
            None if values is None else tuple(values[int(place)] for place in places)
            for values in (self.names, self.source_ids, self.groups)
        ]
        return LabelSpace(parts[0] or (), parts[1], parts[2])  # type: ignore[arg-type]

    def positions_in(self, other: LabelSpace) -> np.ndarray:
        """For each of these K labels its position in ``other`` by name, or -1; int64 (K,)."""
        return np.array([other._ids.get(name, -1) for name in self.names], dtype=np.int64)

    def union(self, other: LabelSpace) -> LabelSpace:
        """These labels in their order, then those of ``other`` that are new; source ids are dropped if they differ."""
        new = [number for number, name in enumerate(other.names) if name not in self]
        names = self.names + tuple(other.names[number] for number in new)
        if not new:
            return self
        groups: tuple[str | None, ...] | None = None
        if self.groups is not None or other.groups is not None:
            mine = self.groups or (None,) * len(self)
            theirs = other.groups or (None,) * len(other)
            groups = mine + tuple(theirs[number] for number in new)
        return LabelSpace(names, None, groups)

    def require_same(self, other: LabelSpace, where: str) -> None:
        """Refuse to combine two label spaces whose hashes differ.

        Raises:
            LabelSpaceError: says how they differ; ``where`` names the two things being combined.
        """
        if self.hash == other.hash:
            return
        missing = [name for name in self.names if name not in other]
        added = [name for name in other.names if name not in self]
        if missing or added:
            how = "; ".join(
                text
                for text in (
                    f"only in the first: {listing(missing, 3)}" if missing else "",
                    f"only in the second: {listing(added, 3)}" if added else "",
                )
                if text
            )
        else:
            place = next(k for k, (a, b) in enumerate(zip(self.names, other.names, strict=True)) if a != b)
            how = f"the same names in another order, first at {place}: {self.names[place]} and {other.names[place]}"
        raise LabelSpaceError(f"{where}: the label spaces differ ({self.hash}, {other.hash}): {how}")

    def to_json(self) -> dict[str, Any]:
        """A JSON object that ``from_json`` reads, with the hash for whoever checks it."""
        value: dict[str, Any] = {"names": list(self.names), "hash": self.hash}
        if self.source_ids is not None:
            value["source_ids"] = list(self.source_ids)
        if self.groups is not None:
            value["groups"] = list(self.groups)
        return value

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> LabelSpace:
        """Rebuild from ``to_json``.

        Raises:
            LabelSpaceError: the names do not have the hash that stands beside them.
        """
        space = cls(
            tuple(value["names"]),
            tuple(value["source_ids"]) if value.get("source_ids") is not None else None,
            tuple(value["groups"]) if value.get("groups") is not None else None,
        )
        if "hash" in value and value["hash"] != space.hash:
            raise LabelSpaceError(f"the label names were changed: their hash is {space.hash}, recorded {value['hash']}")
        return space


def label_space_of(names: Iterable[str] | Sequence[str]) -> LabelSpace:
    """A LabelSpace of names in alphabetical order, each once."""
    return LabelSpace(tuple(sorted(set(names))))
