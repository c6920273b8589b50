"""What pixels are normalized by: names become numbers, of the images that train."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cotag.data.read import read
from cotag.data.splits import assign_roles
from cotag.errors import ImageError, SettingError
from cotag.inference.predictor import load
from cotag.recipe import Recipe
from cotag.run import normalization
from cotag.run.model import make_tagger
from cotag.run.normalization import with_numbers
from cotag.run.train import train
from cotag.types.progress import Silent

DATA = ["data.mean=data", "data.std=data"]


class Said(Silent):
    """Keeps the news."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COTAG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def resolved(data: Path, *overrides: str) -> tuple[Any, list[str]]:
    recipe, index, said = Recipe.load("quick", overrides), read(data), Said()
    found = with_numbers(recipe, index, assign_roles(index, choose=recipe.data.choose), said)
    return found.data, said.lines


def by_hand(files: list[Path]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation over all pixels, in doubles."""
    pixels = np.concatenate([np.asarray(Image.open(file).convert("RGB"), dtype=float).reshape(-1, 3) for file in files])
    return (pixels.mean(0) / 255).tolist(), (pixels.std(0) / 255).tolist()


def test_names_that_need_no_pixels() -> None:
    recipe = Recipe.load("quick", ["data.mean=imagenet", "data.std=imagenet"])
    found = with_numbers(recipe, None, None, Silent())  # type: ignore[arg-type]
    assert found.data.mean == (0.485, 0.456, 0.406)
    assert found.data.std == (0.229, 0.224, 0.225)
    own = with_numbers(Recipe.load("quick", ["data.mean=model", "data.std=[1, 2, 3]"]), None, None, Silent())  # type: ignore[arg-type]
    assert (own.data.mean, own.data.std) == (None, (1, 2, 3))


@pytest.mark.parametrize("roles", ["train and choose", "train"])
def test_those_of_the_data_are_of_the_images_that_train(pictures: Path, roles: str) -> None:
    overrides = [] if roles == "train and choose" else ["train.refit=false"]
    found, said = resolved(pictures, *DATA, *overrides)
    index = read(pictures)
    given = assign_roles(index)
    rows = given.train if roles == "train" else [*given.train, *given.choose]
    mean, std = by_hand([index.image(int(row)) for row in rows])
    assert found.mean == pytest.approx(mean, abs=6e-6)
    assert found.std == pytest.approx(std, abs=6e-6)
    shown = f"mean {' '.join(f'{value:.3f}' for value in mean)}; std {' '.join(f'{value:.3f}' for value in std)}"
    assert said == [f"pixels: {shown}, of the {len(rows)} images that train"]
    half, _ = resolved(pictures, "data.mean=data", "data.std=[1, 1, 1]", *overrides)
    assert (half.mean, half.std) == (found.mean, (1, 1, 1))


def test_they_are_computed_once(
    draw: Callable[..., Path], tmp_path: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = draw(tmp_path / "pictures", 12)
    first, _ = resolved(data, *DATA)
    with monkeypatch.context() as patched:
        patched.setattr(normalization, "scan", lambda *args, **options: pytest.fail("looked at the pictures again"))
        again, said = resolved(data, *DATA)
    assert (again.mean, again.std) == (first.mean, first.std)
    assert said[0].startswith("pixels: mean ")
    # What is damaged is computed anew, and so is what belongs to other pictures.
    (kept,) = (empty_cache / "pixels").glob("*.json")
    kept.write_text("{}")
    assert resolved(data, *DATA)[0].mean == first.mean
    Image.new("RGB", (48, 48), "white").save(tmp_path / "pictures" / "p00.png")
    assert resolved(data, *DATA)[0].mean != first.mean


def test_a_sample_of_many(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(normalization, "SAMPLE", 10)
    found, said = resolved(pictures, *DATA)
    assert said[0].endswith("of a seeded sample of 10 of the 40 images that train")
    assert resolved(pictures, *DATA, "train.seed=7")[0].mean == found.mean
    monkeypatch.setattr(normalization, "SAMPLE", 2000)
    whole, _ = resolved(pictures, *DATA)
    assert found.mean != whole.mean
    assert found.mean == pytest.approx(whole.mean, abs=0.02)


def test_the_model_and_the_recipe_of_a_run_hold_the_numbers(
    pictures: Path, tiny: list[str], tmp_path: Path, empty_cache: Path
) -> None:
    said = Said()
    train(pictures, "quick", tmp_path / "run", [*tiny, *DATA], progress=said)
    saved = Recipe.load(tmp_path / "run" / "recipe.yaml").data
    assert isinstance(saved.mean, tuple)
    preprocessing = load(tmp_path / "run").tagger.preprocessing
    assert (preprocessing.mean, preprocessing.std) == (saved.mean, saved.std)
    assert sum(line.startswith("pixels: ") for line in said.lines) == 1
    # The numbers and their name are the same features, other numbers are not.
    numbers = [f"data.{name}={list(getattr(saved, name))}" for name in ("mean", "std")]
    train(pictures, "quick", tmp_path / "same", [*tiny, *numbers])
    assert len(list((empty_cache / "features").glob("test_resnet-*"))) == 1
    train(pictures, "quick", tmp_path / "other", [*tiny, "data.mean=imagenet", "data.std=imagenet"])
    folders = sorted((empty_cache / "features").glob("test_resnet-*"))
    means = [json.loads((folder / "about.json").read_text())["preprocessing"]["mean"] for folder in folders]
    assert sorted(means) == sorted([list(saved.mean), [0.485, 0.456, 0.406]])


def test_pictures_that_say_nothing(
    draw: Callable[..., Path], table: Callable[..., Path], tmp_path: Path, tiny: list[str]
) -> None:
    data = draw(tmp_path / "pictures", 12)
    names = [row[0] for row in csv.reader(data.open(newline=""))][1:]
    for name in names:
        Image.new("RGB", (8, 8), (10, 20, 30)).save(data.parent / name)
    with pytest.raises(SettingError, match="the same value in all pixels"):
        resolved(data, *DATA)
    for name in names:
        (data.parent / name).write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"none of 8 images can be read; the first: "):
        resolved(data, *DATA)


def test_a_model_without_data_cannot_have_those_of_the_data(tiny: list[str]) -> None:
    from cotag.types.labels import LabelSpace

    with pytest.raises(SettingError, match=r"data.mean = data: .*; give 3 numbers"):
        make_tagger(Recipe.load("quick", [*tiny, *DATA]), LabelSpace(("a", "b")))
