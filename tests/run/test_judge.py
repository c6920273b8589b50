"""Judging a saved model on data: which images, and whether the labels fit."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cotag.errors import DataError, ImageError, LabelSpaceError
from cotag.run.judge import score_model
from cotag.types.progress import Silent
from cotag.types.scores import Scores


class Said(Silent):
    """Keeps the news."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)


def judged(model: Path, data: Path, split: str | None = None, skip_bad: bool = False) -> tuple[Scores, str]:
    said = Said()
    scores = score_model(str(model), str(data), {}, split, skip_bad, said).scores
    return scores, "\n".join(said.lines)


def rows_of(table: Path) -> list[list[str]]:
    return list(csv.reader(table.open(newline="")))[1:]


@pytest.mark.parametrize("inner", ["", "model"])
def test_the_images_that_judged_in_the_run_judge_again(inner: str, trained: Path, pictures: Path) -> None:
    scores, said = judged(trained / inner, pictures)
    saved = Scores.load(trained / "scores" / "test.parquet")
    assert scores.ids == saved.ids
    assert np.array_equal(scores.targets_NK, saved.targets_NK)
    assert "the images that judged in the run: 20 images" in said
    assert "too good" not in said


@pytest.mark.parametrize(("split", "images", "seen"), [("all", 60, 40), ("train", 40, 40), ("test", 20, 0)])
def test_a_split_is_judged_and_images_that_trained_are_told(
    split: str, images: int, seen: int, trained: Path, pictures: Path
) -> None:
    scores, said = judged(trained, pictures, split)
    assert len(scores) == images
    assert (f"{seen} of them trained this model" in said) == (seen > 0)


def test_other_images_are_all_judged(trained: Path, pictures: Path, table: Callable[..., Path], tmp_path: Path) -> None:
    rows = []
    for name, labels, _ in rows_of(pictures):
        shutil.copy(pictures.parent / name, tmp_path / f"other-{name}")
        rows.append([f"other-{name}", labels])
    scores, said = judged(trained, table(tmp_path / "labels.csv", rows))
    assert len(scores) == 60
    assert "judged on all images: 60 images" in said
    assert "too good" not in said


def test_a_part_of_the_images_that_judged_is_not_taken_for_them(
    trained: Path, pictures: Path, table: Callable[..., Path]
) -> None:
    rows = [row[:2] for row in rows_of(pictures)]
    some = table(pictures.parent / "some.csv", rows[:30])
    scores, said = judged(trained, some)
    assert len(scores) == 30
    assert "20 of them trained this model" in said


def test_labels_are_matched_by_name(trained: Path, pictures: Path) -> None:
    lines = ["image,red,blue,green,split"]
    for name, labels, split in rows_of(pictures):
        has = labels.split("|")
        cells = [
            "" if label == "red" and name == "p02.png" else str(int(label in has)) for label in ("red", "blue", "green")
        ]
        lines.append(",".join([name, *cells, split]))
    wide = pictures.parent / "wide.csv"
    wide.write_text("\n".join(lines) + "\n")
    scored = score_model(str(trained), f"table:{wide}", {"order": "seen"}, None, False, Silent())
    scores = scored.scores
    assert scored.training_counts is not None
    trained_labels = "|".join(labels for _, labels, split in rows_of(pictures) if split == "train").split("|")
    assert scored.training_counts.tolist() == [trained_labels.count(name) for name in scores.label_space.names]
    saved = Scores.load(trained / "scores" / "test.parquet")
    assert scores.label_space.names == ("blue", "green", "red")
    np.testing.assert_allclose(scores.scores_NK, saved.scores_NK, atol=1e-4)
    expected = saved.targets_NK.copy()
    expected[saved.ids.index("p02.png"), 2] = -1
    assert np.array_equal(scores.targets_NK, expected)


def test_other_labels_are_refused_by_name(trained: Path, pictures: Path, table: Callable[..., Path]) -> None:
    rows = [[name, labels.replace("red", "crimson"), split] for name, labels, split in rows_of(pictures)]
    with pytest.raises(LabelSpaceError) as caught:
        judged(trained, table(pictures.parent / "crimson.csv", rows))
    assert "only the model has: red" in str(caught.value)
    assert "only the data have: crimson" in str(caught.value)


def test_an_unknown_split_is_refused(trained: Path, pictures: Path) -> None:
    with pytest.raises(DataError, match="split 'tset' has no images; did you mean test"):
        judged(trained, pictures, "tset")


def test_a_bad_image_stops_or_is_told(trained: Path, pictures: Path, tmp_path: Path) -> None:
    shutil.copytree(pictures.parent, tmp_path / "copy")
    (tmp_path / "copy" / "p02.png").write_bytes(b"")
    with pytest.raises(ImageError, match=r"p02\.png \(row 2\): is empty"):
        judged(trained, tmp_path / "copy" / "labels.csv")
    scores, said = judged(trained, tmp_path / "copy" / "labels.csv", skip_bad=True)
    assert len(scores) == 19
    assert "left out, since they could not be read: 1 of 20 images" in said
    assert "p02.png (row 2): is empty" in said
