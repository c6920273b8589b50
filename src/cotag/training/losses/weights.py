"""Weights of labels, as settings give them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from cotag.errors import SettingError


def label_weights(name: str, given: float | Sequence[float], labels: int | None) -> np.ndarray:
    """The weights of a setting, float64 (K,), or (1,) for all labels alike.

    Args:
        name: the setting, for messages.
        given: a number for all labels, or one for each.
        labels: K; None where it is not known yet.

    Raises:
        SettingError: weights of another length, or one that is not a number of 0 or more.
    """
    several = isinstance(given, list | tuple | np.ndarray)
    values = np.array([_number(name, value) for value in (given if several else [given])])  # type: ignore[union-attr]
    if several and labels is not None and len(values) != labels:
        raise SettingError(f"loss_args.{name}: {len(values)} weights are given for {labels} labels; give one for each")
    return values


def _number(name: str, value: Any) -> float:
    usable = isinstance(value, int | float | np.number) and not isinstance(value, bool) and 0 <= value < math.inf
    if not usable:
        raise SettingError(f"loss_args.{name} = {value!r}: a weight must be a number of 0 or more")
    return float(value)


def in_range(name: str, value: float, low: float, high: float = math.inf, open_low: bool = False) -> float:
    """A setting that must lie from ``low`` up to and without ``high``.

    Args:
        open_low: whether ``low`` itself is refused.

    Raises:
        SettingError: it does not.
    """
    if isinstance(value, bool) or not low <= value < high or (open_low and value == low):
        least = f"above {low:g}" if open_low else f"{low:g} or more"
        allowed = least if high == math.inf else f"{'above' if open_low else 'from'} {low:g} up to and without {high:g}"
        raise SettingError(f"loss_args.{name} = {value}: must be {allowed}")
    return float(value)
