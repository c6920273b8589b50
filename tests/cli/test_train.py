"""``cotag train``: options reach the recipe, and what is printed is what was found."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cotag.recipe import Recipe


def test_what_is_printed_is_the_result(
    cotag: Callable[..., Any], pictures: Path, set_tiny: list[str], tmp_path: Path
) -> None:
    ran = cotag("train", pictures, *set_tiny, "--set", "train.seed=5", "--out", tmp_path / "run")
    assert ran.code == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())["test"]
    lines = [line.split() for line in ran.out.splitlines()]
    for name in ("mAP", "CP", "CR", "CF1", "OP", "OR", "OF1"):
        assert [name, f"{result['metrics'][name]:.4f}"] in [line[:2] for line in lines]
    chance = ["mAP", "of", "chance", "(label", "prevalence)", f"{result['metrics']['chance_mAP']:.4f}"]
    assert chance in [line[:6] for line in lines]
    for label in result["labels"]:
        line = next(line for line in lines if line and line[0] == label["label"])
        assert line[1:3] == [label["group"], str(label["positives"])]
        assert f"{label['AP']:.4f}" in line
    first = [line[0] for line in lines if len(line) > 1]
    assert {"mAP_head", "mAP_middle", "mAP_tail", "macro_F1", "mR@3"} <= set(first)
    assert not {"subset_accuracy", "mR@3_zero", "CF1@3", "Brier"} & set(first)
    assert " ".join(ran.out.split()).count("more numbers: the report, and --json.") == 1
    assert result["coverage"] in " ".join(ran.out.split())
    assert f"report: {tmp_path / 'run' / 'report.html'}" in ran.out
    assert "judges: split test, 20 images" in ran.err
    assert Recipe.load(tmp_path / "run" / "recipe.yaml").train.seed == 5


def test_a_recipe_file_and_its_name(
    cotag: Callable[..., Any], pictures: Path, set_tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("train: {weight_decay: 1e-1}\nmodel: {head_args: {pooling: max}}\n")
    assert cotag("train", pictures, "--recipe", "mine.yaml", *set_tiny).code == 0
    recipe = Recipe.load(tmp_path / "runs" / "mine-1" / "recipe.yaml")
    assert (recipe.train.weight_decay, recipe.model.head_args) == (0.1, {"pooling": "max"})


@pytest.mark.parametrize("separator", ["|", ":", "#", "'", "- ", "{"])
def test_reader_options_are_text_and_no_yaml(
    cotag: Callable[..., Any], pictures: Path, set_tiny: list[str], tmp_path: Path, separator: str
) -> None:
    rows = list(csv.reader(pictures.open(newline="")))
    other = pictures.parent / f"{tmp_path.name}.csv"
    with other.open("w", newline="") as handle:
        csv.writer(handle).writerows([[row[0], row[1].replace("|", separator), *row[2:]] for row in rows])
    ran = cotag("train", other, "--read", f"separator={separator}", *set_tiny, "--out", tmp_path / "run", "--json")
    assert ran.code == 0
    assert [label["label"] for label in json.loads(ran.out)["labels"]] == ["blue", "green", "red"]
    assert Recipe.load(tmp_path / "run" / "recipe.yaml").data.read == {"separator": separator}


def test_resume_takes_the_data_alone(
    cotag: Callable[..., Any], pictures: Path, set_tiny: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    first = cotag("train", pictures, *set_tiny, "--out", out, "--json")
    again = cotag("train", pictures, "--resume", out, "--json")
    assert again.code == 0
    assert json.loads(again.out)["metrics"] == json.loads(first.out)["metrics"]
    for extra in (["--out", out], ["--recipe", "quick"], ["--set", "train.seed=1"], ["--read", "order=name"]):
        assert "--resume goes on with the recipe and folder" in cotag("train", pictures, "--resume", out, *extra).error


def test_a_label_spelled_two_ways_is_said_once(
    cotag: Callable[..., Any], pictures: Path, set_tiny: list[str], tmp_path: Path
) -> None:
    rows = list(csv.reader(pictures.open(newline="")))
    rows = [[row[0], row[1].replace("red", "Red") if n % 2 else row[1], row[2]] for n, row in enumerate(rows)]
    other = pictures.parent / f"{tmp_path.name}.csv"
    with other.open("w", newline="") as handle:
        csv.writer(handle).writerows(rows)
    for command in (["train", other, *set_tiny, "--out", tmp_path / "run"], ["evaluate", tmp_path / "run", other]):
        ran = cotag(*command)
        assert ran.code == 0
        assert ran.err.count("look like one label spelled differently") == 1
        assert "'Red'" in ran.err
        assert "CotagWarning" not in ran.err


def test_a_final_run_takes_data_and_settings_of_the_run(
    cotag: Callable[..., Any], pictures: Path, set_tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    small = ["--set", "train.refit=false", "--set", "train.seed=7"]
    assert cotag("train", pictures, *set_tiny, *small, "--out", "runs/first").code == 0
    ran = cotag("train", "--final", "runs/first")
    assert ran.code == 0
    assert "final run of runs/first: the head is fitted once more" in ran.err
    assert "model:  runs/first-final-1" in ran.out
    assert Recipe.load(tmp_path / "runs" / "first-final-1" / "recipe.yaml").train.seed == 7
    assert "runs/first-final-1: is a final run itself" in cotag("train", "--final", "runs/first-final-1").error
    for extra in (["--recipe", "quick"], ["--set", "train.seed=1"], ["--read", "a=b"], ["--resume", "runs/first"]):
        assert "--final takes the settings that the run had" in cotag("train", "--final", "runs/first", *extra).error
    assert "is the run itself" in cotag("train", "--final", "runs/first", "--out", "runs/first", "--force").error


def test_without_data_and_run_there_is_nothing_to_train_on(cotag: Callable[..., Any]) -> None:
    ran = cotag("train", "--recipe", "quick")
    assert ran.code == 2
    assert "--final RUN" in ran.err
