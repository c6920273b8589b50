"""A run's settings as typed models; YAML in and out; ``a.b=c`` overrides; an unknown key is refused."""

from __future__ import annotations

import os
import re
import types
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from cotag.errors import SettingError, suggestion
from cotag.storage import write_text

# numpy and scikit-learn take no larger seed, and the split that chooses takes the next one.
MAX_SEED = 2**32 - 2


class Settings(BaseModel):
    """A group of settings; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_truth_as_number(cls, value: Any, info: ValidationInfo) -> Any:
        """pydantic takes true as 1."""
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation is not bool:
            raise ValueError("another value than true or false")
        return value


class ModelSettings(Settings):
    """What is trained."""

    backbone: str = Field("mobilenetv2_100", description="any timm name")
    backbone_args: dict[str, Any] = Field(default_factory=dict, description="keywords of timm.create_model")
    weights: str = Field("hub", description="hub, none, or a safetensors file")
    head: str = Field("linear", description="a head's name; see cotag list heads")
    head_args: dict[str, Any] = Field(default_factory=dict, description="the head's own settings")


class DataSettings(Settings):
    """How pictures and labels reach the model, and which split does what."""

    image_size: int | None = Field(None, ge=8, le=4096, description="pixels; null takes the backbone's own")
    resize: Literal["squash", "crop"] = Field("squash", description="squash to a square, or crop its center")
    interpolation: Literal["model", "bilinear", "bicubic"] = "model"
    mean: tuple[float, float, float] | None = Field(None, description="of [0, 1] RGB; null takes the backbone's own")
    std: tuple[float, float, float] | None = Field(None, description="of [0, 1] RGB; null takes the backbone's own")
    augment: tuple[str, ...] = Field((), description="names; see cotag list augmentations")
    views: Literal["auto"] | Annotated[int, Field(ge=1)] = Field(
        "auto", description="on features: augmented views of each training image beside itself; auto is 4"
    )
    read: dict[str, Any] = Field(default_factory=dict, description="options of the reader")
    train: str | None = Field(None, description="split that trains; null finds it by its usual name")
    choose: str | float | None = Field(None, description="split, or share of the training images, that chooses")
    test: str | float | None = Field(None, description="split, or share of all images, that judges")
    difficult: Literal["unknown", "positive", "absent"] = Field("unknown", description="difficult labels, in training")
    bad_images: Literal["stop", "skip"] = Field("stop", description="stop at a bad image, or skip and count it")
    workers: Literal["auto"] | Annotated[int, Field(ge=0)] = Field("auto", description="processes that decode pictures")


class GraphSettings(Settings):
    """How the labels that come together become a graph, for heads that need one; see ``cotag graph``."""

    kind: Literal["reweighted", "binary", "conditional", "symmetric", "identity"] = "reweighted"
    tau: float = Field(0.4, ge=0, le=1, description="an edge where the conditional probability is this or more")
    p: float = Field(0.2, ge=0, lt=1, description="share of a label's weight that its neighbors have")
    axis: Literal["column", "row"] = Field("column", description="what p is shared over; row as in the paper's text")
    unknown: Literal["absent", "left_out"] = Field("absent", description="what an unknown label counts as")
    file: str | None = Field(None, description="counts from a file (.npz, .graphml, .pkl) in place of the own ones")


class VectorSettings(Settings):
    """What stands for the labels at the graph's nodes, for heads that need vectors."""

    source: str = Field("one_hot", description="one_hot, random, learned, clip:ARCHITECTURE/WEIGHTS, or a text file")
    size: int | None = Field(None, ge=1, description="of random and learned vectors; 300")
    fallback: Literal["refuse", "mean", "random", "zero"] = Field(
        "refuse", description="what a name without a vector gets"
    )


class TrainSettings(Settings):
    """How the model is fitted."""

    mode: Literal["features", "end_to_end"] = Field("features", description="a head on frozen features, or all of it")
    epochs: int = Field(30, ge=1)
    batch_size: int = Field(64, ge=1)
    loss: str = "bce"
    loss_args: dict[str, Any] = Field(default_factory=dict)
    optimizer: str = Field("lbfgs", description="lbfgs (linear head on features), or see cotag list optimizers")
    optimizer_args: dict[str, Any] = Field(default_factory=dict)
    learning_rate: float = Field(1e-3, gt=0)
    backbone_rate: float = Field(1.0, ge=0, description="the backbone's learning rate as a factor of the head's")
    layer_decay: float = Field(1.0, gt=0, le=1, description="factor of each layer's learning rate to the one above it")
    freeze: tuple[str | Annotated[int, Field(strict=True)], ...] = Field(
        (), description="backbone, stem, a number of stages, or timm's names"
    )
    norm_statistics: Literal["batch", "frozen"] = Field("batch", description="of the backbone's batch norms")
    weight_decay: Literal["auto"] | Annotated[float, Field(ge=0)] = Field(
        "auto", description="auto: chosen on the split that chooses"
    )
    l1: float = Field(0.0, ge=0, description="factor of the penalty sum |w| over matrices and filters")
    schedule: str = "cosine"
    schedule_args: dict[str, Any] = Field(default_factory=dict)
    warmup_epochs: float = Field(0.0, ge=0)
    clip_norm: float | None = Field(None, gt=0, description="largest norm of the gradient")
    ema: float | None = Field(None, ge=0, lt=1, description="decay of the weights' average, which is then kept")
    patience: int | None = Field(None, ge=1, description="stop after so many epochs without a better choice")
    choose_by: Literal["mAP", "loss"] = "mAP"
    refit: bool = Field(True, description="on features: fit once more with the images that chose, then judge")
    folds: int | None = Field(None, ge=1, description="lbfgs: choose by so many folds (5); 1: by a part alone")
    seed: int = Field(0, ge=0, le=MAX_SEED)


class DecideSettings(Settings):
    """How scores become labels."""

    rule: Literal["threshold"] = "threshold"
    threshold: float = Field(0.5, gt=0, lt=1, description="a label is given at this probability or more")


class Recipe(Settings):
    """All settings of a run."""

    model: ModelSettings = ModelSettings()
    data: DataSettings = DataSettings()
    graph: GraphSettings = GraphSettings()
    vectors: VectorSettings = VectorSettings()
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
