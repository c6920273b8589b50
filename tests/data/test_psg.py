"""Panoptic scene graphs: predicates, splits, withheld relations, doubled images, triplets, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cotag.data.psg import read_psg
from cotag.errors import CotagError, DataError, FormatError

PREDICATES = ["over", "in front of", "riding", "holding"]
BASIC: dict[str, Any] = {
    "data": [
        {"image_id": "11", "file_name": "train2017/a.jpg", "relations": [3, 0, 3]},
        {"image_id": "12", "file_name": "train2017/b.jpg", "relations": []},
        {"image_id": "11", "file_name": "train2017/a.jpg", "relations": [2]},
        {"image_id": "13", "file_name": "val2017/c.jpg"},
        {"image_id": "14", "file_name": "val2017/d.jpg", "relations": [1]},
    ],
    "predicate_classes": PREDICATES,
    "train_image_ids": ["11", "12"],
    "val_image_ids": [14],
    "test_image_ids": ["13"],
}
FULL: dict[str, Any] = {
    "data": [
        {
            "image_id": "11",
            "file_name": "train2017/a.jpg",
            "pan_seg_file_name": "panoptic_train2017/a.png",
            "width": 40,
            "height": 30,
            "segments_info": [
                {"id": 5, "category_id": 0, "iscrowd": 0},
                {"id": 9, "category_id": 2, "iscrowd": 1},
            ],
            "annotations": [
                {"bbox": [1, 2, 11, 12], "bbox_mode": 0, "category_id": 0},
                {"bbox": [0, 0, 40, 30], "bbox_mode": 1, "category_id": 2},
            ],
            "relations": [[0, 1, 2], [1, 0, 0], [0, 1, 3]],
        },
        {"image_id": "12", "file_name": "train2017/b.jpg", "segments_info": [], "annotations": [], "relations": []},
    ],
    "predicate_classes": PREDICATES,
    "thing_classes": ["person", "horse"],
    "stuff_classes": ["grass"],
    "test_image_ids": ["12"],
}


def written(folder: Path, content: dict[str, Any], **changes: Any) -> Path:
    for entry in content["data"]:
        image = folder / "coco" / entry["file_name"]
        image.parent.mkdir(parents=True, exist_ok=True)
        image.touch()
    path = folder / "psg.json"
    path.write_text(json.dumps({**content, **changes}))
    return path


def test_labels_are_the_predicates_with_their_ids_and_groups(tmp_path: Path) -> None:
    space = read_psg(written(tmp_path, BASIC)).label_space
    assert space.names == tuple(PREDICATES)
    assert space.source_ids == (0, 1, 2, 3)
    assert space.groups == ("not evaluated", "not evaluated", "evaluated", "evaluated")


def test_each_record_is_a_row_with_its_split(tmp_path: Path) -> None:
    index = read_psg(written(tmp_path, BASIC))
    assert index.ids == ["11", "12", "11#2", "13", "14"]
    assert index.table["positives"].to_pylist() == [[0, 3], [], [2], [], [1]]
    assert index.table["unknowns"].to_pylist() == [[], [], [], [0, 1, 2, 3], []]
    assert index.table["split"].to_pylist() == ["train", "train", "train", "test", "val"]
    assert all(path.is_file() for path in index.images())
    assert any("1 images have several records" in note for note in index.notes)
    assert any("1 test images are withheld" in note for note in index.notes)


def test_without_lists_of_ids_there_are_no_splits_and_nothing_is_withheld(tmp_path: Path) -> None:
    content = {"data": BASIC["data"], "predicate_classes": PREDICATES}
    index = read_psg(written(tmp_path, content))
    assert index.splits() == {}
    assert not index.counts("unknowns").any()


def test_triplets_and_objects_of_a_full_file(tmp_path: Path) -> None:
    index = read_psg(written(tmp_path, FULL))
    assert index.object_space is not None
    assert index.object_space.names == ("person", "horse", "grass")
    first = index.table.slice(0, 1).to_pylist()[0]
    assert first["positives"] == [0, 2, 3]
    assert [(one["category"], one["box"], one["crowd"], one["segment"]) for one in first["objects"]] == [
        (0, [1, 2, 10, 10], False, 5),
        (2, [0, 0, 40, 30], True, 9),
    ]
    assert first["triplets"][1] == {"subject": 1, "object": 0, "predicate": 0}
    assert (first["segments"], first["width"], first["height"]) == ("panoptic_train2017/a.png", 40, 30)
    assert index.table["unknowns"].to_pylist() == [[], [0, 1, 2, 3]]


def test_labels_can_be_read_without_pictures_and_the_error_says_how(tmp_path: Path) -> None:
    path = tmp_path / "psg.json"
    path.write_text(json.dumps(BASIC))
    with pytest.raises(DataError, match=r"5 of 5 images are missing.*missing=keep for their labels alone"):
        read_psg(path)
    assert len(read_psg(path, missing="keep")) == 5


def record(**changes: Any) -> dict[str, Any]:
    return {**BASIC, "data": [{**BASIC["data"][0], **changes}]}


def full(**changes: Any) -> dict[str, Any]:
    return {**FULL, "data": [{**FULL["data"][0], **changes}]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (record(relations=[4]), ["image id 11", "relation 4", "0 to 3"]),
        (record(relations=["riding"]), ["image id 11", "relation 'riding'"]),
        (record(relations=3), ["image id 11", "relations is 3"]),
        ({**BASIC, "val_image_ids": ["11"]}, ["image id 11", "'train_image_ids'", "'val_image_ids'"]),
        ({**BASIC, "predicate_classes": None}, ["'predicate_classes'"]),
        ({**BASIC, "data": [{"image_id": "11"}]}, ["entry 0", "no 'file_name'"]),
        (full(relations=[[0, 2, 1]]), ["image id 11", "[0, 2, 1]", "0 to 1"]),
        (full(segments_info=[{"id": 1, "category_id": 3}]), ["image id 11", "2 annotations for 1 segments"]),
        (full(segments_info=[{"id": 1, "category_id": 3}], annotations=[]), ["segment 0", "category_id is 3"]),
        (full(segments_info=[{"id": -1, "category_id": 1}], annotations=[]), ["segment 0", "id is -1"]),
        (full(annotations=[{"bbox": [1, 2, 3]}] * 2), ["annotation 0", "[1, 2, 3]"]),
        (full(pan_seg_file_name="../../secret.png"), ["image id 11", "outside the root"]),
        ({**FULL, "thing_classes": None}, ["'thing_classes'"]),
    ],
)
def test_wrong_records_are_named_in_one_line(tmp_path: Path, content: dict[str, Any], words: list[str]) -> None:
    path = tmp_path / "psg.json"
    path.write_text(json.dumps(content))
    with pytest.raises(CotagError) as caught:
        read_psg(path, missing="keep")
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    for word in words:
        assert word in message


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "psg.json"
    path.write_text("{}")
    with pytest.raises(FormatError, match=r"psg\.json: has no 'data'; expected 'data', 'predicate_classes'"):
        read_psg(path)


@pytest.mark.real
def test_the_sample(shared_data: Path) -> None:
    path = shared_data / "psg" / "psg_cls_basic_sample.json"
    with pytest.raises(DataError, match=r"164 of 164 images are missing.*missing=keep"):
        read_psg(path)
    index = read_psg(path, missing="keep")
    assert (len(index), len(index.label_space)) == (164, 56)
    assert index.splits() == {}
    assert index.label_space.names[46] == "riding"
    assert index.label_space.groups is not None
    assert index.label_space.groups.count("not evaluated") == 6
    assert index.table["positives"][0].as_py() == [11, 14, 20, 22, 42]
