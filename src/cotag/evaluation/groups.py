"""Head, middle and tail: labels grouped by the number of images that trained them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cotag.errors import SettingError

NAMES = ("head", "middle", "tail")
BORDERS = (100, 20)
Borders = str | Sequence[int]


@dataclass(frozen=True)
class Groups:
    """Which group each label is in.

    Attributes:
        group_K: ``head``, ``middle`` or ``tail`` for each label.
        told: the borders in words.
    """

    group_K: tuple[str, ...]
    told: str

    def members(self, name: str) -> np.ndarray:
        """bool (K,): the labels of a group."""
        return np.array(self.group_K) == name


def group_labels(
    train_counts: Sequence[int] | np.ndarray | None, borders: Borders | None = None, size: int | None = None
) -> Groups | None:
    """Group labels by their training images; None where there are no counts.

    Args:
        train_counts: K counts.
        borders: (upper, lower): the head has more images than ``upper``, the tail fewer than ``lower``, (100, 20)
            where not given; or ``terciles``: borders that a third and two thirds of the labels do not exceed.
        size: K, to be checked.

    Raises:
        SettingError: borders that are not of that kind, borders without counts, or counts of other labels.
    """
    if train_counts is None:
        if borders is not None:
            raise SettingError(f"groups = {borders}: how many images trained each label must be given too")
        return None
    counts_K = np.asarray(train_counts)
    if counts_K.shape != (size if size is not None else len(counts_K),):
        raise SettingError(f"training counts: {len(counts_K)} given for {size} labels; give one for each")
    borders = BORDERS if borders is None else borders
    if isinstance(borders, str):
        if borders != "terciles":
            raise SettingError(f"groups = {borders!r}; give terciles or two borders, such as 100,20")
        lower, upper = np.quantile(counts_K, [1 / 3, 2 / 3], method="inverted_cdf")
        head_K, tail_K = counts_K > upper, counts_K <= lower
        told = f"terciles by training images: head above {upper:g}, tail up to {lower:g}"
    else:
        if len(borders) != 2 or borders[0] < borders[1]:
            raise SettingError(f"groups = {borders}; give the upper border, then the lower one, such as 100,20")
        head_K, tail_K = counts_K > borders[0], counts_K < borders[1]
        told = f"groups by training images: head above {borders[0]}, tail under {borders[1]}"
    return Groups(tuple(np.where(head_K, "head", np.where(tail_K, "tail", "middle")).tolist()), told)


def parse_borders(text: str | None) -> Borders | None:
    """The borders of a text: ``terciles``, or two numbers such as ``100,20``.

    Raises:
        SettingError: the text is neither.
    """
    if text is None or text == "terciles":
        return text
    parts = text.split(",")
    if len(parts) != 2 or not all(part.strip().isdecimal() for part in parts):
        raise SettingError(f"groups = {text!r}; give terciles or two borders, such as 100,20")
    return int(parts[0]), int(parts[1])
