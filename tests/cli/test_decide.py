"""The verb ``decide``: what it prints, what it saves, and that a model decides by it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cotag.types.labels import LabelSpace
from cotag.types.scores import Scores


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A run that may be changed."""
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    targets = (random.random((150, 4)) < (0.5, 0.3, 0.2, 0.1)).astype(np.int8)
    values = (random.normal(size=targets.shape) + 2 * targets - 2).astype(np.float32)
    space = LabelSpace(("cat", "dog", "owl", "yak"))
    Scores([f"{n}.jpg" for n in range(150)], values, targets, "logit", space).save(tmp_path / "scores.parquet")
    return tmp_path / "scores.parquet"


def test_it_says_the_honest_value_and_the_gap(cotag: Callable, scores: Path) -> None:
    found = json.loads(cotag("decide", scores, "--objective", "CF1", "--json").out)
    assert found["gap"] == pytest.approx(found["naive"]["value"] - found["cross_fitted"]["value"])
    assert set(found["plain"]) == {"threshold 0.5", "top 3"}
    low, high = found["cross_fitted"]["interval"]
    assert low < found["cross_fitted"]["value"] < high
    shown = cotag("decide", scores, "--objective", "CF1").out
    assert f"{found['cross_fitted']['value']:.4f}" in shown
    assert f"too good by about {found['gap']:.4f}" in shown
    assert "Decision: a label is given at its own threshold" in shown


@pytest.mark.parametrize(
    "options",
    [
        ["OF1", "--rule", "threshold"],
        ["macro_F1", "--shrinkage", "0"],
        ["mR@2"],
        ["mR@2", "--rule", "group_offset", "--infrequent", "yak", "--infrequent", "owl"],
        ["mR@2", "--rule", "group_multiplier"],
        ["mR@2", "--rule", "group_multiplier", "--multiplier", "1.2", "--infrequent", "yak"],
        ["mR@2", "--rule", "label_multipliers", "--shrinkage", "3"],
        ["OF1", "--rule", "top_k_and_threshold", "--k", "2"],
        ["precision", "--at-least", "0.8"],
        ["cost", "--false-negative", "5", "--folds", "3", "--seed", "7"],
    ],
    ids=" ".join,
)
def test_every_objective_and_rule(cotag: Callable, scores: Path, tmp_path: Path, options: list[str]) -> None:
    ran = cotag("decide", scores, "--objective", *options, "--out", tmp_path / "decision.json", "--json")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert json.loads((tmp_path / "decision.json").read_text()) == found["decision"]
    assert ("bound" in found["naive"]) == (options[0] == "precision")
    assert cotag("decide", scores, "--objective", *options).code == 0


def test_mean_recall_after_multipliers_is_what_evaluate_and_compare_say(
    cotag: Callable, scores: Path, tmp_path: Path
) -> None:
    out = tmp_path / "decision.json"
    options = ("--objective", "mR@1", "--rule", "group_multiplier", "--infrequent", "yak", "--infrequent", "owl")
    fitted = json.loads(cotag("decide", scores, *options, "--out", out, "--json").out)
    judge = ("evaluate", scores, "--k", "1", "--json", "--no-intervals")
    with_it, without = (json.loads(cotag(*judge, *more).out)["metrics"] for more in (("--decision", out), ()))
    assert fitted["naive"]["value"] == pytest.approx(with_it["mR@1"])
    assert with_it["mR@1"] == pytest.approx(with_it["CR"])
    assert with_it["mR@1"] > without["mR@1"]
    copy = tmp_path / "copy.parquet"
    shutil.copy(scores, copy)
    # The k of a comparison is 3: the same decision with 3 places.
    three = json.loads(out.read_text()) | {"k": 3}
    out.write_text(json.dumps(three))
    compared = cotag("compare", scores, copy, "--metric", "mR@3", "--decision", out, "--json")
    wanted = json.loads(cotag("evaluate", scores, "--decision", out, "--json", "--no-intervals").out)["metrics"]
    assert json.loads(compared.out)["baseline_value"] == pytest.approx(wanted["mR@3"])
    assert "of 2 of 4 labels were multiplied" in json.loads(compared.out)["protocol"]


