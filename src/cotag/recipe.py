"""A run's settings as typed models; YAML in and out; ``a.b=c`` overrides; an unknown key is refused."""

from __future__ import annotations

import os
import re
import types
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from cotag.errors import SettingError, suggestion
from cotag.recipe_settings import (
    BalanceSettings,
    DataSettings,
    DecideSettings,
    GraphSettings,
    ModelSettings,
    Settings,
    TrainSettings,
    VectorSettings,
)
from cotag.storage import write_text


class Recipe(Settings):
    """All settings of a run."""

    model: ModelSettings = ModelSettings()
    data: DataSettings = DataSettings()
    graph: GraphSettings = GraphSettings()
    vectors: VectorSettings = VectorSettings()
    balance: BalanceSettings = BalanceSettings()
    train: TrainSettings = TrainSettings()
    decide: DecideSettings = DecideSettings()

    @classmethod
    def load(cls, name: str | os.PathLike[str] | Recipe, overrides: Sequence[str] = ()) -> Recipe:
        """A preset by name or a YAML file, with ``key=value`` overrides.

        Raises:
            SettingError: no such recipe, no such key, or a value that is not allowed.

        >>> Recipe.load("quick", ["train.seed=3"]).train.seed
        3
        """
        if isinstance(name, Recipe):
            values, where = name.model_dump(), "recipe"
        else:
            values, where = _read(name), str(name)
        for override in overrides:
            _override(values, override)
        return cls.from_dict(values, where)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str = "recipe") -> Recipe:
        """Check plain values; ``where`` names their source in messages."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise SettingError(f"{where}: {_explain(error)}") from None

    def to_yaml(self) -> str:
        """All settings as YAML that ``load`` reads."""
        text: str = yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        return text

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the resolved settings."""
        write_text(path, self.to_yaml())


def presets() -> dict[str, str]:
    """The names of the recipes that ship, with the first line of each."""
    folder = resources.files("cotag") / "recipes"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".yaml")), key=lambda f: f.name)
    return {f.name.removesuffix(".yaml"): f.read_text("utf-8").splitlines()[0].lstrip("# ") for f in files}


class _Loader(yaml.SafeLoader):
    """YAML in which 1e-3 is a number, as everywhere else; YAML 1.1 wants 1.0e-3."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+"), list("-+.0123456789")
)


def _read(name: str | os.PathLike[str]) -> dict[str, Any]:
    path = Path(name)
    try:
        if str(name) in presets():
            text = (resources.files("cotag") / "recipes" / f"{name}.yaml").read_text("utf-8")
        elif path.is_file():
            text = path.read_text("utf-8")
        else:
            raise SettingError(f"recipe {str(name)!r} is neither a file nor a preset{suggestion(name, presets())}")
        values = yaml.load(text, _Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingError(f"{name}: is not YAML ({' '.join(str(error).split())})") from None
    if not isinstance(values, dict):
        raise SettingError(f"{name}: holds no settings; begin with a group such as model: or train:")
    return {group: {} if settings is None else settings for group, settings in values.items()}


def _override(values: dict[str, Any], text: str) -> None:
    """Put one ``a.b=c`` into plain values; the value is read as YAML."""
    key, sign, given = text.partition("=")
    key = key.strip()
    if not sign or not key:
        raise SettingError(f"--set {text!r}: expected key=value, such as train.epochs=10")
    try:
        value = yaml.load(given, _Loader) if given else ""
    except yaml.YAMLError:
        value = given
    *path, last = key.split(".")
    known = _known_keys(Recipe)
    free = any(key.startswith(f"{name}.") for name, is_free in known.items() if is_free)
    if key not in known and not free:
        raise SettingError(f"--set {key}: there is no such setting{suggestion(key, known)}")
    place = values
    for part in path:
        inner = place.setdefault(part, {})
        if not isinstance(inner, dict):
            raise SettingError(f"--set {key}: {part} holds a value and no settings")
        place = inner
    place[last] = value


def _known_keys(model: type[BaseModel], prefix: str = "") -> dict[str, bool]:
    """The dotted keys of all settings; True where a key holds settings with names of their own."""
    keys: dict[str, bool] = {}
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            keys.update(_known_keys(kind, f"{prefix}{name}."))
        else:
            options = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
            keys[prefix + name] = any(get_origin(option) is dict for option in options)
    return keys


def _explain(error: ValidationError) -> str:
    """The first complaint of pydantic in our words; of a union all that would do."""
    errors = error.errors()
    key = _key(errors[0]["loc"])
    if errors[0]["type"] == "extra_forbidden":
        known = _known_keys(Recipe)
        groups = {name.split(".")[0] for name in known}
        return f"setting {key!r} is not known{suggestion(key, [*known, *groups])}"
    given, allowed = errors[0]["input"], []
    for one in errors:
        if _key(one["loc"]) == key:
            allowed.append(_ALLOWED.get(one["type"]) or re.sub(r"^Input should be |^Value error, ", "", one["msg"]))
    return f"setting {key} = {given!r}: must be {' or '.join(dict.fromkeys(allowed))}"


_ALLOWED = {
    "tuple_type": "a list, such as [a, b]",
    "dict_type": "a group of settings",
    "model_type": "a group of settings",
    "missing": "a list of 3 numbers",
    "too_long": "a list of 3 numbers",
    "float_parsing": "a number",
    "float_type": "a number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_type": "text",
}


def _key(place: tuple[int | str, ...]) -> str:
    """The setting that pydantic's place is in; below it stand positions and the options of a union."""
    known = _known_keys(Recipe)
    for length in range(1, len(place) + 1):
        key = ".".join(map(str, place[:length]))
        if key in known:
            return key
    return ".".join(map(str, place))
