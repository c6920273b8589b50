"""Pascal VOC: labels of the text files and of the XML, difficult ones, splits, boxes, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cotag.data.voc import read_voc
from cotag.errors import CotagError, DataError, FormatError

IDS = ("000001", "000002", "000003", "000004")
OBJECTS = {
    "000001": [("dog", 0, (1, 1, 4, 6)), ("person", 1, (2, 2, 3, 3))],
    "000002": [("person", 0, (1, 1, 12, 8)), ("person", 1, (1, 1, 2, 2))],
    "000003": [],
}


def xml(objects: list[tuple[str, int, tuple[int, ...]]]) -> str:
    corners = ("xmin", "ymin", "xmax", "ymax")
    text = "".join(
        f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>"
        + "".join(f"<{corner}>{number}</{corner}>" for corner, number in zip(corners, box, strict=True))
        + "</bndbox><part><name>head</name></part></object>"
        for name, difficult, box in objects
    )
    return f"<annotation><size><width>12</width><height>8</height></size>{text}</annotation>"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four images: 1 train, 2 val, 3 in trainval alone, 4 test without annotations."""
    root = tmp_path / "VOCdevkit" / "VOC2007"
    main = root / "ImageSets" / "Main"
    for folder in (main, root / "JPEGImages", root / "Annotations"):
        folder.mkdir(parents=True)
    for name in IDS:
        Image.new("RGB", (12, 8)).save(root / "JPEGImages" / f"{name}.jpg")
    for name, objects in OBJECTS.items():
        (root / "Annotations" / f"{name}.xml").write_text(xml(objects))
    lists = {"train": IDS[:1], "val": IDS[1:2], "trainval": IDS[:3], "test": IDS[3:]}
    for split, names in lists.items():
        (main / f"{split}.txt").write_text("\n".join(names) + "\n")
    (main / "dog_trainval.txt").write_text("000001  1\n000002 -1\n000003 -1\n")
    (main / "dog_train.txt").write_text("000001  1\n")
    (main / "person_trainval.txt").write_text("000001  0\n000002  1\n000003 -1\n")
    return root


@pytest.mark.parametrize("labels", [None, "imagesets", "xml"])
def test_both_sources_give_the_same_labels(root: Path, labels: str | None) -> None:
    index = read_voc(root, labels=labels)
    assert index.label_space.names == ("dog", "person")
    rows = [index.ids.index(name) for name in IDS]
    table = index.table.take(rows)
    assert table["positives"].to_pylist() == [[0], [1], [], []]
    assert table["difficult"].to_pylist() == [[1], [], [], []]
    assert table["unknowns"].to_pylist() == [[], [], [], [0, 1]]
    assert table["split"].to_pylist() == ["train", "val", "trainval", "test"]
    assert any("1 of 4 images have labels that the files do not tell" in note for note in index.notes)


def test_difficult_is_unknown_unless_said_otherwise(root: Path) -> None:
    index = read_voc(root)
    row = np.array([index.ids.index("000001")])
    assert index.targets(row).tolist() == [[1, -1]]
    assert index.targets(row, difficult="positive").tolist() == [[1, 1]]
    assert index.targets(row, difficult="absent").tolist() == [[1, 0]]


def test_boxes_count_from_0_and_include_their_last_pixel(root: Path) -> None:
    index = read_voc(root)
    objects = index.table["objects"].to_pylist()
    assert [(one["category"], one["box"]) for one in objects[index.ids.index("000001")]] == [
        (0, [0, 0, 4, 6]),
        (1, [1, 1, 2, 2]),
    ]
    assert objects[index.ids.index("000002")][0]["box"] == [0, 0, 12, 8]
    assert index.table["width"].to_pylist()[index.ids.index("000003")] == 12


def test_the_folders_above_are_accepted_and_several_data_sets_refused(root: Path) -> None:
    assert read_voc(root.parent).ids == read_voc(root.parent.parent).ids == read_voc(root).ids
    (root.parent / "VOC2012" / "ImageSets" / "Main").mkdir(parents=True)
    with pytest.raises(DataError, match=r"VOCdevkit: holds VOC2007, VOC2012; give the path of one"):
        read_voc(root.parent.parent)


def test_xml_alone_has_no_splits_and_finds_images_of_other_kinds(tmp_path: Path) -> None:
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "JPEGImages").mkdir()
    (tmp_path / "Annotations" / "one.xml").write_text(xml(OBJECTS["000001"]))
    Image.new("RGB", (12, 8)).save(tmp_path / "JPEGImages" / "one.png")
    index = read_voc(tmp_path)
    assert index.splits() == {}
    assert index.table["image"].to_pylist() == ["JPEGImages/one.png"]
    assert index.table["positives"].to_pylist() == [[0]]


