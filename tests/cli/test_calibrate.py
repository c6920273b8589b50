"""``cotag calibrate``, and that a model, ``evaluate``, ``decide`` and ``report`` use what it saves."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cotag.evaluation.calibration import METHODS
from cotag.types.labels import LabelSpace
from cotag.types.scores import Scores


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    """Logits that are three times too sure."""
    random = np.random.default_rng(0)
    true = random.normal(-1, 1.5, (300, 2))
    targets = (random.random(true.shape) < 1 / (1 + np.exp(-true))).astype(np.int8)
    found = Scores([f"{n}.jpg" for n in range(300)], 3 * true, targets, "logit", LabelSpace(("cat", "dog")))
    found.save(tmp_path / "scores.parquet")
    return tmp_path / "scores.parquet"


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A run that may be changed."""
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("method", METHODS)
def test_it_says_the_honest_value_beside_the_naive_one(cotag: Callable[..., Any], scores: Path, method: str) -> None:
    found = json.loads(cotag("calibrate", scores, "--method", method, "--json").out)
    before = json.loads(cotag("evaluate", scores, "--json").out)
    assert found["before"]["ECE"] == pytest.approx(before["metrics"]["ECE"], abs=1e-6)
    assert found["before"]["Brier"] == pytest.approx(before["metrics"]["Brier"], abs=1e-6)
    assert found["naive"]["Brier"] < found["cross_fitted"]["Brier"] < found["before"]["Brier"]
    assert found["Brier_difference_interval"][1] < 0
    shown = " ".join(cotag("calibrate", scores, "--method", method).out.split())
    for name, key in (("cross-fitted (honest)", "cross_fitted"), ("on its own images (naive)", "naive")):
        assert f"after, {name} {found[key]['ECE']:.4f} {found[key]['Brier']:.4f}" in shown
    assert "Calibrated, probabilities of new images are better" in shown


def test_scores_are_judged_through_a_saved_calibration(cotag: Callable[..., Any], scores: Path, tmp_path: Path) -> None:
    saved, after = tmp_path / "c.json", tmp_path / "after.parquet"
    found = json.loads(cotag("calibrate", scores, "--method", "platt", "--out", saved, "--json").out)
    assert json.loads(saved.read_text()) == found["calibration"]
    ran = cotag("evaluate", scores, "--calibration", saved, "--out", after, "--json")
    value = json.loads(ran.out)
    assert value["metrics"]["Brier"] == pytest.approx(found["naive"]["Brier"])
    assert value["origin"]["calibration"].startswith("platt:")
    before = json.loads(cotag("evaluate", scores, "--json").out)["metrics"]
    assert value["metrics"]["mAP"] == pytest.approx(before["mAP"])
    assert "calibrated already" in cotag("calibrate", after, "--method", "platt").error
    assert "calibrated already" in cotag("evaluate", after, "--calibration", saved).error
    raw, own = tmp_path / "raw.json", tmp_path / "own.json"
    assert cotag("decide", scores, "--objective", "OF1", "--out", raw).code == 0
    assert cotag("decide", after, "--objective", "OF1", "--out", own).code == 0
    assert "these have platt:" in cotag("evaluate", after, "--decision", raw).error
    assert cotag("evaluate", after, "--decision", own).code == 0
    assert "exists already" in cotag("calibrate", scores, "--method", "platt", "--out", saved).error


def test_a_model_gives_calibrated_probabilities(cotag: Callable[..., Any], run: Path, pictures: Path) -> None:
    choose, picture = run / "scores" / "choose.parquet", pictures.parent / "p02.png"
    test = run / "scores" / "test.parquet"
    raw = Scores.load(test)
    before = test.read_bytes()
    options = ["--objective", "OF1", "--rule", "threshold", "--folds", "3", "--model", run]
    assert cotag("decide", choose, *options).code == 0
    labels = json.loads(cotag("predict", run, picture, "--format", "jsonl").out)["labels"]
    ran = cotag("calibrate", choose, "--method", "temperature", "--folds", "3", "--model", run, "--json")
    assert "its decision was carried over: every image is given the same labels as before" in ran.err
    factor = next(iter(json.loads(ran.out)["calibration"]["slopes"].values()))
    found = json.loads(cotag("predict", run, picture, "--format", "jsonl").out)
    logits = raw.scores_NK[raw.ids.index("p02.png")]
    assert list(found["scores"].values()) == pytest.approx(1 / (1 + np.exp(-factor * logits)), abs=1e-4)
    assert found["labels"] == labels
    assert test.read_bytes() == before

    judged = cotag("evaluate", run, pictures, "--json")
    again = cotag("evaluate", test, "--decision", run, "--json")
    assert f"the scores were written before {run} was calibrated" in again.err
    one, other = json.loads(judged.out), json.loads(again.out)
    assert one["origin"]["calibration"] == other["origin"]["calibration"]
    for name in ("mAP", "OF1", "ECE", "Brier"):
        assert one["metrics"][name] == pytest.approx(other["metrics"][name], abs=1e-3)
    ran = cotag("decide", choose, *options)
    assert (ran.code, "written before" in ran.err) == (0, True)
    assert "calibration" in json.loads((run / "model" / "settings.json").read_text())["decision"]["fitted"]
    page = run / "again.html"
    ran = cotag("report", test, "--model", run, "--resamples", 0, "--out", page)
    assert (ran.code, "written before" in ran.err) == (0, True)


def test_a_dropped_decision_is_told(cotag: Callable[..., Any], run: Path, pictures: Path) -> None:
    choose = run / "scores" / "choose.parquet"
    assert cotag("decide", choose, "--objective", "OF1", "--folds", "3", "--model", run).code == 0
    ran = cotag("calibrate", choose, "--method", "isotonic", "--folds", "3", "--model", run)
    assert "was fitted on other scores and cannot be carried over" in ran.err
    found = json.loads(cotag("predict", run, pictures.parent / "p02.png", "--format", "jsonl").out)
    assert set(found["labels"]) == {name for name, value in found["scores"].items() if value >= 0.5}


def test_what_cannot_be_is_one_line_and_changes_nothing(
    cotag: Callable[..., Any], scores: Path, run: Path, tmp_path: Path
) -> None:
    before = (run / "model" / "settings.json").read_bytes()
    cases: list[tuple[list[object], str]] = [
        ([scores, "--method", "plat"], "calibration 'plat' is not known; did you mean platt"),
        ([scores, "--method", "platt", "--folds", 1000], "300 images cannot be put into 1000 folds"),
        ([scores, "--method", "platt", "--model", run], "the label spaces differ"),
        ([scores, "--method", "platt", "--model", tmp_path], "holds no model"),
        ([tmp_path / "none.parquet", "--method", "platt"], "there is no such file"),
    ]
    for arguments, said in cases:
        assert said in cotag("calibrate", *arguments).error, arguments
    assert (run / "model" / "settings.json").read_bytes() == before
    assert cotag("calibrate", scores).code == 2
