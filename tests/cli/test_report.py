"""``cotag report``: any scores as a page; a model and data add to it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cotag.types.labels import LabelSpace
from cotag.types.scores import Scores

ALWAYS = ["Test", "Labels", "Label counts against AP", "Precision and recall", "Calibration", "Thresholds"]
ALWAYS += ["Confusion between labels"]
GALLERY = ["Best pictures", "Worst pictures", "Confidently wrong"]
LEARNING = "Choice of the regularization"


def titles(page: Path) -> list[str]:
    return re.findall(r'<h2 id="section-\d+">(.*?)</h2>', page.read_text("utf-8"))


@pytest.fixture
def scores(trained: Path) -> Path:
    return trained / "scores" / "test.parquet"


def test_scores_alone_are_enough(cotag: Callable[..., Any], scores: Path, tmp_path: Path) -> None:
    shutil.copy(scores, tmp_path / "s.parquet")
    ran = cotag("report", tmp_path / "s.parquet", "--out", tmp_path / "r.html")
    assert (ran.code, ran.out, ran.err) == (0, f"report: {tmp_path / 'r.html'}\n", "")
    assert titles(tmp_path / "r.html") == ALWAYS
    assert "bootstrap interval" in (tmp_path / "r.html").read_text("utf-8")


def test_data_add_pictures(cotag: Callable[..., Any], scores: Path, pictures: Path, tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    ran = cotag("report", scores, "--data", f"table:{pictures}", "--out", page, "--resamples", 0)
    assert ran.code == 0
    assert titles(page) == ALWAYS + GALLERY
    assert '<img src="data:image/jpeg;base64,' in page.read_text("utf-8")
    assert "bootstrap" not in page.read_text("utf-8")


def test_a_run_adds_its_decision_its_history_and_its_pictures(
    cotag: Callable[..., Any], trained: Path, scores: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    settings = json.loads((run / "model" / "settings.json").read_text("utf-8"))
    settings["decision"] = {"rule": "top_k", "k": 1}
    (run / "model" / "settings.json").write_text(json.dumps(settings))
    ran = cotag("report", scores, "--model", run, "--out", tmp_path / "r.html", "--json")
    assert titles(tmp_path / "r.html") == [*ALWAYS[:2], LEARNING, *ALWAYS[2:], *GALLERY]
    found = {section["title"]: section for section in json.loads(ran.out)["sections"]}
    assert "among the 1 highest" in found["Test"]["text"]
    assert all(row["training"] > 0 for row in found["Labels"]["rows"])
    assert "was chosen" in found[LEARNING]["text"]


def test_a_run_whose_data_are_gone_is_told(
    cotag: Callable[..., Any], trained: Path, scores: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    about = json.loads((run / "data.json").read_text("utf-8"))
    (run / "data.json").write_text(json.dumps({**about, "source": str(tmp_path / "gone.csv")}))
    ran = cotag("report", scores, "--model", run, "--out", tmp_path / "r.html")
    assert ran.code == 0
    assert "the data of the run cannot be read" in ran.err
    assert "gone.csv" in ran.err
    assert titles(tmp_path / "r.html") == [*ALWAYS[:2], LEARNING, *ALWAYS[2:]]


def test_a_report_is_not_overwritten_unasked(cotag: Callable[..., Any], scores: Path, tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    page.write_text("mine")
    assert "--force" in cotag("report", scores, "--out", page).error
    assert page.read_text() == "mine"
    assert cotag("report", scores, "--out", page, "--force").code == 0
    assert page.read_text("utf-8") != "mine"


def save(path: Path, names: tuple[str, ...], ids: list[str]) -> Path:
    random = np.random.default_rng(0)
    shape = (len(ids), len(names))
    targets_NK = random.integers(0, 2, shape).astype(np.int8)
    Scores(ids, random.random(shape, dtype=np.float32), targets_NK, "probability", LabelSpace(names)).save(path)
    return path


def test_what_does_not_fit_is_one_line(
    cotag: Callable[..., Any], trained: Path, scores: Path, pictures: Path, tmp_path: Path
) -> None:
    page = tmp_path / "r.html"
    other = save(tmp_path / "other.parquet", ("red", "pink"), ["a", "b", "c"])
    strangers = save(tmp_path / "strangers.parquet", ("red", "green", "blue"), ["a", "b", "c"])
    broken = tmp_path / "broken.parquet"
    broken.write_text("no scores")
    cases: list[tuple[list[object], str]] = [
        ([tmp_path / "none.parquet"], "there is no such file"),
        ([broken], "is not a scores file"),
        ([other, "--model", trained], "give the model that made the scores"),
        ([scores, "--model", tmp_path], "holds no model"),
        ([strangers, "--data", pictures], "has none of the 3 images, such as 'a'"),
        ([scores, "--data", tmp_path / "none.csv"], "none.csv"),
        ([scores, "--read", "order=name"], "--read is for the reader of --data"),
        ([scores, "--resamples", 5], "resamples = 5"),
    ]
    for arguments, said in cases:
        assert said in cotag("report", *arguments, "--out", page).error, arguments
    assert not page.exists()


def test_one_image_and_one_label(cotag: Callable[..., Any], tmp_path: Path) -> None:
    path = save(tmp_path / "one.parquet", ("<b>",), ["<i>"])
    assert cotag("report", path, "--out", tmp_path / "r.html").code == 0
    assert titles(tmp_path / "r.html") == ALWAYS
    assert "<b>" not in (tmp_path / "r.html").read_text("utf-8").partition("<script>")[0]