def test_the_twenty_classes_have_their_usual_order(root: Path) -> None:
    names = [
        *("aeroplane", "bicycle", "bird", "boat", "bottle"),
        *("bus", "car", "cat", "chair", "cow"),
        *("diningtable", "dog", "horse", "motorbike", "person"),
        *("pottedplant", "sheep", "sofa", "train", "tvmonitor"),
    ]
    for name in reversed(names):
        lines = "".join(f"{one} {1 if name == 'train' else -1}\n" for one in IDS)
        (root / "ImageSets" / "Main" / f"{name}_train.txt").write_text(lines)
        (root / "ImageSets" / "Main" / f"{name}_trainval.txt").write_text("")
    index = read_voc(root)
    assert list(index.label_space.names) == names
    assert index.counts()[names.index("train")] == 4


def test_missing_images_are_counted_skipped_or_kept(root: Path) -> None:
    (root / "JPEGImages" / "000002.jpg").unlink()
    with pytest.raises(DataError, match=r"VOC2007: 1 of 4 images is missing, first 'JPEGImages/000002\.jpg'"):
        read_voc(root)
    assert len(read_voc(root, missing="skip")) == 3
    assert len(read_voc(root, missing="keep")) == 4


def test_images_in_another_folder(root: Path, tmp_path: Path) -> None:
    (root / "JPEGImages").rename(tmp_path / "photos")
    index = read_voc(root, images=tmp_path / "photos")
    assert all(path.is_file() for path in index.images())


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        (
            "ImageSets/Main/dog_trainval.txt",
            "000001 1\n000002 2\n",
            ["line 2", "'000002'", "'2' is no value", "allowed"],
        ),
        ("ImageSets/Main/dog_trainval.txt", "000001 1\n\n000002\n", ["line 3", "'000002'", "correct the line"]),
        ("ImageSets/Main/dog_trainval.txt", "000001 -1\n", ["line 1", "'000001' is -1 here and 1 in another", "'dog'"]),
        ("ImageSets/Main/val.txt", "000002\n000001\n", ["line 2", "'000001' is in split 'train' already"]),
        ("ImageSets/Main/train.txt", "000001 1\n", ["line 1", "not an image id"]),
        ("Annotations/000001.xml", "<annotation>", ["is not XML"]),
        ("Annotations/000001.xml", xml([("", 0, (1, 1, 2, 2))]), ["object 1 has no name"]),
        ("Annotations/000001.xml", xml([("dog", 0, (5, 1, 2, 2))]), ["object 1 ('dog')", "xmin 5", "xmin <= xmax"]),
        ("Annotations/000001.xml", xml([("dog", 0, (1, 1, 2, 2))]).replace(">2<", ">nan<", 1), ["object 1", "nan"]),
        ("Annotations/000001.xml", xml([("dog", 7, (1, 1, 2, 2))]), ["object 1", "difficult is '7'"]),
        ("Annotations/000001.xml", xml([("cow", 0, (1, 1, 2, 2))]), ["'cow' has no class file", "labels=xml"]),
    ],
)
def test_wrong_files_are_named_in_one_line(root: Path, file: str, text: str, words: list[str]) -> None:
    (root / file).write_text(text)
    with pytest.raises(CotagError) as caught:
        read_voc(root)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(root / file))
    for word in words:
        assert word in message


def test_a_class_file_with_an_image_of_no_split_is_refused(root: Path) -> None:
    (root / "ImageSets" / "Main" / "dog_test.txt").write_text("000009 1\n")
    with pytest.raises(DataError, match=r"class 'dog': images in no split file: 000009"):
        read_voc(root)


def test_an_image_id_that_leaves_the_root_is_refused(root: Path) -> None:
    (root / "ImageSets" / "Main" / "test.txt").write_text("../../../outside\n")
    with pytest.raises(DataError, match=r"image id '../../../outside': image .* is outside the root"):
        read_voc(root)


def test_what_is_no_voc_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="is no VOC folder; expected ImageSets/Main"):
        read_voc(tmp_path)
    with pytest.raises(DataError, match="no: there is no such folder"):
        read_voc(tmp_path / "no")
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    with pytest.raises(DataError, match="names no images"):
        read_voc(tmp_path)
    with pytest.raises(DataError, match=r"there is no <class>_<split>\.txt; add them or read with labels=xml"):
        read_voc(tmp_path, labels="imagesets")
