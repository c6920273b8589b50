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

GROUPED = ("mAP_head", "mAP_middle", "mAP_tail")


@pytest.fixture(scope="module")
def result(trained: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((trained / "result.json").read_text())["test"]
    return found


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Whether two results have the same numbers, those of groups aside, which scores alone do not have."""
    one, other = ({k: v for k, v in found["metrics"].items() if k not in GROUPED} for found in (first, second))
    return one == pytest.approx(other, abs=1e-4)


def test_a_scores_file_gives_the_result_of_the_run(
    cotag: Callable[..., Any], trained: Path, pictures: Path, result: dict[str, Any]
) -> None:
    ran = cotag("evaluate", trained / "scores" / "test.parquet", "--json")
    found = json.loads(ran.out)
    grouped = {name: found["metrics"].get(name) for name in result["metrics"] if name in GROUPED}
    assert set(grouped.values()) == {None}
    assert {**found["metrics"], **{name: result["metrics"][name] for name in GROUPED}} == result["metrics"]
    own = json.loads(cotag("evaluate", trained / "scores" / "test.parquet", "--train", pictures, "--json").out)
    assert {key: own[key] for key in result} == result
    assert (found["images"], found["origin"]["split"]) == (20, "test")
    assert ran.err == ""


@pytest.mark.parametrize("inner", ["", "model"])
def test_a_model_on_its_data_gives_the_result_of_the_run(
    cotag: Callable[..., Any], trained: Path, pictures: Path, result: dict[str, Any], inner: str
) -> None:
    ran = cotag("evaluate", trained / inner, pictures, "--json")
    found = json.loads(ran.out)
    assert same(found, result)
    assert [label["group"] for label in found["labels"]] == [label["group"] for label in result["labels"]]
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
        cotag("evaluate", tmp_path / "scores.parquet", "--train", pictures).out
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
    protocol = result["protocol"].replace("groups by training images: head above 100, tail under 20; ", "")
    assert protocol != result["protocol"]
    assert f"Protocol: {protocol}." in text
    assert f"mAP {result['metrics']['mAP']:.4f}" in text
    assert np.isclose(result["metrics"]["mAP"], np.mean([label["AP"] for label in result["labels"]]))


def test_labels_are_grouped_by_what_trained(
    cotag: Callable[..., Any], trained: Path, pictures: Path, tmp_path: Path
) -> None:
    scores = trained / "scores" / "test.parquet"
    rows = [row for row in csv.DictReader(pictures.open(newline="")) if row["split"] == "train"]
    counts = {name: sum(name in row["labels"].split("|") for row in rows) for name in ("blue", "green", "red")}
    most, middle, least = sorted(counts, key=lambda name: -counts[name])
    assert counts[most] > counts[middle] > counts[least]
    borders = f"{counts[middle]},{counts[middle]}"
    for given in (borders, "terciles"):
        found = json.loads(cotag("evaluate", scores, "--train", pictures, "--groups", given, "--json").out)
        assert {label["label"]: label["group"] for label in found["labels"]} == {
            most: "head",
            middle: "middle",
            least: "tail",
        }
        ap = {label["label"]: label["AP"] for label in found["labels"]}
        assert [found["metrics"][name] for name in GROUPED] == [ap[most], ap[middle], ap[least]]
    # Without a split that trains, every image counts.
    whole = write_whole(pictures, tmp_path / "whole.csv")
    ran = cotag("evaluate", scores, "--train", whole, "--read", f"images={pictures.parent}", "--groups", "terciles")
    assert "terciles by training images" in " ".join(ran.out.split())
    assert "--groups needs --train" in cotag("evaluate", scores, "--groups", "5,2").error
    for wrong in ("20,100", "many", "1,2,3"):
        assert "such as 100,20" in cotag("evaluate", scores, "--train", pictures, "--groups", wrong).error
    fewer = tmp_path / "fewer.csv"
    fewer.write_text("image,labels\np00.png,red\n")
    ran = cotag("evaluate", scores, "--train", fewer, "--read", f"images={pictures.parent}")
    assert "has no label blue, green; --train must be the data of these labels" in ran.error


def write_whole(pictures: Path, path: Path) -> Path:
    rows = list(csv.reader(pictures.open(newline="")))
    with path.open("w", newline="") as handle:
        csv.writer(handle).writerows(row[:2] for row in rows)
    return path


def test_an_option_changes_the_protocol_and_is_told(cotag: Callable[..., Any], trained: Path) -> None:
    scores = trained / "scores" / "test.parquet"
    plain = json.loads(cotag("evaluate", scores, "--json").out)
    options = ["--option", "average_precision=voc_envelope", "--option", "top_k=1", "--option", "top_k_rule=score"]
    found = json.loads(cotag("evaluate", scores, *options, "--json").out)
    assert found["metrics"]["mAP"] >= plain["metrics"]["mAP"]
    assert "mR@1" in found["metrics"]
    assert found["protocol"] != plain["protocol"]
    assert "did you mean average_precision" in cotag("evaluate", scores, "--option", "average_precison=exact").error
    assert "did you mean exact" in cotag("evaluate", scores, "--option", "average_precision=exakt").error
    assert "key=value" in cotag("evaluate", scores, "--option", "exact").error.lower()


def test_a_decision_is_judged_on_other_scores(
    cotag: Callable[..., Any], trained: Path, pictures: Path, tmp_path: Path
) -> None:
    choose, test = (trained / "scores" / f"{role}.parquet" for role in ("choose", "test"))
    saved = tmp_path / "decision.json"
    assert cotag("decide", choose, "--objective", "mR@2", "--folds", "3", "--out", saved).code == 0
    found = json.loads(cotag("evaluate", test, "--decision", saved, "--json").out)
    assert "among the 2 highest" in found["protocol"]
    plain = json.loads(cotag("evaluate", test, "--json").out)
    assert found["metrics"]["mAP"] == plain["metrics"]["mAP"]
    assert found["metrics"]["CR"] != plain["metrics"]["CR"]
    of_model = json.loads(cotag("evaluate", test, "--decision", trained, "--json").out)
    assert of_model["metrics"] == plain["metrics"]
    on_data = json.loads(cotag("evaluate", trained, pictures, "--decision", saved, "--json").out)
    assert same(on_data, found)
    assert "there is no such file" in cotag("evaluate", test, "--decision", tmp_path / "none.json").error
