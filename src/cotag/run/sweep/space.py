"""What a search may choose from: values by name, and ranges of numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cotag.errors import SettingError
from cotag.recipe import Recipe
from cotag.run.sweep.plan import RANGE, parse_grid

# Digits that a drawn number keeps, so that a setting's name is exactly what was trained.
DIGITS = 4


@dataclass(frozen=True)
class Choice:
    """A setting with a few values, as texts."""

    key: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Range:
    """A setting that takes the numbers from ``low`` to ``high``, both included.

    Attributes:
        whole: whole numbers alone.
        log: drawn evenly on a logarithmic scale.
    """

    key: str
    low: float
    high: float
    whole: bool = False
    log: bool = False

    def text(self, value: float) -> str:
        """A drawn number as the value of a setting; rounded to 4 digits, and never out of the range."""
        if self.whole:
            return str(int(value))
        # repr writes 1e-05, which YAML in our reading takes as a number.
        return repr(min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high))


Space = list[Choice | Range]


def parse_space(given: Sequence[str]) -> Space:
    """The settings of ``key=value,value`` and ``key=low..high`` texts.

    ``low..high:log`` is drawn evenly on a logarithmic scale. A range holds whole numbers where the setting takes no
    others; one of a part's own settings (``model.head_args.widths``), where both ends are written without a point.

    Raises:
        SettingError: a text that is none of these, an unknown key, an end that the setting does not take, or ends in
            the wrong order.

    >>> parse_space(["train.epochs=5..40", "graph.tau=0..1", "head=gcn,linear"])[:2]
    [Range(key='train.epochs', low=5, high=40, whole=True, log=False), \
Range(key='graph.tau', low=0.0, high=1.0, whole=False, log=False)]
    """
    found: Space = []
    for key, values in parse_grid(given, ranges=True).items():
        if len(values) == 1 and (parts := RANGE.fullmatch(values[0])):
            found.append(_range(key, parts))
            continue
        for value in values:
            if RANGE.fullmatch(value):
                raise SettingError(f"--grid {key}={','.join(values)}: a range stands alone; give it, or values")
        found.append(Choice(key, tuple(dict.fromkeys(values))))
    return found


def _range(key: str, parts: re.Match[str]) -> Range:
    where = f"--grid {key}={parts[0]}"
    low, high = _end(key, parts[1], where), _end(key, parts[2], where)
    log, whole = parts[3] is not None, isinstance(low, int) and isinstance(high, int)
    if not low < high:
        raise SettingError(f"{where}: the first number must be the lower one")
    if log and low <= 0:
        raise SettingError(f"{where}: a logarithmic scale begins above 0")
    return Range(key, low, high, whole, log) if whole else Range(key, float(low), float(high), False, log)


def _end(key: str, text: str, where: str) -> float:
    """An end of a range as the setting takes it: a whole number or not."""
    try:
        value: Any = Recipe.load(Recipe(), [f"{key}={text}"]).model_dump()
    except SettingError as error:
        said = str(error)
        if said.startswith("--set "):
            raise SettingError(f"--grid {said.removeprefix('--set ')}") from None
        raise SettingError(f"{where}: {said.removeprefix('recipe: ')}") from None
    for part in key.split("."):
        value = value[part]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SettingError(f"{where}: takes no numbers; give values, such as {key}=A,B")
    return value