def test_a_model_decides_by_it(cotag: Callable, run: Path, pictures: Path) -> None:
    picture = pictures.parent / "p00.png"
    before = json.loads((run / "model" / "settings.json").read_text())
    ran = cotag("decide", run / "scores" / "choose.parquet", "--objective", "mR@2", "--folds", "3", "--model", run)
    assert ran.code == 0, ran.err
    assert "predict and evaluate use it" in ran.out
    after = json.loads((run / "model" / "settings.json").read_text())
    assert after.pop("decision")["rule"] == "top_k"
    assert before.pop("decision")["rule"] == "threshold"
    assert after == before
    assert len(json.loads(cotag("predict", run, picture, "--format", "jsonl").out)["labels"]) == 2
    assert "among the 2 highest" in cotag("evaluate", run, pictures, "--json").out


def test_other_labels_are_refused_and_the_model_stays(cotag: Callable, run: Path, scores: Path) -> None:
    before = (run / "model" / "settings.json").read_bytes()
    error = cotag("decide", scores, "--objective", "OF1", "--model", run).error
    assert "the label spaces differ" in error
    assert (run / "model" / "settings.json").read_bytes() == before


def test_a_changed_label_space_of_the_model_is_refused(cotag: Callable, run: Path, pictures: Path) -> None:
    cotag("decide", run / "scores" / "choose.parquet", "--objective", "OF1", "--folds", "3", "--model", run)
    path = run / "model" / "settings.json"
    about = json.loads(path.read_text())
    about["label_space"] = LabelSpace(("red", "green", "blue")).to_json()
    path.write_text(json.dumps(about))
    assert "label spaces differ" in cotag("predict", run, pictures.parent / "p00.png").error


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["CF2"], "objective 'CF2' is not known; did you mean CF1"),
        (["mR"], "give mR@ and how many labels count, such as mR@3"),
        (["mR@3", "--k", "2"], "leave --k out"),
        (["precision"], "objective precision with at_least = None"),
        (["precision", "--at-least", "1.5"], "at_least = 1.5"),
        (["CF1", "--at-least", "0.5"], "objective CF1 has no bound"),
        (["CF1", "--false-negative", "2"], "objective CF1 has no costs"),
        (["cost", "--false-negative", "-1"], "costs 1 and -1"),
        (["CF1", "--folds", "1000"], "150 images cannot be put into 1000 folds"),
        (["mR@3", "--rule", "group_multiplier", "--multiplier", "0"], "multiplier = 0: give a number above 0"),
        (["mR@3", "--rule", "group_multiplier", "--multiplier", "-1"], "multiplier = -1: give a number above 0"),
        (["mR@3", "--multiplier", "2"], "rule label_offsets takes no multiplier"),
        (["mR@3", "--evaluated-only"], "and all of these labels are evaluated; leave it out"),
        (["CF1", "--rule", "top"], "rule 'top' is not known; did you mean top_k"),
    ],
)
def test_what_cannot_be_is_one_line(cotag: Callable, scores: Path, options: list[str], said: str) -> None:
    assert said in cotag("decide", scores, "--objective", *options).error


def test_nothing_is_overwritten(cotag: Callable, scores: Path, tmp_path: Path) -> None:
    out = tmp_path / "decision.json"
    out.write_text("mine")
    assert "exists already" in cotag("decide", scores, "--objective", "OF1", "--out", out).error
    assert out.read_text() == "mine"
    assert cotag("decide", scores, "--objective", "OF1", "--out", out, "--force").code == 0
    assert "logit_thresholds" in json.loads(out.read_text())
