from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from cotag.errors import LabelSpaceError, WeightsError
from cotag.models.bundle import SETTINGS, WEIGHTS, load_tagger, model_folder, read_settings, save_tagger
from cotag.models.tagger import Tagger, build_tagger
from cotag.types.labels import LabelSpace

SPACE = LabelSpace(("cat", "dog", "owl"), (3, 1, 2))
DECISION = {"rule": "threshold", "threshold": 0.25}


@pytest.fixture
def tagger() -> Tagger:
    torch.manual_seed(0)
    prepare = {"image_size": 32, "resize": "crop", "mean": (0.1, 0.2, 0.3)}
    return build_tagger(SPACE, "test_resnet", "linear", {"global_pool": "max"}, "none", {"pooling": "gem"}, prepare)


@pytest.fixture
def folder(tagger: Tagger, tmp_path: Path) -> Path:
    save_tagger(tagger, tmp_path / "model", DECISION, {"data": "scenes"})
    return tmp_path / "model"


def test_a_saved_tagger_gives_the_same_logits(tagger: Tagger, folder: Path) -> None:
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    loaded, about = load_tagger(folder)
    assert not loaded.training
    assert torch.equal(loaded(images).logits_BK, tagger.eval()(images).logits_BK)
    assert loaded.label_space == SPACE
    assert loaded.preprocessing == tagger.preprocessing
    assert about["decision"] == DECISION
    assert about["origin"] == {"data": "scenes"}


def test_a_tagger_in_another_memory_layout_is_saved_alike(tagger: Tagger, folder: Path, tmp_path: Path) -> None:
    save_tagger(tagger.to(memory_format=torch.channels_last), tmp_path / "other", DECISION, {})
    first, second = load_file(folder / WEIGHTS), load_file(tmp_path / "other" / WEIGHTS)
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_saving_again_replaces_the_model_whole(tagger: Tagger, folder: Path) -> None:
    (folder / "old").touch()
    save_tagger(tagger, folder, {"rule": "threshold", "threshold": 0.75}, {})
    assert sorted(path.name for path in folder.iterdir()) == [SETTINGS, WEIGHTS]
    assert read_settings(folder)["decision"]["threshold"] == 0.75


def cut(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: len(content) // 2])


def lose(folder: Path) -> None:
    (folder / WEIGHTS).unlink()


@pytest.mark.parametrize("damage", [cut, lose])
def test_damaged_weights_are_refused(folder: Path, damage: Callable[[Path], None]) -> None:
    damage(folder)
    with pytest.raises(WeightsError, match=r"weights.safetensors: cannot be read \(.*\); train or copy"):
        load_tagger(folder)


def change(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    about = json.loads((folder / SETTINGS).read_text())
    edit(about)
    (folder / SETTINGS).write_text(json.dumps(about))


@pytest.mark.parametrize(
    "edit",
    [
        lambda about: about["label_space"]["names"].reverse(),
        lambda about: about["label_space"]["names"].__setitem__(0, "cow"),
        lambda about: about["label_space"].update(hash="0" * 16),
    ],
)
def test_edited_labels_are_refused(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    change(folder, edit)
    with pytest.raises(LabelSpaceError, match=r"settings.json: the label names were changed"):
        load_tagger(folder)


@pytest.mark.parametrize(
    "edit",
    [
        lambda about: about.update(backbone="test_efficientnet", backbone_args={}),
        lambda about: about.update(head_args={"pooling": "avg"}),
        lambda about: about.update(label_space=LabelSpace(("cat", "dog")).to_json()),
    ],
)
def test_weights_and_settings_that_do_not_fit_are_refused(
    folder: Path, edit: Callable[[dict[str, Any]], object]
) -> None:
    change(folder, edit)
    with pytest.raises(WeightsError, match=r"weights and settings.json do not fit: .*; copy both files together"):
        load_tagger(folder)


@pytest.mark.parametrize("key", ["backbone", "head_args", "preprocessing", "label_space", "decision"])
def test_missing_settings_are_named(folder: Path, key: str) -> None:
    change(folder, lambda about: about.pop(key))
    with pytest.raises(WeightsError, match=f"settings.json: lacks {key};"):
        read_settings(folder)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{broken", "is not JSON"),
        ('{"cotag_model": 2}', r"not a model of this version \(cotag_model = 2"),
        ("{}", r"not a model of this version \(cotag_model = None"),
        ("[1]", "not a model of this version"),
    ],
)
def test_settings_of_something_else_are_refused(folder: Path, text: str, said: str) -> None:
    (folder / SETTINGS).write_text(text)
    with pytest.raises(WeightsError, match=said):
        read_settings(folder)


def test_a_folder_without_a_model(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"nowhere: holds no model \(settings.json is missing\)"):
        load_tagger(tmp_path / "nowhere")
    with pytest.raises(WeightsError, match="holds no model"):
        load_tagger(folder / WEIGHTS)


def test_the_model_of_a_run_folder(folder: Path) -> None:
    assert model_folder(folder.parent) == folder
    assert model_folder(folder) == folder


def test_the_weights_may_be_read_by_whoever_may_read_the_settings(folder: Path) -> None:
    modes = {(folder / name).stat().st_mode for name in (SETTINGS, WEIGHTS)}
    assert len(modes) == 1
