"""The predictor: what it says of pictures is what the model's scores and decision say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from cotag.data.images import open_image
from cotag.errors import CotagError, ImageError, LabelSpaceError, WeightsError
from cotag.evaluation.decision import Decision
from cotag.inference.predictor import TaggerPredictor, load
from cotag.types.scores import Scores


@pytest.fixture(scope="module")
def predictor(trained: Path) -> TaggerPredictor:
    return load(trained)


@pytest.fixture(scope="module")
def saved(trained: Path) -> Scores:
    return Scores.load(trained / "scores" / "test.parquet")


@pytest.fixture(scope="module")
def paths(pictures: Path, saved: Scores) -> list[Path]:
    return [pictures.parent / name for name in saved.ids]


def test_it_says_what_the_run_found(predictor: TaggerPredictor, saved: Scores, paths: list[Path]) -> None:
    found = list(predictor.predict(paths))
    assert [one.image for one in found] == [str(path) for path in paths]
    assert all(tuple(one.scores) == saved.label_space.names for one in found)
    probabilities = np.array([list(one.scores.values()) for one in found])
    np.testing.assert_allclose(probabilities, saved.probabilities(), atol=1e-4)
    given = np.array([[name in one.labels for name in saved.label_space.names] for one in found])
    assert np.array_equal(given, saved.scores_NK >= 0)
    assert 0 < given.mean() < 1
    for one in found:
        assert one.labels == sorted(one.labels, key=lambda name: -one.scores[name])
        assert one.error == ""


def test_a_threshold_decides(predictor: TaggerPredictor, paths: list[Path]) -> None:
    few, many = (
        [one.labels for one in TaggerPredictor(predictor.tagger, Decision("threshold", limit)).predict(paths)]
        for limit in (0.9, 0.1)
    )
    assert all(set(labels) <= set(more) for labels, more in zip(few, many, strict=True))
    assert sum(map(len, few)) < sum(map(len, many))


def test_the_batch_size_changes_nothing(predictor: TaggerPredictor, paths: list[Path]) -> None:
    def scores(size: int) -> np.ndarray:
        return np.array([list(one.scores.values()) for one in predictor.predict(paths, size)])

    np.testing.assert_allclose(scores(7), scores(32), atol=1e-5)
    np.testing.assert_allclose(scores(1), scores(32), atol=1e-5)


def test_predictions_come_as_they_are_ready(predictor: TaggerPredictor, paths: list[Path], tmp_path: Path) -> None:
    first = next(predictor.predict([paths[0], tmp_path / "missing.png"], batch_size=1))
    assert first.labels is not None
    assert first.image == str(paths[0])


def test_the_protocol_scores_opened_pictures(predictor: TaggerPredictor, saved: Scores, paths: list[Path]) -> None:
    assert predictor.kind == "logit"
    assert predictor.label_space == saved.label_space
    logits = predictor.score([open_image(path) for path in paths[:3]])
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, saved.scores_NK[:3], atol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_a_bad_picture_stops_or_is_given_with_its_error(
    predictor: TaggerPredictor, paths: list[Path], tmp_path: Path, batch_size: int
) -> None:
    bad, missing = tmp_path / "bad.png", tmp_path / "missing.png"
    bad.write_bytes(b"no picture")
    given = [paths[0], bad, paths[1], missing]
    with pytest.raises(ImageError, match=r"bad\.png"):
        list(predictor.predict(given, batch_size))
    found = list(predictor.predict(given, batch_size, skip_bad=True))
    assert [one.image for one in found] == [str(path) for path in given]
    assert [bool(one.error) for one in found] == [False, True, False, True]
    assert "is no image" in found[1].error
    assert "there is no such file" in found[3].error
    assert (found[1].labels, found[1].scores) == ([], {})
    alone = next(predictor.predict([paths[1]]))
    assert found[2].labels == alone.labels
    assert found[2].scores == pytest.approx(alone.scores, abs=1e-5)


def test_nothing_but_bad_pictures(predictor: TaggerPredictor, tmp_path: Path) -> None:
    assert [bool(one.error) for one in predictor.predict([tmp_path / "a.png"] * 3, skip_bad=True)] == [True] * 3
    assert list(predictor.predict([])) == []


@pytest.mark.parametrize("inner", ["", "model"])
def test_a_run_folder_or_its_model_folder_is_loaded(trained: Path, inner: str, paths: list[Path]) -> None:
    predictor = load(trained / inner)
    assert not predictor.tagger.training
    assert next(predictor.predict(paths[:1])).scores


def test_only_the_model_folder_is_needed(trained: Path, paths: list[Path], saved: Scores, tmp_path: Path) -> None:
    shutil.copytree(trained / "model", tmp_path / "elsewhere")
    found = next(load(tmp_path / "elsewhere").predict(paths[:1]))
    np.testing.assert_allclose(list(found.scores.values()), saved.probabilities()[0], atol=1e-4)


@pytest.mark.parametrize(
    ("file", "kind", "part"),
    [
        ("weights.safetensors", WeightsError, "cannot be read"),
        ("settings.json", WeightsError, "settings.json"),
        ("label names", LabelSpaceError, "the label names were changed"),
        ("everything", WeightsError, "holds no model"),
    ],
)
def test_a_damaged_model_is_refused_by_name(
    trained: Path, tmp_path: Path, file: str, kind: type[CotagError], part: str
) -> None:
    model = tmp_path / "model"
    if file != "everything":
        shutil.copytree(trained / "model", model)
    if file == "label names":
        path = model / "settings.json"
        about = json.loads(path.read_text())
        about["label_space"]["names"].reverse()
        path.write_text(json.dumps(about))
    elif file != "everything":
        content = (model / file).read_bytes()
        (model / file).write_bytes(content[: len(content) // 2])
    with pytest.raises(kind, match=part) as caught:
        load(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)
