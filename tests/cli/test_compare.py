"""``cotag compare``, and the intervals of ``cotag evaluate``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cotag.types.labels import LabelSpace
from cotag.types.scores import Scores


def save(path: Path, strength: float, seed: int = 0, labels: str = "abcd", images: int = 80) -> Path:
    targets = (np.random.default_rng(0).random((images, len(labels))) < 0.3).astype(np.int8)
    logits = np.random.default_rng(seed).normal(size=targets.shape) + strength * targets
    Scores([f"{row}.jpg" for row in range(images)], logits, targets, "logit", LabelSpace(tuple(labels))).save(path)
    return path


@pytest.fixture
def weak(tmp_path: Path) -> Path:
    return save(tmp_path / "weak.parquet", 0.5, 1)


@pytest.fixture
def strong(tmp_path: Path) -> Path:
    return save(tmp_path / "strong.parquet", 3.0, 2)


def test_the_verdict_in_words_and_as_json(cotag: Callable[..., Any], weak: Path, strong: Path) -> None:
    ran = cotag("compare", weak, strong)
    text = " ".join(ran.out.split())
    assert "strong.parquet is better than" in text
    assert "Protocol: default (exact AP" in text
    assert "1000 random swaps" in text
    value = json.loads(cotag("compare", weak, strong, "--baseline", strong, "--metric", "CF1", "--json").out)
    assert (value["metric"], value["baseline"], value["images"]) == ("CF1", str(strong), 80)
    (found,) = value["differences"]
    assert (found["name"], found["verdict"]) == (str(weak), "worse")
    assert found["interval"][0] < found["difference"] < found["interval"][1] < 0


def test_what_cannot_be_compared_is_one_line(
    cotag: Callable[..., Any], weak: Path, strong: Path, tmp_path: Path
) -> None:
    assert "the same names in another order" in cotag("compare", weak, save(tmp_path / "o.parquet", 1, 1, "bacd")).error
    fewer = save(tmp_path / "f.parquet", 1, 1, images=79)
    assert "1 image ids are in one only; the second has no 79.jpg" in cotag("compare", weak, fewer).error
    assert "did you mean mAP" in cotag("compare", weak, strong, "--metric", "map").error
    assert "baseline" in cotag("compare", weak, strong, "--baseline", "other").error
    assert "at least two Scores; given 1" in cotag("compare", weak).error
    assert "given twice" in cotag("compare", weak, weak).error
    assert "there is no such file" in cotag("compare", weak, tmp_path / "none.parquet").error
    assert "too few" in cotag("compare", weak, strong, "--resamples", "9").error


def test_evaluate_shows_intervals_unless_told_otherwise(cotag: Callable[..., Any], weak: Path) -> None:
    value = json.loads(cotag("evaluate", weak, "--json").out)
    assert {"mAP", "CF1", "OF1", "macro_F1", "mR@3", "CF1@3"} <= value["intervals"].keys()
    for name, (low, high) in value["intervals"].items():
        assert low <= value["metrics"][name] <= high
    assert "low" in cotag("evaluate", weak).out
    assert json.loads(cotag("evaluate", weak, "--no-intervals", "--json").out)["intervals"] == {}
    assert "low" not in cotag("evaluate", weak, "--no-intervals").out


def test_intervals_are_of_the_protocol_and_k_of_evaluate(cotag: Callable[..., Any], weak: Path) -> None:
    value = json.loads(cotag("evaluate", weak, "--protocol", "mlgcn", "--k", "2", "--json").out)
    assert {"CF1@2", "mR@2"} <= value["intervals"].keys() <= value["metrics"].keys()
    low, high = value["intervals"]["CF1@2"]
    assert low <= value["metrics"]["CF1@2"] <= high


def test_evaluate_says_when_it_leaves_intervals_out(
    cotag: Callable[..., Any], weak: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cotag.evaluation.uncertainty.MOST_IMAGES", 79)
    ran = cotag("evaluate", weak, "--json")
    assert json.loads(ran.out)["intervals"] == {}
    assert "80 images x 4 labels: no intervals; --intervals finds them" in ran.err
    asked = cotag("evaluate", weak, "--intervals", "--json")
    assert (json.loads(asked.out)["intervals"].keys() > {"mAP"}, asked.err) == (True, "")


def test_thresholds_are_compared_on_other_scores(
    cotag: Callable[..., Any], weak: Path, strong: Path, tmp_path: Path
) -> None:
    one, other = tmp_path / "one.json", tmp_path / "other.json"
    assert cotag("decide", strong, "--objective", "OF1", "--rule", "threshold", "--out", one).code == 0
    assert cotag("decide", weak, "--objective", "OF1", "--rule", "top_k", "--k", "1", "--out", other).code == 0

    def values(*options: object) -> list[float]:
        found = json.loads(cotag("compare", weak, strong, "--metric", "OF1", *options, "--json").out)
        return [found["baseline_value"], found["differences"][0]["value"]]

    judged = {
        (scores, place): json.loads(cotag("evaluate", scores, *place, "--no-intervals", "--json").out)["metrics"]["OF1"]
        for scores in (weak, strong)
        for place in ((), ("--decision", one), ("--decision", other))
    }
    assert values() == pytest.approx([judged[weak, ()], judged[strong, ()]])
    both = ("--decision", one)
    assert values(*both) == pytest.approx([judged[weak, both], judged[strong, both]])
    each = ("--decision", other, "--decision", one)
    assert values(*each) == pytest.approx([judged[weak, each[:2]], judged[strong, both]])
    assert len(set(judged.values())) == 6
    assert "changes nothing about mAP" in cotag("compare", weak, strong, *both).error
    assert "changes nothing about CF1@3" in cotag("compare", weak, strong, *both, "--metric", "CF1@3").error
    many = ["--decision", one] * 3
    assert "3 times for 2 SCORES" in cotag("compare", weak, strong, *many, "--metric", "OF1").error
    assert "mlgcn" in cotag("compare", weak, strong, *both, "--metric", "CF1@3", "--protocol", "mlgcn-top3").out
