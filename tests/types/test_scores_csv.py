"""The pair of CSV files: rows and labels matched by name, nothing guessed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cotag.errors import ScoresError
from cotag.types.labels import LabelSpace
from cotag.types.scores import Scores
from cotag.types.scores_csv import read_csv_pair, write_csv_pair

SCORES = "id,a,b\nx,0.1,0.2\ny,0.3,0.4\n"
TARGETS = "id,b,a\ny,1,\nx,0,1\n"


def read(
    folder: Path, scores: str | bytes = SCORES, targets: str | bytes = TARGETS, kind: str = "probability"
) -> Scores:
    for name, content in (("scores.csv", scores), ("targets.csv", targets)):
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_csv_pair(folder / "scores.csv", folder / "targets.csv", kind)


def test_matched_by_name_whatever_the_order(tmp_path: Path) -> None:
    found = read(tmp_path)
    assert found.ids == ["x", "y"]
    assert found.label_space.names == ("a", "b")
    assert found.scores_NK.tolist() == [[0.1, 0.2], [0.3, 0.4]]
    assert found.targets_NK.tolist() == [[1, 0], [-1, 1]]
    assert found.kind == "probability"


def test_origin_names_both_files(tmp_path: Path) -> None:
    found = read(tmp_path)
    assert found.origin == {"scores": str(tmp_path / "scores.csv"), "targets": str(tmp_path / "targets.csv")}


@pytest.mark.parametrize(
    "change",
    [
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.rstrip("\n"),
        lambda text: text + "\n",
        lambda text: "\n".join(",".join(f'"{cell}"' for cell in line.split(",")) for line in text.split("\n")[:-1]),
    ],
    ids=["byte order mark", "carriage returns", "no last line end", "empty last line", "all quoted"],
)
def test_ways_to_write_the_same(change: object, tmp_path: Path) -> None:
    found = read(tmp_path, change(SCORES), change(TARGETS))  # type: ignore[operator]
    assert found.label_space.names == ("a", "b")
    assert found.targets_NK.tolist() == [[1, 0], [-1, 1]]


def test_ids_stay_text(tmp_path: Path) -> None:
    text = "id,a\n007,1\n2020-01-01,0\ntrue,1\nnull,0\n"
    assert read(tmp_path, text, text).ids == ["007", "2020-01-01", "true", "null"]


def test_targets_may_be_written_as_decimals(tmp_path: Path) -> None:
    assert read(tmp_path, SCORES, "id,a,b\nx,1.0,0.0\ny,0,1\n").targets_NK.tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ("id,a,b\nx,,0.2\ny,0.3,0.4\n", "scores.csv: image 'x', label 'a': an empty cell is not a number"),
        ("id,a,b\nx,nan,0.2\ny,0.3,0.4\n", "scores.csv: image 'x', label 'a': 'nan' is not a number"),
        ("id,a,b\nx,0.1,0.2\ny,0.3,high\n", "scores.csv: image 'y', label 'b': 'high' is not a number"),
        ("id,a,b\nx,0.1,0.2\ny,0.3,1_0\n", "image 'y', label 'b': '1_0' is not a number; every image needs a score"),
        ("id,a,b\nx,0.1,0.2\ny,0.3,\u0663\n", "image 'y', label 'b': '\u0663' is not a number"),
        ("id,a,b\nx,0.1,0.2\n,0.3,0.4\n", "scores.csv: row 2: the id is empty"),
        ("id,a,b\nx,0.1,0.2\ny,0.3,inf\n", "scores.csv: image 'y', label 'b': inf in scores_NK must be a probability"),
        ("id,a,b\nx,0.1,0.2\ny,0.3,1.5\n", "scores.csv: image 'y', label 'b': 1.5 in scores_NK must be a probability"),
        ("id,a,a\nx,0.1,0.2\ny,0.3,0.4\n", "scores.csv: column 'a' stands twice"),
        ("id,a,b\nx,0.1,0.2\nx,0.3,0.4\n", "scores.csv: image id 'x' stands twice"),
        ("id,a,b\nx,0.1,0.2\n", "scores.csv: image ids are missing that the other file has: y"),
        ("id,a,b\nx,0.1,0.2\ny,0.3,0.4\nz,0,0\n", "targets.csv: image ids are missing that the other file has: z"),
        ("id,a\nx,0.1\ny,0.3\n", "scores.csv: labels are missing that the other file has: b"),
        ("id,a,b,c\nx,0.1,0.2,0\ny,0.3,0.4,0\n", "targets.csv: labels are missing that the other file has: c"),
        ("id,a,b\nx,0.1\ny,0.3,0.4\n", "scores.csv: is not a table .*Expected 3 columns, got 2"),
        ("id;a;b\nx;0.1;0.2\n", "scores.csv: has 1 column; separated by commas"),
        ("id,a,b\n", "scores.csv: has a header and no rows"),
        ("", "scores.csv: is not a table"),
        ("id,é\nx,0.1\n".encode("latin-1"), "scores.csv: is not UTF-8"),
        ("id,a,b\né,0.1,0.2\n".encode("latin-1"), "scores.csv: is not a table .*UTF8"),
    ],
)
def test_wrong_scores_are_refused(scores: str | bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(ScoresError, match=said) as caught:
        read(tmp_path, scores)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("cell", ["-1", "0.5", "2", "inf"])
def test_numbers_that_are_no_targets(cell: str, tmp_path: Path) -> None:
    with pytest.raises(ScoresError, match=rf"targets.csv: image 'y', label 'a': {cell} is not a target; allowed: 1"):
        read(tmp_path, SCORES, f"id,b,a\ny,1,{cell}\nx,0,1\n")


@pytest.mark.parametrize("cell", ["yes", "nan", "?", " "])
def test_text_that_is_no_target(cell: str, tmp_path: Path) -> None:
    with pytest.raises(
        ScoresError, match=r"targets.csv: image 'y', label 'a': .* is not a number; allowed: 1 \(present\)"
    ):
        read(tmp_path, SCORES, f"id,b,a\ny,1,{cell}\nx,0,1\n")


def test_label_without_a_name(tmp_path: Path) -> None:
    text = "id,a,\nx,1,0\n"
    with pytest.raises(ScoresError, match=r"scores.csv: label 1: the name is empty"):
        read(tmp_path, text, text)


def test_missing_file(tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text(SCORES)
    with pytest.raises(ScoresError, match=r"targets.csv: there is no such file"):
        read_csv_pair(tmp_path / "scores.csv", tmp_path / "targets.csv", "logit")


def test_kind_must_be_declared_right(tmp_path: Path) -> None:
    with pytest.raises(ScoresError, match="kind 'sigmoid' is not known"):
        read(tmp_path, kind="sigmoid")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_written_pair_comes_back_exactly(dtype: type, tmp_path: Path) -> None:
    space = LabelSpace(('say "hi", you', "naïve 猫", "two\nlines", " spaces "))
    values = np.random.default_rng(0).normal(scale=20, size=(3, 4)).astype(dtype)
    targets = np.array([[1, 0, -1, 1], [0, 0, 0, 0], [-1, -1, -1, -1]])
    value = Scores(["x,1", 'q"q', "né"], values, targets, "logit", space)
    write_csv_pair(value, tmp_path / "s.csv", tmp_path / "t.csv")
    again = read_csv_pair(tmp_path / "s.csv", tmp_path / "t.csv", "logit")
    assert again.ids == value.ids
    assert again.label_space.names == space.names
    assert (again.scores_NK.astype(dtype) == values).all()
    assert (again.targets_NK == targets).all()
