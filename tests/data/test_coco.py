"""COCO annotations: label order, splits, objects, masks, where the images are, and what is refused."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from cotag.data.coco import read_coco
from cotag.errors import CotagError, CotagWarning, DataError, FormatError, LabelSpaceError

SQUARE = [1.0, 1.0, 5.0, 1.0, 5.0, 5.0, 1.0, 5.0]
CONTENT: dict[str, Any] = {
    "images": [
        {"id": 7, "file_name": "b.png", "width": 12, "height": 8},
        {"id": 3, "file_name": "a.png", "width": 12, "height": 8},
        {"id": 9, "file_name": "c.png", "width": 12, "height": 8},
    ],
    "categories": [
        {"id": 18, "name": "dog", "supercategory": "animal"},
        {"id": 1, "name": "person", "supercategory": "person"},
        {"id": 17, "name": "cat", "supercategory": "animal"},
    ],
    "annotations": [
        {"id": 1, "image_id": 3, "category_id": 18, "bbox": [1, 1, 4, 4], "iscrowd": 0, "segmentation": [SQUARE]},
        {"id": 2, "image_id": 3, "category_id": 18, "bbox": [0, 0, 2, 2], "iscrowd": 0, "segmentation": []},
        {
            "id": 3,
            "image_id": 7,
            "category_id": 1,
            "bbox": [0, 0, 12, 8],
            "iscrowd": 1,
            "segmentation": {"size": [8, 12], "counts": [0, 16, 80]},
        },
        {"id": 4, "image_id": 3, "category_id": 17},
    ],
}


def pictures(folder: Path, names: str = "abc") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("RGB", (12, 8)).save(folder / f"{name}.png")


def written(path: Path, **changes: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**CONTENT, **changes}))
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    pictures(tmp_path / "images")
    return written(tmp_path / "annotations" / "instances_val.json")


def annotation(**changes: Any) -> list[dict[str, Any]]:
    """The annotations with the first one changed; a value of None takes the key away."""
    found = copy.deepcopy(CONTENT["annotations"])
    found[0].update(changes)
    found[0] = {key: value for key, value in found[0].items() if value is not None}
    return found


def test_labels_are_ordered_by_category_id_whatever_the_order_in_the_file(file: Path) -> None:
    space = read_coco(file).label_space
    assert space.names == ("person", "cat", "dog")
    assert space.source_ids == (1, 17, 18)
    assert space.groups == ("person", "animal", "animal")


def test_labels_ordered_by_name_keep_their_positives(file: Path) -> None:
    by_id, by_name = read_coco(file), read_coco(file, order="name")
    assert by_name.label_space.names == ("cat", "dog", "person")
    assert by_name.label_space.source_ids == (17, 18, 1)
    np.testing.assert_array_equal(by_name.targets(), by_id.targets()[:, [1, 2, 0]])


def test_rows_are_the_images_and_a_crowd_counts_as_presence(file: Path) -> None:
    index = read_coco(file)
    assert index.ids == ["7", "3", "9"]
    assert index.splits() == {"val": 3}
    np.testing.assert_array_equal(index.targets(), [[1, 0, 0], [0, 1, 1], [0, 0, 0]])
    assert index.table["width"].to_pylist() == [12, 12, 12]
    assert [path.name for path in index.images()] == ["b.png", "a.png", "c.png"]
    assert all(path.is_file() for path in index.images())


def test_objects_keep_the_order_of_the_file_and_a_box_may_be_absent(file: Path) -> None:
    crowd, several, none = read_coco(file).table["objects"].to_pylist()
    assert [(one["category"], one["box"]) for one in several] == [(2, [1, 1, 4, 4]), (2, [0, 0, 2, 2]), (1, None)]
    assert [one["crowd"] for one in crowd + several] == [True, False, False, False]
    assert none == []


def test_masks_are_read_from_polygons_and_runs(file: Path) -> None:
    index = read_coco(file, masks=True)
    crowd, several, _ = index.table["objects"].to_pylist()
    decoded = coco_mask.decode({"size": [8, 12], "counts": several[0]["mask"]})
    expected = np.zeros((8, 12), dtype=np.uint8)
    expected[1:5, 1:5] = 1
    np.testing.assert_array_equal(decoded, expected)
    assert several[1]["mask"] is None
    assert several[2]["mask"] is None
    runs = coco_mask.decode({"size": [8, 12], "counts": crowd[0]["mask"]})
    np.testing.assert_array_equal(runs[:, :2], 1)
    assert runs.sum() == 16
    assert read_coco(file).table["objects"].to_pylist()[1][0]["mask"] is None


@pytest.mark.parametrize("folder", ["images", "images/train2017", "train2017"])
def test_a_root_has_all_its_files_and_finds_their_images(tmp_path: Path, folder: str) -> None:
    pictures(tmp_path / folder)
    pictures(tmp_path / "val2017", "d")
    written(tmp_path / "annotations" / "instances_train2017.json")
    images = [{"id": 4, "file_name": "d.png", "width": 12, "height": 8}]
    written(tmp_path / "annotations" / "instances_val2017.json", images=images, annotations=[])
    index = read_coco(tmp_path)
    assert index.splits() == {"train2017": 3, "val2017": 1}
    assert index.table["image"].to_pylist()[1::2] == [f"{folder}/a.png", "val2017/d.png"]
    np.testing.assert_array_equal(index.targets().sum(axis=1), [1, 2, 0, 0])


def test_a_single_file_finds_images_beside_it_and_has_no_split(tmp_path: Path) -> None:
    pictures(tmp_path)
    index = read_coco(written(tmp_path / "labels.json"))
    assert index.splits() == {}
    assert index.root == tmp_path


def test_images_names_the_folder(tmp_path: Path) -> None:
    pictures(tmp_path / "elsewhere")
    file = written(tmp_path / "labels" / "labels.json")
    assert read_coco(file, images=tmp_path / "elsewhere").table["image"].to_pylist() == ["b.png", "a.png", "c.png"]


def test_missing_images_stop_with_their_count_or_are_skipped_with_a_note(file: Path) -> None:
    (file.parent.parent / "images" / "a.png").unlink()
    with pytest.raises(DataError, match=r"instances_val\.json: 1 of 3 images is missing, first 'a\.png'.*missing=skip"):
        read_coco(file)
    index = read_coco(file, missing="skip")
    assert index.ids == ["7", "9"]
    assert any("1 of 3 images are missing and left out: a.png" in note for note in index.notes)
    assert len(read_coco(file, missing="keep")) == 3


def test_all_images_missing_is_an_error_even_with_skip(tmp_path: Path) -> None:
    file = written(tmp_path / "labels.json")
    with pytest.raises(DataError, match=r"3 of 3 images are missing.*images=FOLDER"):
        read_coco(file, missing="skip")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"annotations": annotation(image_id=4)}, ["annotation id 1", "image_id 4"]),
        ({"annotations": annotation(category_id=99)}, ["annotation id 1", "category_id 99"]),
        ({"annotations": annotation(category_id=None)}, ["annotation id 1", "no 'category_id'"]),
        ({"annotations": annotation(bbox=[1, math.nan, 2, 2])}, ["annotation id 1", "bbox", "nan"]),
        ({"annotations": annotation(bbox=[1, 2, 2])}, ["annotation id 1", "bbox", "[1, 2, 2]"]),
        ({"annotations": annotation(bbox="none")}, ["annotation id 1", "bbox", "'none'"]),
        ({"annotations": annotation(bbox=[0, 0, 10**400, 1])}, ["annotation id 1", "bbox"]),
        ({"annotations": [3]}, ["entry 0", "'annotations'"]),
        ({"images": [*CONTENT["images"], CONTENT["images"][0]]}, ["image id 7", "twice"]),
        ({"images": [{"id": math.nan, "file_name": "a.png"}]}, ["'images'", "'id' is nan"]),
        ({"images": [{"id": 1}], "annotations": []}, ["entry 0 (id 1)", "no 'file_name'"]),
        ({"images": [{**CONTENT["images"][0], "width": "wide"}], "annotations": []}, ["image id 7", "width is 'wide'"]),
        ({"images": {}}, ["'images' is a dict"]),
        ({"images": [], "annotations": []}, ["no images"]),
        ({"categories": [*CONTENT["categories"], {"id": 1, "name": "tree"}]}, ["category id 1", "twice"]),
        ({"categories": [*CONTENT["categories"], {"id": 2, "name": "dog"}]}, ["names stand twice", "dog"]),
    ],
)
def test_wrong_entries_are_named_in_one_line(file: Path, changes: dict[str, Any], words: list[str]) -> None:
    written(file, **changes)
    with pytest.raises(CotagError) as caught:
        read_coco(file)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(file))
    for word in words:
        assert word in message


@pytest.mark.parametrize("key", ["images", "annotations", "categories"])
def test_a_missing_list_is_named(file: Path, key: str) -> None:
    content = dict(CONTENT)
    del content[key]
    file.write_text(json.dumps(content))
    with pytest.raises(FormatError, match=f"instances_val.json: has no '{key}'; expected 'images', 'annotations'"):
        read_coco(file)


@pytest.mark.parametrize(
    ("text", "word"), [('{"images": [', "line 1"), ("\xff", "UTF-8"), ("[1]", "list"), ("", "JSON")]
)
def test_what_is_not_json_is_refused(file: Path, text: str, word: str) -> None:
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(FormatError, match=word):
        read_coco(file)


def test_a_missing_file_and_a_root_without_annotations(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no\.json: there is no such file"):
        read_coco(tmp_path / "no.json")
    with pytest.raises(DataError, match=r"there is no annotations/instances_<split>\.json"):
        read_coco(tmp_path)


def test_files_of_a_root_must_have_the_same_categories(tmp_path: Path) -> None:
    pictures(tmp_path / "images")
    written(tmp_path / "annotations" / "instances_train.json")
    other = tmp_path / "annotations" / "instances_val.json"
    written(other, images=[], annotations=[], categories=CONTENT["categories"][:2])
    with pytest.raises(
        LabelSpaceError, match=r"instances_train\.json and .*instances_val\.json.*only in the first: cat"
    ):
        read_coco(tmp_path)
    renumbered = [{**one, "id": one["id"] + 1} for one in CONTENT["categories"]]
    written(other, images=[], annotations=[], categories=renumbered)
    with pytest.raises(LabelSpaceError, match="other ids"):
        read_coco(tmp_path)


def test_an_image_in_two_files_of_a_root_is_refused(tmp_path: Path) -> None:
    pictures(tmp_path / "images")
    for split in ("train", "val"):
        written(tmp_path / "annotations" / f"instances_{split}.json")
    with pytest.raises(DataError, match=r"instances_val\.json: image id 7 is also in .*instances_train\.json"):
        read_coco(tmp_path)


@pytest.mark.parametrize(
    ("segmentation", "word"),
    [
        ([[1, 1, math.nan, 2, 3, 3]], "not a number"),
        ([[1, 1, 1e9, 2, 3, 3]], "far outside"),
        ([[1, 1, 2, 2]], "three points"),
        ({"size": [9, 12], "counts": [108]}, "size is [9, 12]"),
        ({"size": [8, 12], "counts": [0, 5]}, "add up to 5"),
        ("abc", "no mask"),
    ],
)
def test_a_wrong_segmentation_is_named(file: Path, segmentation: Any, word: str) -> None:
    written(file, annotations=annotation(segmentation=segmentation))
    read_coco(file)
    with pytest.raises(DataError, match="annotation id 1: segmentation is no mask") as caught:
        read_coco(file, masks=True)
    assert word in str(caught.value)


def test_a_label_spelled_in_two_ways_is_warned_and_noted(file: Path) -> None:
    written(file, categories=[*CONTENT["categories"], {"id": 2, "name": "Dog"}])
    with pytest.warns(CotagWarning, match=r"'Dog' \(0 images\) and 'dog' \(1 images\)"):
        index = read_coco(file)
    assert any("'Dog'" in note for note in index.notes)
    assert any("no positive image: 'Dog'" in note for note in index.notes)


@pytest.mark.real
def test_the_604_photographs(shared_data: Path) -> None:
    index = read_coco(shared_data / "coco604")
    assert len(index) == 604
    assert len(index.label_space) == 80
    assert index.splits() == {"train": 422, "val": 182}
    assert index.label_space.names[:2] == ("person", "bicycle")
    assert index.label_space.source_ids is not None
    assert index.label_space.source_ids[-1] == 90
    assert len(index.table["objects"].combine_chunks().flatten()) == 3313 + 1707
    counts = index.counts()
    assert counts.min() > 0
    assert round(counts.sum() / 604, 1) == 3.4
    assert round(counts.max() / counts.min()) == 79
    assert read_coco(shared_data / "coco604", order="name").label_space.names[0] == "airplane"


@pytest.mark.real
def test_masks_of_photographs_lie_in_their_boxes(shared_data: Path) -> None:
    index = read_coco(shared_data / "coco604" / "annotations" / "instances_val.json", masks=True)
    rows = index.table.select(["objects", "width", "height"]).to_pylist()
    apart = []
    for row in rows:
        for one in row["objects"]:
            if one["mask"] is not None:
                box = coco_mask.toBbox({"size": [row["height"], row["width"]], "counts": one["mask"]})
                apart.append(np.abs(box - one["box"]).max())
    assert len(apart) == 1707 - 463
    # Slivers of polygons hold no pixel at this size, so a few boxes reach further than their masks.
    assert np.mean(np.array(apart) <= 2) > 0.98


def test_a_file_name_that_leaves_the_root_is_refused(file: Path) -> None:
    (file.parent.parent / "other").mkdir()
    (file.parent.parent / "other" / "x.png").touch()
    images = [*CONTENT["images"], {"id": 4, "file_name": "../other/x.png"}]
    written(file, images=images)
    with pytest.raises(
        DataError, match=r"instances_val\.json: image id 4: image '../other/x\.png' is outside the root"
    ):
        read_coco(file)
    root = file.parent.parent
    assert read_coco(file, images=root).table["image"].to_pylist()[2:] == ["images/c.png", "other/x.png"]
    written(file, images=[*CONTENT["images"], {"id": 4, "file_name": ""}])
    with pytest.raises(DataError, match=r"image id 4: the image reference is empty"):
        read_coco(file)
