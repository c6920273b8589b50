"""``cotag.read``: formats named and recognized, options as text, saved indexes, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import cotag
from cotag.data.read import split_format
from cotag.errors import FormatError, SettingError

COCO: dict[str, Any] = {
    "images": [{"id": 1, "file_name": "a.jpg", "width": 4, "height": 4}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 2, "segmentation": [[0, 0, 2, 0, 2, 2, 0, 2]]}],
    "categories": [{"id": 2, "name": "cat"}, {"id": 1, "name": "dog"}],
}
PSG = {"data": [{"image_id": "1", "file_name": "a.jpg", "relations": [1]}], "predicate_classes": ["on", "riding"]}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jpg").touch()
    Path("coco.json").write_text(json.dumps(COCO, indent=2))
    Path("psg.json").write_text(json.dumps(PSG))
    Path("t.csv").write_text("image,labels\na.jpg,cat;dog\n")
    return tmp_path


@pytest.mark.parametrize("data", ["coco:coco.json", "coco.json", Path("coco.json")])
def test_a_format_is_named_or_recognized(folder: Path, data: Any) -> None:
    assert cotag.read(data).label_space.names == ("dog", "cat")


def test_content_decides_and_not_the_name(folder: Path) -> None:
    assert cotag.read("psg.json").label_space.names == ("on", "riding")
    Path("psg.json").rename("data")
    assert cotag.read("data").label_space.names == ("on", "riding")
    index = cotag.read("t.csv", separator=";")
    index.save("saved")
    assert cotag.read("saved").ids == ["a.jpg"]
    with pytest.raises(SettingError, match="a saved index takes no options; given images"):
        cotag.read("saved", images="x")


def test_folders_are_recognized(folder: Path) -> None:
    for name in ("cats/1.jpg", "dogs/1.jpg"):
        (folder / "f" / name).parent.mkdir(parents=True)
        (folder / "f" / name).touch()
    assert cotag.read("f").label_space.names == ("cats", "dogs")
    (folder / "f" / "labels.csv").write_text("image,labels\ncats/1.jpg,cat\ndogs/1.jpg,dog\n")
    assert cotag.read("f").label_space.names == ("cat", "dog")
    (folder / "c" / "annotations").mkdir(parents=True)
    (folder / "c" / "annotations" / "instances_val.json").write_text(json.dumps(COCO))
    assert cotag.read("c", missing="keep").splits() == {"val": 1}
    (folder / "v" / "ImageSets" / "Main").mkdir(parents=True)
    (folder / "v" / "ImageSets" / "Main" / "cat_train.txt").write_text("1 1\n")
    assert cotag.read("v", missing="keep").label_space.names == ("cat",)


def test_options_may_be_text(folder: Path) -> None:
    masked = cotag.read("coco:coco.json", masks="true", order="name")
    assert masked.label_space.names == ("cat", "dog")
    assert masked.table["objects"][0].as_py()[0]["mask"]
    assert cotag.read("coco:coco.json", masks="False").table["objects"][0].as_py()[0]["mask"] is None
    with pytest.raises(SettingError, match="reader coco: masks='yes' is not known; allowed: true, false"):
        cotag.read("coco:coco.json", masks="yes")


@pytest.mark.parametrize(
    ("data", "options", "error", "words"),
    [
        ("coko:x", {}, FormatError, "format 'coko' is not known; did you mean coco?"),
        ("hub:x", {}, FormatError, "format 'hub' is not known; allowed: coco, folder, psg"),
        ("coco:", {}, FormatError, "coco:: names no path; give coco:PATH"),
        ("", {}, FormatError, "no data given"),
        ("missing.csv", {}, FormatError, "missing.csv: there is no such file or folder"),
        (
            "coco:coco.json",
            {"odrer": "id"},
            SettingError,
            "reader coco: setting 'odrer' is not known; did you mean order?",
        ),
        ("coco:coco.json", {"path": "x"}, SettingError, "setting 'path' is not known"),
        ("scenes:objects", {"view": "x"}, SettingError, "'view' is what stands after scenes:"),
    ],
)
def test_what_is_not_known_is_refused(
    folder: Path, data: str, options: dict[str, str], error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as caught:
        cotag.read(data, **options)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_not_recognized_says_what_was_looked_for(folder: Path) -> None:
    Path("x.json").write_text('{"images": []}')
    Path("x.txt").write_text("image,labels\n")
    (folder / "empty").mkdir()
    for name, words in (("x.json", "'predicate_classes' (psg)"), ("x.txt", ".csv file"), ("empty", "ImageSets/Main")):
        with pytest.raises(FormatError, match=f"^{name}: the format is not recognized; looked for") as caught:
            cotag.read(name)
        assert words in str(caught.value)


def test_colons_that_belong_to_a_path(folder: Path) -> None:
    assert split_format("coco:a:b") == ("coco", "a:b")
    assert split_format(r"C:\photos\labels.csv") == (None, r"C:\photos\labels.csv")
    assert split_format("photos/2024:05/labels.csv") == (None, "photos/2024:05/labels.csv")
    assert split_format(Path("coco:a")) == (None, "coco:a")
    Path("table:t.csv").write_text("image,labels\na.jpg,x\n")
    assert cotag.read("table:t.csv").label_space.names == ("x",)
    Path("table:t.csv").unlink()
    assert cotag.read("table:t.csv").label_space.names == ("cat;dog",)
