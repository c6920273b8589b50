"""Recipes: typed settings, overrides, YAML in and out, refusals that name the setting and the way out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cotag.errors import SettingError
from cotag.recipe import Recipe, presets
from cotag.run.checks import check_recipe


def refused(*overrides: str) -> str:
    with pytest.raises(SettingError) as caught:
        Recipe.load("quick", overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def value(override: str) -> Any:
    group, name = override.partition("=")[0].strip().split(".")[:2]
    return getattr(getattr(Recipe.load("quick", [override]), group), name)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.learning_rate=1e-3", 0.001),
        ("train.learning_rate=5", 5.0),
        ("train.weight_decay=auto", "auto"),
        ("train.weight_decay=1e-2", 0.01),
        ("train.epochs=7", 7),
        ("train.refit=false", False),
        ("train.clip_norm=null", None),
        ("train.optimizer_args.betas=[0.9, 0.99]", {"betas": [0.9, 0.99]}),
        ("train.optimizer_args={momentum: 0.8}", {"momentum": 0.8}),
        ("model.head_args.dropout=1e-1", {"pooling": "avg", "dropout": 0.1}),
        ("model.head_args.pooling=max", {"pooling": "max"}),
        ("model.weights=my file.safetensors", "my file.safetensors"),
        ("data.image_size=null", None),
        ("data.image_size=64", 64),
        ("data.mean=[0.5, 0.5, 0.5]", (0.5, 0.5, 0.5)),
        ("data.mean=imagenet", "imagenet"),
        ("data.std=data", "data"),
        ("data.augment=[flip, crop]", ("flip", "crop")),
        ("data.augment=[]", ()),
        ("data.augment=[flip, {crop: {smallest: 0.5}}]", ("flip", {"crop": {"smallest": 0.5}})),
        ("data.choose=0.25", 0.25),
        ("data.choose=val", "val"),
        ("data.workers=auto", "auto"),
        ("data.workers=0", 0),
        (" data.workers = 3 ", 3),
        ("data.read.images='a: b'", {"images": "a: b"}),
        ("data.read.order=name", {"order": "name"}),
    ],
)
def test_an_override_has_the_type_of_its_setting(override: str, expected: object) -> None:
    found = value(override)
    assert found == expected
    assert type(found) is type(expected)


def test_the_last_override_wins_and_the_others_stay() -> None:
    recipe = Recipe.load("quick", ["train.seed=1", "train.seed=2", "model.head_args.dropout=0.5"])
    assert recipe.train.seed == 2
    assert recipe.model.head_args == {"pooling": "avg", "dropout": 0.5}
    assert recipe.train.optimizer == "lbfgs"


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("train.epoch=3", ["train.epoch", "did you mean train.epochs?"]),
        ("trian.seed=3", ["trian.seed", "did you mean train.seed?"]),
        ("epochs=3", ["--set epochs"]),
        ("train=3", ["--set train"]),
        ("train.epochs.more=3", ["train.epochs.more"]),
        ("train.epochs", ["expected key=value"]),
        ("=3", ["expected key=value"]),
        ("train.epochs=many", ["train.epochs", "'many'", "a whole number"]),
        ("train.epochs=1.5", ["train.epochs", "1.5", "a whole number"]),
        ("train.epochs=true", ["train.epochs", "true or false"]),
        ("train.epochs=0", ["train.epochs", "0"]),
        ("train.refit=often", ["train.refit", "true or false"]),
        ("train.learning_rate=-1", ["train.learning_rate", "greater than 0"]),
        ("train.learning_rate=.nan", ["train.learning_rate", "nan"]),
        ("train.weight_decay=-1", ["train.weight_decay", "'auto'", "0"]),
        ("train.weight_decay=lots", ["train.weight_decay", "'auto'", "a number"]),
        ("train.seed=-1", ["train.seed"]),
        ("train.seed=5000000000", ["train.seed", "4294967294"]),
        ("train.choose_by=map", ["train.choose_by", "'mAP'", "'loss'"]),
        ("train.folds=0", ["train.folds"]),
        ("data.interpolation=cubic", ["data.interpolation", "'cubic'", "'bicubic'"]),
        ("data.augment=flip", ["data.augment", "'flip'", "a list"]),
        ("data.augment=[{crop: 0.5}]", ["data.augment", "a group of settings"]),
        ("data.mean=[0.5, 0.5]", ["data.mean", "3 numbers"]),
        ("data.mean=imagnet", ["data.mean", "'imagnet'", "a list, such as [a, b]", "'imagenet', 'data' or 'model'"]),
        ("data.image_size=4", ["data.image_size", "8"]),
        ("data.workers=-1", ["data.workers", "'auto'", "0"]),
        ("data.read=3", ["data.read", "a group of settings"]),
        ("model.backbone=3", ["model.backbone", "text"]),
        ("decide.threshold=1", ["decide.threshold", "less than 1"]),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_allowed(override: str, parts: list[str]) -> None:
    message = refused(override)
    for part in parts:
        assert part in message


def test_a_recipe_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("train: {learning_rate: 1e-2, optimizer: adamw}\ndata:\nmodel:\n  backbone: resnet18\n")
    recipe = Recipe.load(path, ["train.seed=4"])
    assert (recipe.train.learning_rate, recipe.train.optimizer, recipe.train.seed) == (0.01, "adamw", 4)
    assert recipe.model.backbone == "resnet18"
    assert recipe.data == Recipe().data


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (b"train: {epoch: 3}\n", "did you mean train.epochs?"),
        (b"trian: {epochs: 3}\n", "setting 'trian' is not known; did you mean train?"),
        (b"- train\n", "holds no settings"),
        (b"", "holds no settings"),
        (b"train: {epochs: 3\n", "is not YAML"),
        (b"\xff\xfe\x00\x01", "is not YAML"),
        (b"train: 3\n", "a group of settings"),
    ],
)
def test_a_wrong_recipe_file_is_named(tmp_path: Path, text: bytes, part: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(text)
    with pytest.raises(SettingError) as caught:
        Recipe.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(SettingError, match=r"recipe 'finetun' is neither a file nor a preset; did you mean finetune\?"):
        Recipe.load("finetun")


@pytest.mark.parametrize("name", presets())
@pytest.mark.parametrize(
    "overrides",
    [
        (),
        (
            "data.mean=[0.1, 0.25, 1e-7]",
            "data.augment=[flip, {crop: {smallest: 0.5}}]",
            "train.weight_decay=1e-5",
            "data.choose=0.125",
        ),
        ("data.read.separator=|", "model.backbone_args={a: [1, x], b: null}", "data.workers=2", "data.test=tést"),
    ],
)
def test_yaml_round_trip_equals(tmp_path: Path, name: str, overrides: tuple[str, ...]) -> None:
    recipe = Recipe.load(name, overrides)
    recipe.save(tmp_path / "recipe.yaml")
    assert Recipe.load(tmp_path / "recipe.yaml") == recipe
    assert Recipe.load(recipe) == recipe


WHOLE = ["train.mode=end_to_end", "train.optimizer=adamw", "train.weight_decay=0"]
CONTRADICTIONS = {
    "views without augmentations": (["data.views=2"], ["data.views = 2", "name augmentations"]),
    "views end to end": (
        [
            "train.mode=end_to_end",
            "train.optimizer=adamw",
            "train.weight_decay=0",
            "data.augment=[flip]",
            "data.views=2",
        ],
        ["data.views = 2", "each epoch augments anew", "train.mode=features"],
    ),
    "lbfgs end to end": (["train.mode=end_to_end"], ["lbfgs", "adamw or sgd"]),
    "weight decay auto end to end": (
        ["train.mode=end_to_end", "train.optimizer=adamw"],
        ["train.weight_decay = auto", "give a number"],
    ),
    "folds without lbfgs": (["train.optimizer=sgd", "train.folds=3"], ["train.folds", "lbfgs"]),
    "folds of one without lbfgs": (["train.optimizer=sgd", "train.folds=1"], ["train.folds", "lbfgs"]),
    "backbone rate on features": (["train.backbone_rate=0.1"], ["train.backbone_rate", "train.mode=end_to_end"]),
    "refit end to end": (
        ["train.mode=end_to_end", "train.optimizer=adamw", "train.weight_decay=0", "train.refit=false"],
        ["train.refit", "train.mode=features"],
    ),
    "loop settings with lbfgs": (
        ["train.learning_rate=0.1", "train.patience=3"],
        ["train.learning_rate and train.patience", "lbfgs", "adamw or sgd"],
    ),
    "optimizer settings with lbfgs": (["train.optimizer_args.momentum=0.9"], ["train.optimizer_args", "lbfgs"]),
    "unknown loss": (["train.loss=bca"], ["'bca'", "did you mean bce?"]),
    "loss settings": (["train.optimizer=sgd", "train.loss_args.gamma=2"], ["loss bce", "'gamma'"]),
    "unknown optimizer": (["train.optimizer=asgd"], ["'asgd'", "did you mean sgd?"]),
    "unknown optimizer setting": (
        ["train.optimizer=sgd", "train.optimizer_args.momentun=1"],
        ["'momentun'", "did you mean momentum?"],
    ),
    "unknown schedule": (["train.schedule=cosin"], ["'cosin'", "did you mean cosine?"]),
    "unknown head": (["model.head=lineer"], ["'lineer'", "did you mean linear?"]),
    "unknown head setting": (["model.head_args.poolling=avg"], ["'poolling'", "did you mean pooling?"]),
    "unknown setting of an augmentation": (["data.augment=[{flip: {chanc: 1}}]"], ["'chanc'", "did you mean chance?"]),
    "setting of an augmentation out of its range": (["data.augment=[{flip: {chance: 2}}]"], ["chance = 2", "0 to 1"]),
    "mixture on features": (["data.mix=mixup"], ["data.mix = mixup", "train.mode=end_to_end"]),
    "unknown mixture": (
        [*WHOLE, "data.mix=mixap"],
        ["'mixap'", "did you mean mixup?"],
    ),
    "settings of no mixture": (
        [*WHOLE, "data.mix_args.alpha=1"],
        ["data.mix_args", "data.mix = none"],
    ),
    "unknown setting of a mixture": (
        [
            "train.mode=end_to_end",
            "train.optimizer=adamw",
            "train.weight_decay=0",
            "data.mix=mixup",
            "data.mix_args.alpa=1",
        ],
        ["'alpa'", "did you mean alpha?"],
    ),
    "a loss that takes no shares": (
        [
            "train.mode=end_to_end",
            "train.optimizer=adamw",
            "train.weight_decay=0",
            "data.mix=cutmix",
            "train.loss=asymmetric",
        ],
        ["data.mix = cutmix", "which loss asymmetric does not take", "bce"],
    ),
    "unknown augmentation": (
        ["train.mode=end_to_end", "train.optimizer=adamw", "train.weight_decay=0", "data.augment=[flop]"],
        ["'flop'", "did you mean flip?"],
    ),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_contradictory_settings_are_refused(name: str) -> None:
    overrides, parts = CONTRADICTIONS[name]
    recipe = Recipe.load("quick", overrides)
    with pytest.raises(SettingError) as caught:
        check_recipe(recipe)
    for part in parts:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("folds", ["null", "1", "2", "7"])
def test_folds_are_for_lbfgs(folds: str) -> None:
    check_recipe(Recipe.load("quick", [f"train.folds={folds}"]))
