"""Scores of a tagger on an Index: matched by name, in the order asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cotag.data.read import read
from cotag.errors import ImageError, LabelSpaceError
from cotag.inference.predictor import TaggerPredictor, load
from cotag.inference.scoring import columns_of, score_index
from cotag.types.index import Index
from cotag.types.labels import LabelSpace
from cotag.types.progress import Silent


@pytest.fixture(scope="module")
def predictor(trained: Path) -> TaggerPredictor:
    return load(trained)


def test_columns_are_found_by_name() -> None:
    model, data = LabelSpace(("a", "b", "c")), LabelSpace(("c", "a", "b"))
    assert columns_of(model, data).tolist() == [1, 2, 0]
    assert columns_of(model, model).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        (("a", "b"), ["only the model has: c"]),
        (("a", "b", "c", "d"), ["only the data have: d"]),
        (("a", "b", "C"), ["only the model has: c", "only the data have: C"]),
    ],
)
def test_other_labels_are_named(data: tuple[str, ...], parts: list[str]) -> None:
    with pytest.raises(LabelSpaceError) as caught:
        columns_of(LabelSpace(("a", "b", "c")), LabelSpace(data))
    for part in parts:
        assert part in str(caught.value)


def test_rows_are_scored_in_the_order_given(predictor: TaggerPredictor, pictures: Path) -> None:
    index = read(pictures)
    rows = np.array([40, 3, 17])
    scores, skipped = score_index(predictor, index, rows, Silent(), workers=0, origin="here")
    assert scores.ids == ["p40.png", "p03.png", "p17.png"]
    assert np.array_equal(scores.targets_NK, index.targets(rows))
    assert skipped == {}
    assert scores.origin["model"] == "here"
    backwards, _ = score_index(predictor, index, rows[::-1], Silent(), workers=0)
    np.testing.assert_allclose(backwards.scores_NK, scores.scores_NK[::-1], atol=1e-5)


def test_columns_unknown_and_difficult_labels_follow_the_names(predictor: TaggerPredictor, pictures: Path) -> None:
    columns = {
        "image": [str(pictures.parent / "p00.png")],
        "positives": [[0]],
        "unknowns": [[1]],
        "difficult": [[2]],
    }
    index = Index.build(columns, LabelSpace(("red", "blue", "green")))
    scores, _ = score_index(predictor, index, np.array([0]), Silent(), workers=0)
    assert scores.label_space.names == ("blue", "green", "red")
    assert scores.targets_NK.tolist() == [[-1, -1, 1]]


def test_an_image_that_cannot_be_read_stops_or_is_left_out(predictor: TaggerPredictor, pictures: Path) -> None:
    columns = {"image": [str(pictures.parent / name) for name in ("p00.png", "none.png")], "positives": [[0], [1]]}
    index = Index.build(columns, LabelSpace(("blue", "green", "red")))
    with pytest.raises(ImageError, match=r"none\.png \(row 1\)"):
        score_index(predictor, index, np.arange(2), Silent(), workers=0)
    scores, skipped = score_index(predictor, index, np.arange(2), Silent(), "skip", 0)
    assert scores.ids == [str(pictures.parent / "p00.png")]
    assert list(skipped) == [1]
    assert "none.png (row 1)" in skipped[1]


def test_no_image_that_can_be_read(predictor: TaggerPredictor) -> None:
    index = Index.build({"image": ["none.png"], "positives": [[0]]}, LabelSpace(("blue", "green", "red")))
    with pytest.raises(ImageError, match="none of the 1 images can be read"):
        score_index(predictor, index, np.arange(1), Silent(), "skip", 0)
