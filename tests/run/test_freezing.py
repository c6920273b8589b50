"""Runs whose backbone is frozen in part: what must not move does not, and resuming does not change that."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from cotag.errors import SettingError
from cotag.recipe import Recipe
from cotag.run.checks import check_recipe
from cotag.run.model import make_tagger
from cotag.run.train import train
from cotag.training.checkpoint import Checkpoints
from cotag.types.labels import LabelSpace
from cotag.types.progress import Silent

SETTINGS = [
    *("train.epochs=2", "train.batch_size=16", "train.warmup_epochs=0", "train.learning_rate=0.05"),
    *("data.augment=[]", "train.seed=3"),
]


class Said(Silent):
    """Keeps the news."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)


def weights(folder: Path) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = load_file(folder / "model" / "weights.safetensors")
    return found


def before(settings: list[str]) -> dict[str, np.ndarray]:
    """The weights and statistics that training begins with."""
    recipe = Recipe.load("scenes-tiny", settings)
    torch.manual_seed(recipe.train.seed)
    return {key: value.numpy() for key, value in make_tagger(recipe, LabelSpace(("a", "b", "c"))).state_dict().items()}


def moved(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> set[str]:
    assert first.keys() == second.keys()
    return {key for key in first if not np.array_equal(first[key], second[key])}


@pytest.mark.parametrize("average", [[], ["train.ema=0.9"]], ids=["last", "averaged"])
def test_frozen_weights_and_statistics_are_bit_equal_after_training(
    average: list[str], pictures: Path, tiny: list[str], tmp_path: Path
) -> None:
    settings = [*tiny, *SETTINGS, *average, "train.freeze=[stem, layer2]", "train.weight_decay=0.1"]
    said = Said()
    run = train(pictures, "scenes-tiny", tmp_path / "run", settings, progress=said)
    start, end = before(settings), weights(run.folder)
    kept = ("backbone.body.conv1.", "backbone.body.bn1.", "backbone.body.layer2.")
    assert {key for key in start if key.startswith(kept)} & {key for key in start if "running_var" in key}
    assert moved(start, end) == {key for key in start if not key.startswith(("scale", "shift", *kept))}
    assert any(line.startswith("frozen: ") for line in said.lines)


def test_a_rate_of_zero_is_the_same_as_freezing_the_backbone(pictures: Path, tiny: list[str], tmp_path: Path) -> None:
    ways = {"rate": ["train.backbone_rate=0"], "frozen": ["train.freeze=[backbone]"]}
    found = {name: weights(train(pictures, "scenes-tiny", tmp_path / name, [*tiny, *SETTINGS, *given]).folder)
             for name, given in ways.items()}  # fmt: skip
    assert moved(found["rate"], found["frozen"]) == set()
    assert moved(before([*tiny, *SETTINGS]), found["rate"]) == {"head.classifier.weight", "head.classifier.bias"}


def test_a_run_with_layers_and_frozen_parts_goes_on_bit_for_bit(
    pictures: Path, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = [*tiny, *SETTINGS, "train.freeze=[1]", "train.layer_decay=0.5", "train.ema=0.9"]
    whole = train(pictures, "scenes-tiny", tmp_path / "whole", settings).folder
    save = Checkpoints.save_last

    def until(self: Checkpoints, model: object, optimizer: object, state: object, *average: object) -> None:
        save(self, model, optimizer, state, *average)  # type: ignore[arg-type]
        if state.epoch == 1:  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save_last", until)
        with pytest.raises(KeyboardInterrupt):
            train(pictures, "scenes-tiny", tmp_path / "again", settings)
    train(pictures, resume=tmp_path / "again")
    assert moved(weights(whole), weights(tmp_path / "again")) == set()
    assert moved(before(settings), weights(whole))
    # Of the layers that train, the lowest is the first of layer2, which has 3 and the head above it.
    saved = torch.load(whole / "checkpoints" / "last" / "optimizer.pt", weights_only=True)["optimizer"]["param_groups"]
    head = saved[-1]["lr"]
    assert sorted({round(group["lr"] / head, 6) for group in saved}) == [0.125, 0.25, 0.5, 1.0]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["train.freeze=[backbone]", "train.layer_decay=0.8"], r"train\.layer_decay: train\.freeze = \[backbone\] fre"),
        (["train.freeze=[backbone]", "train.backbone_rate=0.1"], r"train\.backbone_rate: train\.freeze = \[backbone"),
        (["train.backbone_rate=0", "train.freeze=[stem]"], r"train\.freeze: train\.backbone_rate = 0 freezes all"),
        (["train.backbone_rate=0", "train.layer_decay=0.8"], r"train\.layer_decay: train\.backbone_rate = 0"),
        (["train.freeze=backbone"], "must be a list"),
        (["train.freeze=[true]"], "setting train.freeze"),
        (["train.layer_decay=0"], "setting train.layer_decay = 0"),
        (["train.layer_decay=1.1"], "setting train.layer_decay = 1.1"),
    ],
)
def test_settings_that_would_not_be_used_are_refused(settings: list[str], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        check_recipe(Recipe.load("scenes-tiny", settings))


@pytest.mark.parametrize("setting", ["train.freeze=[stem]", "train.layer_decay=0.8"])
def test_on_features_there_is_no_backbone_to_train(setting: str) -> None:
    with pytest.raises(SettingError, match=r"train\.mode = features does not use it"):
        check_recipe(Recipe.load("quick", [setting]))


def test_a_part_that_is_not_there_costs_nothing_of_the_folder(pictures: Path, tiny: list[str], tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises(SettingError, match="has no part 'layr2'"):
        train(pictures, "scenes-tiny", tmp_path, [*tiny, *SETTINGS, "train.freeze=[layr2]"], force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "result.json"]
