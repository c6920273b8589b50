"""A study: one thing of a recipe that an experiment varies, all else as it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cotag.evaluation.comparison import VERDICTS
from cotag.recipe import Recipe
from cotag.run.sweep.plan import BASELINE, Setting, setting_of
from cotag.run.sweep.sections import Row


@dataclass(frozen=True)
class Study:
    """One thing that is varied.

    Attributes:
        key: what is varied: a key of the recipe, or ``depth``.
        title: of its sections.
        names: how the values are called, the recipe's own among them; numbers in their order.
        settings: of each, by name; the recipe as it is under the name of its own value.
        base: the name of the recipe's own value.
    """

    key: str
    title: str
    names: Sequence[str]
    settings: Mapping[str, Setting]
    base: str

    def shown(self, name: str) -> str:
        """The name of a value as tables have it."""
        return f"{name} (recipe)" if self.settings[name].name == BASELINE else name

    def in_words(self, rows: Mapping[str, Row]) -> str:
        """What the values are worth against the recipe's own, in a sentence.

        Args:
            rows: of the sweep, by the name of the setting.
        """
        told: dict[str, list[str]] = {verdict: [] for verdict in VERDICTS}
        for name in self.names:
            one = rows[self.settings[name].name].against
            if one is not None:
                how = f" ({one.difference:+.4f})" if one.verdict != VERDICTS[2] else ""
                told[one.verdict].append(f"{name}{how}")
        parts = [f"{verdict}: {', '.join(names)}" for verdict, names in told.items() if names]
        return f"{self.title}, against {self.base}: {'; '.join(parts) or 'nothing could be compared'}."


def study_of(base: Recipe, key: str, title: str, values: Mapping[str, Sequence[str]], own: str) -> Study:
    """A study with the recipe's own value among the values.

    Args:
        values: name -> the ``key=value`` texts that it changes of the recipe.
        own: what the recipe's value is called where none of them is the recipe as it is.
    """
    recipe, short = base.to_yaml(), key.rpartition(".")[2]
    settings = {}
    for name, changes in values.items():
        setting = setting_of(base, f"{short}={name}", tuple(changes))
        same = setting.recipe is not None and setting.recipe.to_yaml() == recipe
        settings[name] = Setting(BASELINE, (), base) if same else setting
    mine = next((name for name, setting in settings.items() if setting.name == BASELINE), own)
    if mine not in settings or settings[mine].name != BASELINE:
        settings = {mine: Setting(BASELINE, (), base), **settings}
    numbers = {name: as_number(name) for name in settings}
    names = (
        list(settings) if any(math.isnan(number) for number in numbers.values()) else sorted(settings, key=as_number)
    )
    return Study(key, title, names, settings, mine)


def settings_of(studies: Sequence[Study]) -> list[Setting]:
    """The settings of all studies once, the recipe as it is first."""
    found = {setting.name: setting for study in studies for setting in study.settings.values()}
    baseline = found.pop(BASELINE)
    return [baseline, *found.values()]


def as_number(name: str) -> float:
    """The number that a value is called by, NaN where it is none."""
    try:
        return float(name)
    except ValueError:
        return math.nan


def numbered(values: Sequence[str]) -> dict[str, str]:
    """Values by their numbers as they are written at their shortest; one that is no number fails in its trial."""
    names = (value.strip() if math.isnan(as_number(value)) else f"{as_number(value):g}" for value in values)
    return dict(zip(names, (value.strip() for value in values), strict=True))
