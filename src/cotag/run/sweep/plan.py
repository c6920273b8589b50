"""Which settings a sweep tries: a grid, or one key at a time."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cotag.errors import SettingError
from cotag.recipe import Recipe

BASELINE = "recipe"
# A key that is short for another.
SHORT = {"head": "model.head"}
OPENING, CLOSING = "[{(", ")}]"
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
# Two points between numbers; a path such as ../counts.npz is none.
RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})(:log)?")


@dataclass(frozen=True)
class Setting:
    """One setting of the sweep: its name, and what it changes of the recipe.

    Attributes:
        name: its changes as text; ``recipe`` for none.
        overrides: ``key=value`` texts.
        recipe: with these changes; None where they cannot be.
        message: why they cannot be.
    """

    name: str
    overrides: tuple[str, ...]
    recipe: Recipe | None
    message: str = ""


def parse_grid(given: Sequence[str], ranges: bool = False) -> dict[str, list[str]]:
    """Keys and their values of ``key=value,value`` texts; commas inside brackets do not separate.

    Args:
        ranges: whether ``low..high`` may stand for the values.

    Raises:
        SettingError: a text that is none, a key that is not known or stands twice, or that the sweep sets itself.

    >>> parse_grid(["model.head_args.widths=[512],[512, 1024]", "head=gcn"])
    {'model.head_args.widths': ['[512]', '[512, 1024]'], 'model.head': ['gcn']}
    """
    found: dict[str, list[str]] = {}
    for text in given:
        key, sign, values = text.partition("=")
        key = SHORT.get(key.strip(), key.strip())
        if not sign or not key or not values.strip():
            raise SettingError(f"--grid {text!r}: expected key=value,value, such as graph.tau=0.2,0.4")
        if key in found:
            raise SettingError(f"--grid {key}: stands twice; give its values in one list")
        if key == "train.seed":
            raise SettingError("--grid train.seed: seeds are no settings to choose among; give --seeds N")
        found[key] = split_values(values)
        drawn = [value for value in found[key] if RANGE.fullmatch(value)]
        if drawn and not ranges:
            raise SettingError(
                f"--grid {key}={drawn[0]}: a range cannot be tried whole; search it by --search tpe --trials N, or "
                "give values"
            )
        if not drawn:
            _require_key(key, found[key][0])
    return found


def split_values(text: str) -> list[str]:
    """The values of a list without outer brackets.

    >>> split_values("a,[b,c],{d: 1, e: 2}")
    ['a', '[b,c]', '{d: 1, e: 2}']
    """
    values, depth, start = [], 0, 0
    for place, sign in enumerate(text):
        depth += (sign in OPENING) - (sign in CLOSING)
        if sign == "," and depth == 0:
            values.append(text[start:place].strip())
            start = place + 1
    return [*values, text[start:].strip()]


def _require_key(key: str, value: str) -> None:
    try:
        Recipe.load(Recipe(), [f"{key}={value}"])
    except SettingError as error:
        # A wrong value is a failure of its trials; a wrong key of the whole sweep.
        if str(error).startswith("--set "):
            raise SettingError(f"--grid {str(error).removeprefix('--set ')}") from None


def plan(
    recipe: Recipe, grid: Mapping[str, Sequence[str]], one_at_a_time: bool, most: int | None = None
) -> list[Setting]:
    """The settings, the recipe as it is first; a setting that changes nothing of it is left out.

    Args:
        grid: values by key.
        one_at_a_time: change one key of the recipe at a time, and not all of them together.
        most: so many of the settings, drawn at random with the recipe's seed; all where not given.

    Raises:
        SettingError: no setting is left that differs from the recipe.
    """
    if one_at_a_time:
        changes: list[tuple[tuple[str, str], ...]] = [
            ((key, value),) for key, values in grid.items() for value in values
        ]
    else:
        keys = list(grid)
        changes = [tuple(zip(keys, values, strict=True)) for values in itertools.product(*grid.values())]
    if most is not None and most < len(changes):
        changes = random.Random(recipe.train.seed).sample(changes, most)
    short = short_keys(list(grid))
    found = [Setting(BASELINE, (), recipe)]
    seen = {recipe.to_yaml()}
    for change in changes:
        setting = changed_setting(recipe, change, short)
        text = setting.recipe.to_yaml() if setting.recipe else setting.name
        if text not in seen:
            seen.add(text)
            found.append(setting)
    if len(found) == 1:
        raise SettingError("the grid holds nothing but the recipe as it is; give --grid key=value,value")
    return found


def short_keys(keys: Sequence[str]) -> dict[str, str]:
    """Each key's last part, or the whole key where two end alike."""
    last = [key.rpartition(".")[2] for key in keys]
    return {key: end if last.count(end) == 1 else key for key, end in zip(keys, last, strict=True)}


def changed_setting(recipe: Recipe, change: Sequence[tuple[str, str]], short: Mapping[str, str]) -> Setting:
    """The recipe with changed keys, named by them."""
    name = ", ".join(f"{short[key]}={value}" for key, value in change)
    return setting_of(recipe, name, tuple(f"{key}={value}" for key, value in change))


def setting_of(recipe: Recipe, name: str, overrides: tuple[str, ...]) -> Setting:
    """The recipe with ``key=value`` texts; one that cannot be says why."""
    try:
        return Setting(name, overrides, Recipe.load(recipe, overrides))
    except SettingError as error:
        return Setting(name, overrides, None, str(error))
