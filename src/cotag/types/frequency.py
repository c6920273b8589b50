"""How frequent labels are among the images that train: head, middle and tail, and which count as infrequent.

The one place that decides it: statistics, samplers, losses, decisions and metrics all ask here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cotag.errors import SettingError, suggestion

NAMES = ("head", "middle", "tail")
BORDERS = (100, 20)
"""A label with more images than the first is of the head, with fewer than the second of the tail."""
Borders = str | Sequence[int]

RULES = ("tail", "half", "below:N", "share:S", "rarest:N")


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
    return frequency_groups(counts_K, BORDERS if borders is None else borders)


def frequency_groups(counts_K: np.ndarray, borders: Borders = BORDERS) -> Groups:
    """Group labels by K counts of training images; see ``group_labels``."""
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


def infrequent_labels(counts_K: Sequence[int] | np.ndarray, rule: str = "tail") -> np.ndarray:
    """Which labels count as infrequent, by their number of training images.

    A label without any image is infrequent by every rule (by ``half`` and ``rarest:N`` before all others): it can
    have a weight or an offset. A sampler has nothing to repeat for it, and says so.

    Args:
        counts_K: images that hold each label, among those that train.
        rule: ``tail``: fewer than 20 images, as in the groups; ``half``: the half of the labels that has the fewest
            (of an odd number the smaller half); ``below:N``: fewer than N images; ``share:S``: fewer than this share,
            in (0, 1), of what the most frequent label has; ``rarest:N``: the N labels with the fewest. Of equally
            frequent labels the first ones in the label space are taken where not all can be.

    Returns:
        bool (K,).

    Raises:
        SettingError: no such rule, or a number out of its range.

    >>> infrequent_labels([500, 3, 30], "below:40").tolist()
    [False, True, True]
    """
    counts_K = np.asarray(counts_K)
    kind, number = parse_rule(rule)
    if kind in ("half", "rarest"):
        wanted = len(counts_K) // 2 if kind == "half" else int(number)
        if wanted >= max(1, len(counts_K)):
            raise SettingError(f"infrequent = {rule!r}: there are {len(counts_K)} labels in all; give fewer")
        found = np.zeros(len(counts_K), dtype=bool)
        found[np.argsort(counts_K, kind="stable")[:wanted]] = True
        return found
    most = counts_K.max(initial=0)
    limit = {"tail": BORDERS[1], "below": number, "share": number * most}[kind]
    # Where no label has an image, none has less than a share of the most; all are infrequent.
    below_K: np.ndarray = (counts_K < limit) | (counts_K == 0)
    return below_K


def require_infrequent(counts_K: Sequence[int] | np.ndarray, rule: str) -> np.ndarray:
    """``infrequent_labels`` for what cannot do without one.

    Raises:
        SettingError: by this rule no label is infrequent.
    """
    found_K = infrequent_labels(counts_K, rule)
    if not found_K.any():
        least = int(np.min(counts_K))
        raise SettingError(
            f"balance.infrequent = {rule!r}: no label is infrequent by it (each has {least} images or more); "
            f"set balance.infrequent=half, or below:N with N above {least}"
        )
    return found_K


def tell_infrequent(counts_K: Sequence[int] | np.ndarray, rule: str) -> str:
    """The rule and how many labels it names, in words."""
    counts_K = np.asarray(counts_K)
    kind, number = parse_rule(rule)
    meant = {
        "tail": f"fewer than {BORDERS[1]} images",
        "half": "the half with the fewest images",
        "below": f"fewer than {number:g} images",
        "share": f"fewer than {number * counts_K.max(initial=0):g} images, {number:g} of the most frequent label's",
        "rarest": f"the {number:g} with the fewest images",
    }[kind]
    found_K = infrequent_labels(counts_K, rule)
    empty = int((counts_K == 0).sum())
    more = f"; {empty} of them have no image" if empty else ""
    return f"infrequent ({rule}: {meant}): {int(found_K.sum())} of {len(counts_K)} labels{more}"


def parse_rule(rule: str) -> tuple[str, float]:
    """The kind of a rule and its number; 0 where it has none.

    Raises:
        SettingError: no such rule, or a number out of its range.
    """
    kind, colon, text = str(rule).partition(":")
    if rule in ("tail", "half"):
        return kind, 0.0
    if kind not in ("below", "share", "rarest") or not colon:
        raise SettingError(f"infrequent = {rule!r} is not a rule{suggestion(kind if colon else rule, RULES)}")
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if kind == "share" and not 0 < number < 1:
        raise SettingError(f"infrequent = {rule!r}: the share must be above 0 and under 1, such as share:0.1")
    if kind != "share" and not (1 <= number < math.inf and number == math.floor(number)):
        raise SettingError(f"infrequent = {rule!r}: the number must be a whole one from 1, such as {kind}:10")
    return kind, number
