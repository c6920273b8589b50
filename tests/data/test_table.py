"""Tables: both layouts, CSV and Parquet, splits, references, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from cotag.data.table import read_table
from cotag.errors import CotagError, CotagWarning, DataError, FormatError, SettingError

LISTS = "image,labels,split\na.jpg,sea|sky,train\nb.jpg,,test\nc.jpg,dog,\n"
COLUMNS = "image,sky,dog,split\na.jpg,1,0,train\nb.jpg,,1,train\nc.jpg,0,0.0,test\nd.jpg,1.0,1,test\n"


def written(folder: Path, text: str, name: str = "labels.csv") -> Path:
    for picture in "abcd":
        (folder / f"{picture}.jpg").touch()
    path = folder / name
    path.write_bytes(text.encode())
    return path


def test_a_column_of_label_lists(tmp_path: Path) -> None:
    index = read_table(written(tmp_path, LISTS))
    assert index.label_space.names == ("dog", "sea", "sky")
    assert index.ids == ["a.jpg", "b.jpg", "c.jpg"]
    assert index.table["positives"].to_pylist() == [[1, 2], [], [0]]
    assert not index.counts("unknowns").any()
    assert index.table["split"].to_pylist() == ["train", "test", None]
    assert index.notes == ()


def test_order_seen_keeps_the_order_of_the_file(tmp_path: Path) -> None:
    index = read_table(written(tmp_path, LISTS), order="seen")
    assert index.label_space.names == ("sea", "sky", "dog")
    assert index.table["positives"].to_pylist() == [[0, 1], [], [2]]
    assert read_table(written(tmp_path, COLUMNS), order="seen").label_space.names == ("sky", "dog")


def test_one_column_for_each_label_with_empty_as_unknown(tmp_path: Path) -> None:
    index = read_table(written(tmp_path, COLUMNS))
    assert index.label_space.names == ("dog", "sky")
    assert index.targets().tolist() == [[0, 1], [1, -1], [0, 0], [1, 1]]
    assert index.splits() == {"train": 2, "test": 2}


def test_other_names_of_columns_separators_and_splits(tmp_path: Path) -> None:
    path = written(tmp_path, "id,photo,tags,part\n1,a.jpg,sea; sky,dev\n2,b.jpg,dog,train\n")
    index = read_table(path, image="photo", labels="tags", separator=";", split="part", splits="dev,extra")
    assert index.label_space.names == ("dog", "sea", "sky")
    assert index.splits() == {"dev": 1, "train": 1}
    columns = written(tmp_path, "id,image,sky\n1,a.jpg,1\n")
    assert read_table(columns, ignore="id").label_space.names == ("sky",)


def test_bytes_that_spreadsheets_add_are_no_matter(tmp_path: Path) -> None:
    text = "\ufeff" + LISTS.replace("\n", "\r\n").replace("sea|sky", '"sea | sky"') + "\r\n\r\n"
    assert read_table(written(tmp_path, text)).table["positives"].to_pylist() == [[1, 2], [], [0]]


def test_parquet_with_lists_with_text_and_with_columns(tmp_path: Path) -> None:
    written(tmp_path, "")
    image = ["a.jpg", "b.jpg", "c.jpg"]
    tables: dict[str, dict[str, Any]] = {
        "lists": {"image": image, "labels": [["sea", "sky"], None, ["dog"]]},
        "text": {"image": image, "labels": pa.array(["sea|sky", None, "dog"]).dictionary_encode()},
        "columns": {"image": image, "dog": [False, False, True], "sea": [1, 0, None], "sky": [1.0, 0.0, None]},
    }
    for name, columns in tables.items():
        pa.parquet.write_table(pa.table(columns), tmp_path / f"{name}.parquet")
        index = read_table(tmp_path / f"{name}.parquet")
        assert index.label_space.names == ("dog", "sea", "sky")
        assert index.table["positives"].to_pylist() == [[1, 2], [], [0]]
        assert index.table["unknowns"].to_pylist() == [[], [], [1, 2] if name == "columns" else []]


def test_a_row_group_boundary_does_not_move_rows(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = np.array(["a", "b", "c", "d"])
    given = [names[rng.random(4) < 0.4].tolist() for _ in range(101)]
    table = pa.table({"image": [f"{row}.jpg" for row in range(101)], "labels": given})
    pa.parquet.write_table(table, tmp_path / "t.parquet", row_group_size=7)
    index = read_table(tmp_path / "t.parquet", missing="keep")
    space = index.label_space
    assert [[space.names[label] for label in row] for row in index.table["positives"].to_pylist()] == given


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image,labels\na.jpg,x\n\nb.jpg,y\na.jpg,z\n", ["line 5", "'a.jpg'", "line 2", "one row for each image"]),
        ("image,labels\na.jpg,x\n./a.jpg,z\n", ["line 3", "'a.jpg'", "line 2"]),
        ("image,labels,split\na.jpg,x,tran\n", ["line 2", "'split'", "'tran'", "did you mean train?", "splits="]),
        ("image,labels\na.jpg,x||y\n", ["line 2", "'x||y'", "empty label name"]),
        ('image,labels\n"b\n.jpg",x\na.jpg,x|\n', ["line 4", "'x|'", "empty label name"]),
        ("image,labels\n,x\n", ["line 2", "reference is empty"]),
        ("image,labels\na.jpg,x,y\n", ["line 2", "3 cells and the header 2", "in quotes"]),
        ("image,sky\na.jpg,nan\n", ["line 2", "label 'sky'", "'nan' is not a target", "1 (present)"]),
        ("image,sky\na.jpg,1\nb.jpg,-1\n", ["line 3", "label 'sky'", "'-1'"]),
        ("image,tags\na.jpg,sea|sky\n", ["line 2", "'sea|sky'", "labels=tags"]),
        ("image,sky,sky\na.jpg,1,1\n", ["'sky' stands twice"]),
        ("image,sky, sky\na.jpg,1,1\n", ["label names stand twice", "sky"]),
        ("image,sky,\na.jpg,1,1\n", ["column 3 has no name"]),
        ("image,split\na.jpg,train\n", ["no label columns"]),
        ("image,labels\na.jpg,\n", ["at least one label"]),
        ("image,labels\n", ["no rows"]),
        ("photo,labels\na.jpg,x\n", ["no column 'image'", "image=COLUMN"]),
        ("", ["not a table"]),
    ],
)
def test_wrong_tables_are_refused_in_one_line(tmp_path: Path, text: str, words: list[str]) -> None:
    path = written(tmp_path, text)
    with pytest.raises(CotagError) as caught:
        read_table(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    for word in words:
        assert word in message


def test_not_a_number_in_parquet_is_refused_by_its_row(tmp_path: Path) -> None:
    table = pa.table({"image": ["a.jpg", "b.jpg"], "sky": pa.array([1.0, float("nan")])})
    pa.parquet.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"t\.parquet: row 2: label 'sky': nan is not a target"):
        read_table(tmp_path / "t.parquet")


def test_text_in_another_encoding_and_a_cut_parquet_are_refused(tmp_path: Path) -> None:
    latin = tmp_path / "latin.csv"
    latin.write_bytes("image,labels\na.jpg,caf\xe9\n".encode("latin-1"))
    with pytest.raises(FormatError, match=r"latin\.csv: is not a table .*UTF-8"):
        read_table(latin)
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(b"PAR1 and nothing else")
    with pytest.raises(FormatError, match=r"cut\.parquet: is not a whole Parquet file"):
        read_table(cut)


@pytest.mark.parametrize("option", ["image", "labels", "split", "ignore"])
def test_a_named_column_that_is_not_there_is_refused(tmp_path: Path, option: str) -> None:
    path = written(tmp_path, LISTS)
    with pytest.raises(
        DataError, match=rf"labels\.csv: has no column 'lables'; read with {option}=COLUMN; did you mean"
    ):
        read_table(path, **{option: "lables"})  # type: ignore[arg-type]


def test_settings_out_of_range(tmp_path: Path) -> None:
    path = written(tmp_path, LISTS)
    with pytest.raises(SettingError, match="order='sen' is not known; did you mean seen"):
        read_table(path, order="sen")
    with pytest.raises(SettingError, match="separator is empty"):
        read_table(path, separator="")
    with pytest.raises(SettingError, match="missing='skp' is not known; did you mean skip"):
        read_table(path, missing="skp")


def test_a_label_spelled_in_two_ways_is_warned_and_both_are_kept(tmp_path: Path) -> None:
    path = written(tmp_path, "image,labels\na.jpg,Sea\nb.jpg,sea|hot dog\nc.jpg,hot_dog\n")
    with pytest.warns(CotagWarning) as caught:
        index = read_table(path)
    assert len(caught) == 2
    assert len(index.label_space) == 4
    assert sum("look like one label" in note for note in index.notes) == 2
    assert any("'Sea' (1 images) and 'sea' (1 images)" in note for note in index.notes)


def test_no_positives_and_one_label_are_noted(tmp_path: Path) -> None:
    index = read_table(written(tmp_path, "image,sky\na.jpg,0\n"))
    assert [note.split(": ", 1)[1] for note in index.notes] == [
        "1 of 1 labels has no positive image: 'sky'",
        "there is only one label, 'sky'",
    ]


def test_another_separator_is_hinted_at(tmp_path: Path) -> None:
    index = read_table(written(tmp_path, "image,labels\na.jpg,sea;sky\nb.jpg,dog\n"))
    assert index.label_space.names == ("dog", "sea;sky")
    assert any("read with separator=;" in note for note in index.notes)


def test_missing_images_are_counted_skipped_or_kept(tmp_path: Path) -> None:
    path = written(tmp_path, LISTS)
    (tmp_path / "b.jpg").unlink()
    with pytest.raises(
        DataError, match=r"labels\.csv: 1 of 3 images is missing, first 'b\.jpg'.*images=.*missing=skip"
    ):
        read_table(path)
    skipped = read_table(path, missing="skip")
    assert skipped.ids == ["a.jpg", "c.jpg"]
    assert any("1 of 3 images are missing" in note for note in skipped.notes)
    assert len(read_table(path, missing="keep")) == 3


def test_a_reference_that_leaves_the_root_is_refused_and_has_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "labels" / "first").mkdir(parents=True)
    (tmp_path / "photos" / "x.jpg").touch()
    path = tmp_path / "labels" / "first" / "labels.csv"
    path.write_text("image,labels\n../../photos/x.jpg,sea\n")
    with pytest.raises(DataError, match=r"labels\.csv: line 2: image '../../photos/x\.jpg' is outside .*images=FOLDER"):
        read_table(path)
    index = read_table(path, images=tmp_path / "photos")
    assert index.table["image"].to_pylist() == ["x.jpg"]
    with pytest.raises(DataError, match=r"none: there is no such folder; give images=FOLDER"):
        read_table(path, images=tmp_path / "none")


def test_an_absolute_reference_needs_a_root_that_holds_it(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").touch()
    (tmp_path / "labels").mkdir()
    path = tmp_path / "labels" / "labels.csv"
    path.write_text(f"image,labels\n{tmp_path / 'x.jpg'},sea\n")
    with pytest.raises(DataError, match=r"line 2: image .* is outside the root .*; read with images=/"):
        read_table(path)
    index = read_table(path, images="/")
    assert index.image(0) == tmp_path / "x.jpg"
    assert read_table(path, images=tmp_path).table["image"].to_pylist() == ["x.jpg"]


@pytest.mark.real
def test_the_2000_scenes(shared_data: Path) -> None:
    index = read_table(shared_data / "miml2000" / "labels.csv")
    assert len(index) == 2000
    assert index.label_space.names == ("desert", "mountains", "sea", "sunset", "trees")
    assert index.splits() == {"train": 1407, "test": 593}
    assert round(index.counts().sum() / 2000, 2) == 1.24
    assert index.notes == ()
