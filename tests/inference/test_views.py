"""Views of a picture that are averaged: against one view after the other, done by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cotag.data.images import open_image
from cotag.data.read import read
from cotag.errors import SettingError
from cotag.evaluation.calibration import Calibration, fit_calibration
from cotag.evaluation.decision import Decision
from cotag.inference.predictor import TaggerPredictor, load
from cotag.inference.scoring import score_index
from cotag.inference.views import Views, parse_scales
from cotag.models.tagger import build_tagger
from cotag.types.labels import LabelSpace
from cotag.types.progress import Silent
from cotag.types.scores import Scores

SCALES = (0.75, 1.0, 1.5)


@pytest.fixture(scope="module")
def predictor(trained: Path) -> TaggerPredictor:
    return load(trained)


@pytest.fixture(scope="module")
def paths(pictures: Path) -> list[Path]:
    return sorted(pictures.parent.glob("*.png"))[:7]


def by_hand(predictor: TaggerPredictor, paths: list[Path], flip: bool, scales: tuple[float, ...]) -> np.ndarray:
    """Logits of each view of each picture alone, then their mean."""
    tagger, rows = predictor.tagger, []
    for path in paths:
        views = []
        for scale in scales:
            side = round(scale * tagger.preprocessing.image_size)
            pixels = replace(tagger.preprocessing, image_size=side)(open_image(path))
            for view in (pixels, pixels[:, :, ::-1])[: 2 if flip else 1]:
                with torch.inference_mode():
                    views.append(tagger(torch.from_numpy(view.copy())[None]).logits_BK[0].numpy())
        rows.append(np.mean(views, axis=0))
    return np.array(rows)


@pytest.mark.parametrize(("flip", "scales"), [(False, (1.0,)), (True, (1.0,)), (False, SCALES), (True, SCALES)])
def test_logits_are_the_mean_of_those_of_each_view(
    predictor: TaggerPredictor, pictures: Path, paths: list[Path], flip: bool, scales: tuple[float, ...]
) -> None:
    wanted = by_hand(predictor, paths, flip, scales)
    found = list(predictor.predict(paths, 4, flip=flip, scales=scales))
    probabilities = np.array([list(one.scores.values()) for one in found])
    np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(-wanted)), atol=1e-5)
    index = read(pictures)
    rows = np.array([index.ids.index(path.name) for path in paths])
    scores, _ = score_index(predictor, index, rows, Silent(), workers=0, views=Views(flip, scales))
    assert scores.kind == "logit"
    assert not predictor.tagger.training
    np.testing.assert_allclose(scores.scores_NK, wanted, atol=1e-4)
    if flip or len(scales) > 1:
        assert np.abs(wanted - by_hand(predictor, paths, False, (1.0,))).max() > 0.01


def test_pictures_that_cannot_be_read_are_left_out_of_all_scales(
    predictor: TaggerPredictor, draw: Callable[..., Path], tmp_path: Path
) -> None:
    table = draw(tmp_path / "bad", 9)
    (table.parent / "p04.png").write_bytes(b"")
    index = read(table)
    rows = np.arange(9)[::-1].copy()
    scores, skipped = score_index(predictor, index, rows, Silent(), "skip", 0, views=Views(True, SCALES))
    assert list(skipped) == [4]
    readable = [row for row in rows if row != 4]
    assert scores.ids == index.ids_of(readable)
    wanted = by_hand(predictor, [table.parent / name for name in scores.ids], True, SCALES)
    np.testing.assert_allclose(scores.scores_NK, wanted, atol=1e-4)
    found = list(predictor.predict([index.image(4), index.image(3)], skip_bad=True, flip=True, scales=SCALES))
    assert [bool(one.error) for one in found] == [True, False]


def test_a_calibration_is_applied_to_the_mean(
    predictor: TaggerPredictor, trained: Path, pictures: Path, paths: list[Path]
) -> None:
    calibration: Calibration = fit_calibration(Scores.load(trained / "scores" / "choose.parquet"), "platt")
    calibrated = TaggerPredictor(predictor.tagger, Decision(), calibration)
    logits = by_hand(predictor, paths, True, SCALES).astype(np.float32)
    unknown = np.full(logits.shape, -1, dtype=np.int8)
    names = [path.name for path in paths]
    wanted = calibration.apply(Scores(names, logits, unknown, "logit", predictor.label_space)).probabilities()
    found = [list(one.scores.values()) for one in calibrated.predict(paths, flip=True, scales=SCALES)]
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_a_backbone_of_one_size_takes_no_other() -> None:
    space = LabelSpace(("a", "b"))
    size = {"image_size": 160}
    fixed = build_tagger(space, "test_vit", "linear", {"dynamic_img_size": False}, preprocessing=size)
    predictor = TaggerPredictor(fixed, Decision())
    with pytest.raises(SettingError) as caught:
        predictor.predict(["a.png"], scales=(0.5, 1))
    said = str(caught.value)
    assert said.startswith("scales: 0.5 makes pictures of 80 pixels, which backbone test_vit does not take (")
    assert said.endswith("; take scale 1 alone")
    assert "\n" not in said
    Views(True, (1.0,)).require(fixed)
    dynamic = build_tagger(space, "test_vit", "linear", {"dynamic_img_size": True}, preprocessing=size)
    Views(True, (0.5, 1.0)).require(dynamic)


@pytest.mark.parametrize(
    ("scales", "said"),
    [
        ((), "scales: given none"),
        ((0.0,), "scales: given 0;"),
        ((1.0, 99.0), "scales: given 99;"),
        ((1.0, float("nan")), "scales: given nan;"),
        ((1.0, 1.0), "scales: given 1, 1, where one stands twice"),
    ],
)
def test_scales_that_cannot_be(scales: tuple[float, ...], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        Views(False, scales)


def test_scales_as_text() -> None:
    assert parse_scales("0.875,1, 1.125") == (0.875, 1.0, 1.125)
    with pytest.raises(SettingError, match="--scales 'big': give numbers"):
        parse_scales("big")


def test_the_commands_take_views(
    cotag: Callable[..., Any],
    predictor: TaggerPredictor,
    trained: Path,
    pictures: Path,
    paths: list[Path],
    tmp_path: Path,
) -> None:
    views = ("--flip", "--scales", "0.75,1,1.5")
    wanted = by_hand(predictor, paths[:2], True, SCALES)
    ran = cotag("predict", trained, *paths[:2], *views, "--format", "jsonl")
    assert (ran.code, ran.err) == (0, "")
    probabilities = np.array([list(json.loads(line)["scores"].values()) for line in ran.out.splitlines()])
    np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(-wanted)), atol=1e-4)
    saved = tmp_path / "views.parquet"
    ran = cotag("evaluate", trained, pictures, "--split", "all", *views, "--out", saved, "--intervals")
    assert ran.code == 0, ran.err
    assert "averaged over 6 views of each picture (scales 0.75, 1, 1.5, each also mirrored)" in ran.err
    scores = Scores.load(saved)
    place = scores.ids.index(paths[1].name)
    np.testing.assert_allclose(scores.scores_NK[place], wanted[1], atol=1e-4)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["evaluate", "SCORES", "--flip"], "--flip and --scales are for MODEL DATA"),
        (["predict", "RUN", "PICTURE", "--scales", "x"], "--scales 'x': give numbers"),
        (
            ["predict", "RUN", "psg:x.json", "--flip", "--format", "psg-submission"],
            "are not for --format psg-submission",
        ),
    ],
)
def test_views_where_there_are_none(
    cotag: Callable[..., Any], trained: Path, paths: list[Path], words: list[str], said: str
) -> None:
    places = {"RUN": trained, "SCORES": trained / "scores" / "test.parquet", "PICTURE": paths[0]}
    assert said in cotag(*(places.get(word, word) for word in words)).error
