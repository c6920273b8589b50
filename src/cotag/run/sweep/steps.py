"""The steps of a waterfall: settings that are switched on one after another, and stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from cotag.errors import SettingError, suggestion
from cotag.recipe import Recipe
from cotag.run.sweep.plan import BASELINE, SHORT, Setting, setting_of, split_values

EXPECTED = "expected 'name: key=value, key=value', such as 'weights: train.loss_args.raise=1.2'"
KEYS = ("name", "set")


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        name: of the technique.
        changes: ``key=value`` texts that hold from here on.
    """

    name: str
    changes: tuple[str, ...]


def parse_step(text: str) -> Step:
    """A step of ``name: key=value, key=value``; commas inside brackets do not separate.

    Raises:
        SettingError: the text is none.

    >>> parse_step("balance: balance.sampler=repeat_factor, train.epochs=20")
    Step(name='balance', changes=('balance.sampler=repeat_factor', 'train.epochs=20'))
    """
    name, colon, rest = text.partition(":")
    if not colon or "=" in name:
        raise SettingError(f"--step {text!r}: {EXPECTED}")
    return _step(name, split_values(rest), f"--step {text!r}")


def read_steps(name: str) -> list[Step]:
    """The steps of a YAML file, or of a list that ships, by its name.

    The file holds a list of ``{name: ..., set: [key=value, ...]}``.

    Raises:
        SettingError: there is no such file or list, or it holds something else.
    """
    text = _text(name)
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingError(f"{name}: is not YAML ({' '.join(str(error).split())})") from None
    if not isinstance(found, list) or not found:
        raise SettingError(f"{name}: holds no steps; give a list of {{name: ..., set: [key=value, ...]}}")
    steps = []
    for number, item in enumerate(found, start=1):
        where = f"{name}: step {number}"
        if not isinstance(item, dict):
            raise SettingError(f"{where}: is {item!r}; give name and set")
        for key in item:
            if key not in KEYS:
                raise SettingError(f"{where}: {key!r} is not known{suggestion(key, KEYS)}")
        changes = item.get("set", [])
        if not isinstance(changes, list) or not all(isinstance(change, str) for change in changes):
            raise SettingError(f"{where}: set = {changes!r}; give a list of key=value texts")
        steps.append(_step(str(item.get("name", "")), changes, where))
    return steps


def step_lists() -> dict[str, str]:
    """The names of the lists of steps that ship, with the first line of each."""
    files = [file for file in _shipped().iterdir() if file.name.endswith(".yaml")]
    return {
        file.name.removesuffix(".yaml"): file.read_text("utf-8").splitlines()[0].lstrip("# ")
        for file in sorted(files, key=lambda file: file.name)
    }


def plan_steps(recipe: Recipe, steps: Sequence[Step]) -> list[Setting]:
    """The recipe as it is, and what it becomes step by step.

    Raises:
        SettingError: no step, two of one name, an unknown key, or a step that changes nothing.
    """
    if not steps:
        raise SettingError("a waterfall needs steps: give --step 'name: key=value', or --waterfall FILE")
    found, held = [Setting(BASELINE, (), recipe)], {recipe.to_yaml(): "the recipe as it is"}
    overrides: tuple[str, ...] = ()
    for step in steps:
        if step.name in [setting.name for setting in found]:
            raise SettingError(f"step {step.name}: stands twice; give each step a name of its own")
        overrides += step.changes
        setting = setting_of(recipe, step.name, overrides)
        if setting.message.startswith("--set "):
            raise SettingError(f"step {step.name}: {setting.message.removeprefix('--set ')}")
        if setting.recipe is not None:
            text = setting.recipe.to_yaml()
            if text in held:
                raise SettingError(f"step {step.name}: changes nothing; after it all is as after {held[text]}")
            held[text] = f"step {step.name}"
        found.append(setting)
    return found


def _step(name: str, changes: Sequence[Any], where: str) -> Step:
    own = []
    for change in changes:
        key, sign, value = str(change).partition("=")
        if not sign or not key.strip():
            raise SettingError(f"{where}: {EXPECTED}")
        if key.strip() == "train.seed":
            raise SettingError(f"{where}: train.seed is no technique; give --seeds N")
        own.append(f"{SHORT.get(key.strip(), key.strip())}={value}")
    if not name.strip() or not own:
        raise SettingError(f"{where}: {EXPECTED}")
    return Step(name.strip(), tuple(own))


def _shipped() -> Any:
    return resources.files("cotag") / "recipes" / "waterfalls"


def _text(name: str) -> str:
    if name in step_lists():
        return str((_shipped() / f"{name}.yaml").read_text("utf-8"))
    try:
        return Path(name).read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        near = suggestion(name, step_lists())
        raise SettingError(f"--waterfall {name!r}: is neither a file of steps nor a list that ships{near}") from None
