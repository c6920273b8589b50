"""``cotag evaluate``: a run's scores, anyone's scores, and a model on data."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cotag.data.read import read
from cotag.types.scores import Scores
from cotag.types.scores_csv import write_csv_pair


@pytest.fixture(scope="module")
def result(trained: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((trained / "result.json").read_text())["test"]
    return found


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return first["metrics"] == pytest.approx(second["metrics"], abs=1e-4)


def test_a_scores_file_gives_the_result_of_the_run(
    cotag: Callable[..., Any], trained: Path, result: dict[str, Any]
) -> None:
    ran = cotag("evaluate", trained / "scores" / "test.parquet", "--json")
    found = json.loads(ran.out)
    assert {key: found[key] for key in result} == result
    assert (found["images"], found["origin"]["split"]) == (20, "test")
    assert ran.err == ""


@pytest.mark.parametrize("inner", ["", "model"])
def test_a_model_on_its_data_gives_the_result_of_the_run(
    cotag: Callable[..., Any], trained: Path, pictures: Path, result: dict[str, Any], inner: str
) -> None:
    ran = cotag("evaluate", trained / inner, pictures, "--json")
    assert same(json.loads(ran.out), result)
    assert "judged on the images that judged in the run: 20 images" in ran.err


def test_a_pair_of_csv_files(cotag: Callable[..., Any], trained: Path, result: dict[str, Any], tmp_path: Path) -> None:
    scores = Scores.load(trained / "scores" / "test.parquet")
    pair = ["--scores", tmp_path / "s.csv", "--targets", tmp_path / "t.csv"]
    write_csv_pair(scores, *pair[1::2])
    assert same(json.loads(cotag("evaluate", *pair, "--kind", "logit", "--json").out), result)
    assert "--kind" in cotag("evaluate", *pair).error
    assert "must be a probability" in cotag("evaluate", *pair, "--kind", "probability").error
    assert "'odds'" in cotag("evaluate", *pair, "--kind", "odds").error
    assert "no MODEL" in cotag("evaluate", trained, *pair, "--kind", "logit").error
    probabilities = Scores(scores.ids, scores.probabilities(), scores.targets_NK, "probability", scores.label_space)
    write_csv_pair(probabilities, *pair[1::2])
    assert same(json.loads(cotag("evaluate", *pair, "--kind", "probability", "--json").out), result)


def test_data_with_its_labels_in_another_order(
    cotag: Callable[..., Any], trained: Path, pictures: Path, table: Callable[..., Path], result: dict[str, Any]
) -> None:
    rows = sorted(list(csv.reader(pictures.open(newline="")))[1:], key=lambda row: row[1], reverse=True)
    other = table(pictures.parent / "reversed.csv", rows)
    assert read(other, order="seen").label_space.names == ("red", "green", "blue")
    ran = cotag("evaluate", trained, other, "--read", "order=seen", "--json")
    found = json.loads(ran.out)
    assert same(found, result)
    assert [label["label"] for label in found["labels"]] == ["blue", "green", "red"]


def test_data_with_other_labels(
    cotag: Callable[..., Any], trained: Path, pictures: Path, table: Callable[..., Path]
) -> None:
    rows = [[row[0], row[1].replace("red", "crimson"), row[2]] for row in csv.reader(pictures.open(newline=""))][1:]
    ran = cotag("evaluate", trained, table(pictures.parent / "others.csv", rows))
    assert "only the model has: red; only the data have: crimson" in ran.error
    assert ran.out == ""


def test_the_split_and_the_scores_are_kept(
    cotag: Callable[..., Any], trained: Path, pictures: Path, tmp_path: Path
) -> None:
    ran = cotag("evaluate", trained, pictures, "--split", "train", "--out", tmp_path / "scores.parquet", "--json")
    scores = Scores.load(tmp_path / "scores.parquet")
    assert json.loads(ran.out)["images"] == len(scores) == 40
    assert scores.kind == "logit"
    assert "40 of them trained this model" in ran.err
    assert (
        cotag("evaluate", tmp_path / "scores.parquet").out
        == cotag("evaluate", trained, pictures, "--split", "train").out
    )


def test_the_threshold_of_the_model_judges(
    cotag: Callable[..., Any], pictures: Path, set_tiny: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    trained = cotag("train", pictures, *set_tiny, "--set", "decide.threshold=0.9", "--out", out, "--json")
    judged = cotag("evaluate", out, pictures, "--json")
    assert "probability >= 0.9" in judged.out
    assert same(json.loads(judged.out), json.loads(trained.out))


def test_a_bad_picture_stops_or_is_counted(
    cotag: Callable[..., Any], trained: Path, draw: Callable[..., Path], tmp_path: Path
) -> None:
    data = draw(tmp_path)
    (tmp_path / "p02.png").write_bytes(b"no picture")
    assert "p02.png (row 2): is no image" in cotag("evaluate", trained, data).error
    ran = cotag("evaluate", trained, data, "--skip-bad", "--json")
    assert json.loads(ran.out)["images"] == 19
    assert "left out, since they could not be read: 1 of 20 images" in ran.err


def test_the_table_names_the_protocol(cotag: Callable[..., Any], trained: Path, result: dict[str, Any]) -> None:
    ran = cotag("evaluate", trained / "scores" / "test.parquet")
    text = " ".join(ran.out.split())
    assert f"Protocol: {result['protocol']}." in text
    assert f"mAP {result['metrics']['mAP']:.4f}" in text
    assert np.isclose(result["metrics"]["mAP"], np.mean([label["AP"] for label in result["labels"]]))
