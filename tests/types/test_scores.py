"""Scores: ids, scores, targets and the declared kind, on disk and off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cotag.errors import DataError, LabelSpaceError, ScoresError
from cotag.types.labels import LabelSpace
from cotag.types.scores import Scores

AB = LabelSpace(("a", "b"), source_ids=(7, 9), groups=("g", None))


def scores(**changes: Any) -> Scores:
    given: dict[str, Any] = {
        "ids": ["x", "y", "z"],
        "scores_NK": np.array([[0.1, 0.9], [0.5, 0.0], [1.0, 0.25]], dtype=np.float32),
        "targets_NK": np.array([[0, 1], [1, -1], [-1, 0]], dtype=np.int8),
        "kind": "probability",
        "label_space": AB,
        "origin": {"model": "runs/first", "split": "test"},
    }
    return Scores(**{**given, **changes})


@pytest.mark.parametrize("kind", ["logit", "probability"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_file_round_trip(kind: str, dtype: Any, tmp_path: Path) -> None:
    value = scores(kind=kind, scores_NK=np.array([[0.1, 0.9], [1 / 3, 0], [1, 1e-30]], dtype=dtype))
    value.save(tmp_path / "deep" / "test.parquet")
    again = Scores.load(tmp_path / "deep" / "test.parquet")
    assert again.ids == ["x", "y", "z"]
    assert again.scores_NK.dtype == dtype
    assert (again.scores_NK == value.scores_NK).all()
    assert again.targets_NK.dtype == np.int8
    assert (again.targets_NK == value.targets_NK).all()
    assert again.kind == kind
    assert again.label_space == AB
    assert again.origin == {"model": "runs/first", "split": "test"}


@given(
    hnp.arrays(np.float32, (3, 2), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)),
    st.lists(st.text(max_size=5).filter(lambda text: text.isprintable()), min_size=3, max_size=3, unique=True),
)
def test_any_logits_and_ids_come_back(
    tmp_path_factory: pytest.TempPathFactory, values: np.ndarray, ids: list[str]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.parquet"
    scores(scores_NK=values, ids=ids, kind="logit").save(path)
    again = Scores.load(path)
    assert again.scores_NK.tobytes() == values.tobytes()
    assert again.ids == ids


def test_column_order_of_memory_does_not_matter(tmp_path: Path) -> None:
    turned = scores(scores_NK=np.asfortranarray(scores().scores_NK), targets_NK=np.asfortranarray(scores().targets_NK))
    turned.save(tmp_path / "turned.parquet")
    again = Scores.load(tmp_path / "turned.parquet")
    assert (again.scores_NK == scores().scores_NK).all()
    assert (again.targets_NK == scores().targets_NK).all()


def test_no_images_and_one_label(tmp_path: Path) -> None:
    one = LabelSpace(("a",))
    Scores([], np.zeros((0, 1)), np.zeros((0, 1)), "logit", one).save(tmp_path / "empty.parquet")
    assert Scores.load(tmp_path / "empty.parquet").scores_NK.shape == (0, 1)


def test_lists_are_taken() -> None:
    value = Scores(["x"], [[0.5, 1.0]], [[1, 0]], "logit", AB)  # type: ignore[arg-type]
    assert value.scores_NK.dtype == np.float64
    assert value.targets_NK.dtype == np.int8


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": "logits"}, "kind 'logits' is not known; declare whether"),
        ({"ids": ["x", "y"]}, r"scores_NK: shape \(3, 2\), but 2 ids and 2 labels"),
        ({"targets_NK": np.zeros((3, 1))}, r"targets_NK: shape \(3, 1\)"),
        ({"ids": ["x", "y", "x"]}, "image id 'x' stands twice"),
        ({"ids": ["1", 1, "2"]}, "image id '1' stands twice"),
        ({"scores_NK": np.zeros((3, 2), np.float16)}, "scores are float16; allowed: float32, float64"),
        ({"scores_NK": np.zeros((3, 2), np.int64)}, "scores are int64"),
        ({"targets_NK": np.array([[0, 1], [1, 2], [0, 0]])}, "image 'y', label 'b': 2 in targets_NK"),
        ({"targets_NK": np.array([[0, 1], [0.5, 1], [0, 0]])}, "image 'y', label 'a': 0.5 in targets_NK"),
        ({"targets_NK": np.full((3, 2), np.nan)}, "image 'x', label 'a': nan in targets_NK"),
    ],
)
def test_wrong_values_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ScoresError, match=said):
        scores(**changes)


@pytest.mark.parametrize("kind", ["logit", "probability"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite(kind: str, bad: float) -> None:
    values = np.zeros((3, 2))
    values[2, 1] = bad
    with pytest.raises(ScoresError, match=f"image 'z', label 'b': {bad} in scores_NK must be a {kind}"):
        scores(scores_NK=values, kind=kind)


@pytest.mark.parametrize("bad", [-0.001, 1.001, 12.0])
def test_probabilities_outside_0_to_1(bad: float) -> None:
    values = np.zeros((3, 2))
    values[1, 0] = bad
    with pytest.raises(ScoresError, match=f"image 'y', label 'a': {bad} in scores_NK must be a probability"):
        scores(scores_NK=values)
    assert scores(scores_NK=values, kind="logit").scores_NK[1, 0] == bad


def test_kind_is_not_guessed_from_values() -> None:
    values = np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]])
    as_logits = scores(scores_NK=values, kind="logit").probabilities()
    assert as_logits == pytest.approx(1 / (1 + np.exp(-values)))
    assert (scores(scores_NK=values).probabilities() == values).all()


def test_probabilities_of_extreme_logits() -> None:
    values = np.array([[-1000.0, 1000.0]] * 3, dtype=np.float32)
    found = scores(scores_NK=values, kind="logit").probabilities()
    assert found.dtype == np.float32
    assert found.tolist() == [[0.0, 1.0]] * 3


def test_subset() -> None:
    part = scores().subset([2, 0])
    assert part.ids == ["z", "x"]
    assert part.targets_NK.tolist() == [[-1, 0], [0, 1]]
    assert (part.kind, part.label_space, part.origin) == ("probability", AB, scores().origin)
    assert len(scores().subset([])) == 0


@pytest.mark.parametrize("rows", [[3], [-1], [True, False, True]])
def test_subset_of_rows_that_are_not_there(rows: list[int]) -> None:
    with pytest.raises(DataError, match="row"):
        scores().subset(rows)


@pytest.mark.parametrize("content", [b"", b"hello", b"PAR1" + b"\0" * 40 + b"PAR1"])
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ScoresError, match="file: is not a scores file") as caught:
        Scores.load(tmp_path / "file")
    assert "\n" not in str(caught.value)


def test_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    scores().save(path)
    content = path.read_bytes()
    for start in (len(content) // 2, len(content) - 40):
        path.write_bytes(content[:start] + b"\xff" * 30 + content[start + 30 :])
        with pytest.raises(ScoresError) as caught:
            Scores.load(path)
        assert "\n" not in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ScoresError, match="there is no such file"):
        Scores.load(tmp_path / "absent.parquet")


def test_parquet_file_of_something_else(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(ScoresError, match="is a Parquet file of something else"):
        Scores.load(tmp_path / "other.parquet")


def test_changed_label_names_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    scores().save(path)
    table = pq.read_table(path)
    about = table.schema.metadata[b"cotag"].replace(b'["a", "b"]', b'["b", "a"]')
    pq.write_table(table.replace_schema_metadata({"cotag": about}), path)
    with pytest.raises(LabelSpaceError, match="the label names were changed"):
        Scores.load(path)


# Files of other programs


def foreign(path: Path, about: dict[str, Any] | None = None, **columns: Any) -> Path:
    """A scores file of two labels and three images, with some columns or some of its metadata replaced."""
    scores().save(path)
    table = pq.read_table(path)
    known = json.loads(table.schema.metadata[b"cotag"])
    known = {key: value for key, value in {**known, **(about or {})}.items() if value != "left out"}
    given = {name: columns.get(name, table[name]) for name in table.column_names}
    kept = pa.table({name: column for name, column in given.items() if column is not None})
    pq.write_table(kept.replace_schema_metadata({"cotag": json.dumps(known)}), path)
    return path


FLOATS, BYTES = pa.list_(pa.float32()), pa.list_(pa.int8(), 2)
FOREIGN: dict[str, tuple[dict[str, Any], str]] = {
    "NaN": (
        {"scores": pa.array([[0.1, 0.2], [0.3, float("nan")], [0, 0]], FLOATS)},
        "image 'y', label 'b': nan in scores_NK must be a probability",
    ),
    "infinite": (
        {"scores": pa.array([[0.1, 0.2], [float("inf"), 0], [0, 0]], FLOATS), "about": {"kind": "logit"}},
        "image 'y', label 'a': inf in scores_NK must be a logit",
    ),
    "outside [0, 1]": (
        {"scores": pa.array([[0.1, 0.2], [0.3, 0.4], [-3.0, 0]], FLOATS)},
        "image 'z', label 'a': -3.0 in scores_NK .* where these are logits, declare that kind",
    ),
    "a null among scores": (
        {"scores": pa.array([[0.1, 0.2], [0.3, None], [0, 0]], FLOATS)},
        "image 'y', label 'b': nan in scores_NK",
    ),
    "a null among targets": (
        {"targets": pa.array([[0, 1], [0, None], [0, 0]], BYTES)},
        r"image 'y', label 'b': nan in targets_NK must be 1 \(present\)",
    ),
    "another target": (
        {"targets": pa.array([[0, 1], [0, 7], [0, 0]], BYTES)},
        "image 'y', label 'b': 7 in targets_NK must be 1",
    ),
    "strings": (
        {"scores": pa.array([["high", "low"]] * 3)},
        "scores are list<.*string>; give each image a list of 2 numbers",
    ),
    "targets as words": ({"targets": pa.array([["yes", "no"]] * 3)}, "targets are list<.*string>"),
    "no lists": ({"scores": pa.array([0.1, 0.2, 0.3])}, "scores are double; give each image a list of 2"),
    "a list too short": (
        {"scores": pa.array([[0.1, 0.2], [0.3], [0.4, 0.5, 0.6]], FLOATS)},
        "row 1: 1 scores for 2 labels",
    ),
    "no list at all": ({"targets": pa.array([[0, 1], [0, 0], None], BYTES)}, "row 2: 0 targets for 2 labels"),
    "half precision": (
        {"scores": pa.array([[np.float16(0.5)] * 2] * 3, pa.list_(pa.float16()))},
        "scores are float16; allowed: float32",
    ),
    "whole numbers": ({"scores": pa.array([[0, 1]] * 3)}, "scores are int64; allowed: float32"),
    "no column": ({"targets": None}, "has no column targets; a scores file has id, scores and targets"),
    "an empty id": ({"id": pa.array(["x", None, "z"])}, "row 1: the id is empty"),
    "an id twice": ({"id": pa.array(["x", "x", "z"])}, "image id 'x' stands twice"),
    "kind not declared": ({"about": {"kind": "left out"}}, "the kind is not declared; declare whether"),
    "another kind": ({"about": {"kind": "percent"}}, "kind 'percent' is not known"),
    "no labels": ({"about": {"label_space": "left out"}}, "its label space cannot be read; write label_space"),
    "labels as a list": ({"about": {"label_space": ["a", "b"]}}, "its label space cannot be read"),
    "a label missing": ({"about": {"label_space": {"names": ["a"]}}}, "row 0: 2 scores for 1 labels"),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_foreign_file_that_is_wrong_is_refused_in_one_line(what: str, tmp_path: Path) -> None:
    changes, said = FOREIGN[what]
    path = foreign(tmp_path / "other.parquet", **changes)
    with pytest.raises(ScoresError, match=f"{path}: {said}") as caught:
        Scores.load(path)
    assert "\n" not in str(caught.value)


def test_a_label_that_stands_twice_in_a_file(tmp_path: Path) -> None:
    path = foreign(tmp_path / "other.parquet", {"label_space": {"names": ["a", "a"]}})
    with pytest.raises(LabelSpaceError, match=f"{path}: label names stand twice: a"):
        Scores.load(path)


def test_a_foreign_file_that_is_right_is_read(tmp_path: Path) -> None:
    columns = {
        "id": pa.array([10, 20, 30]),
        "scores": pa.chunked_array([[[0.1, 0.9]], [[0.5, 0.0], [1.0, 0.25]]], pa.large_list(pa.float64())),
        "targets": pa.array([[0, 1], [1, -1], [-1, 0]]),
    }
    found = Scores.load(foreign(tmp_path / "other.parquet", {"origin": "left out"}, **columns))
    assert found.ids == ["10", "20", "30"]
    assert found.scores_NK.tolist() == [[0.1, 0.9], [0.5, 0.0], [1.0, 0.25]]
    assert found.targets_NK.tolist() == [[0, 1], [1, -1], [-1, 0]]
    assert found.origin == {}


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScoresError, match="is a folder; give a scores file"):
        Scores.load(tmp_path)


def test_of_csv_files_it_says_how_to_make_scores(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("id,a\nx,1\n")
    with pytest.raises(ScoresError, match=r"s.csv: is not a scores file .*cotag evaluate --scores CSV .*--out FILE"):
        Scores.load(tmp_path / "s.csv")
