"""A folder for each label: labels, splits, files that are the same image, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from cotag.data.folder import read_folder
from cotag.errors import DataError, FormatError, SettingError


def touched(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def test_labels_are_the_folders_and_a_picture_beside_them_has_none(tmp_path: Path) -> None:
    index = read_folder(touched(tmp_path, "dog/1.jpg", "cat/1.JPG", "cat/2.png", "none.jpg", ".hidden/x.jpg"))
    assert index.label_space.names == ("cat", "dog")
    assert dict(zip(index.ids, index.table["positives"].to_pylist(), strict=True)) == {
        "none.jpg": [],
        "cat/1.JPG": [0],
        "cat/2.png": [0],
        "dog/1.jpg": [1],
    }
    assert index.splits() == {}


def test_splits_are_the_first_level_where_all_are_named_so(tmp_path: Path) -> None:
    touched(tmp_path, "train/dog/1.jpg", "train/cat/2.jpg", "val/dog/3.jpg")
    index = read_folder(tmp_path)
    assert index.label_space.names == ("cat", "dog")
    assert index.splits() == {"train": 2, "val": 1}
    touched(tmp_path, "extra/dog/4.jpg")
    with pytest.raises(DataError, match=r"extra: is a label folder and holds folders \(dog\).*splits=NAME"):
        read_folder(tmp_path)
    assert read_folder(tmp_path, splits="extra").splits() == {"extra": 1, "train": 2, "val": 1}


def test_a_label_may_have_the_name_of_a_split(tmp_path: Path) -> None:
    assert read_folder(touched(tmp_path, "train/1.jpg", "car/1.jpg")).label_space.names == ("car", "train")


def test_the_same_name_in_two_folders_is_one_image_only_if_said(tmp_path: Path) -> None:
    touched(tmp_path, "cat/1.jpg", "dog/1.jpg", "dog/2.jpg")
    assert len(read_folder(tmp_path)) == 3
    index = read_folder(tmp_path, same="name")
    assert index.ids == ["cat/1.jpg", "dog/2.jpg"]
    assert index.table["positives"].to_pylist() == [[0, 1], [1]]
    touched(tmp_path / "parted", "train/cat/1.jpg", "train/dog/1.jpg", "val/dog/1.jpg")
    assert read_folder(tmp_path / "parted", same="name").ids == ["train/cat/1.jpg", "val/dog/1.jpg"]
    with pytest.raises(SettingError, match="same='nme' is not known; did you mean name"):
        read_folder(tmp_path, same="nme")


def test_empty_label_folders_and_other_files_are_noted(tmp_path: Path) -> None:
    touched(tmp_path, "cat/1.jpg", "cat/readme.txt", "dog/.keep")
    index = read_folder(tmp_path)
    assert index.label_space.names == ("cat", "dog")
    assert any("1 files are no pictures and left out: cat/readme.txt" in note for note in index.notes)
    assert any("no positive image: 'dog'" in note for note in index.notes)


def test_what_is_no_folder_of_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no: there is no such folder"):
        read_folder(tmp_path / "no")
    touched(tmp_path, "1.jpg")
    with pytest.raises(FormatError, match="holds no label folders"):
        read_folder(tmp_path)
    touched(tmp_path, "cat/notes.txt")
    (tmp_path / "1.jpg").unlink()
    with pytest.raises(FormatError, match="holds no pictures"):
        read_folder(tmp_path)
