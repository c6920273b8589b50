"""All files of a folder of scenes say the same."""

from __future__ import annotations

import csv
import filecmp
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from cotag.data.coco import read_coco
from cotag.data.psg import read_psg
from cotag.data.scenes.vocabulary import LABELS, OBJECT_SPACE, PREDICATES, RELATIONS, SPLITS
from cotag.data.scenes.write import write_scenes
from cotag.data.table import read_table
from cotag.types.index import Index

COUNT, SIDE, SEED = 150, 64, 3


@pytest.fixture(scope="session")
def objects(drawn: Path) -> Index:
    return Index.load(drawn / "objects.arrow")


@pytest.fixture(scope="session")
def relations(drawn: Path) -> Index:
    return Index.load(drawn / "relations.arrow")


def test_a_shorter_set_is_the_beginning_of_a_longer_one(drawn: Path, objects: Index, tmp_path: Path) -> None:
    write_scenes(tmp_path / "short", 20, SIDE, SEED)
    names = [f"{kind}/{image:06d}.png" for kind in ("images", "segments") for image in range(20)]
    assert filecmp.cmpfiles(drawn, tmp_path / "short", names, shallow=False) == (names, [], [])
    short = Index.load(tmp_path / "short" / "objects.arrow")
    assert short.table.to_pylist() == objects.table.to_pylist()[:20]
    lines = (drawn / "labels.csv").read_text().splitlines()
    assert (tmp_path / "short" / "labels.csv").read_text().splitlines() == lines[:21]


def test_another_seed_draws_other_scenes(drawn: Path, tmp_path: Path) -> None:
    write_scenes(tmp_path / "other", 3, SIDE, SEED + 1)
    for image in range(3):
        name = f"images/{image:06d}.png"
        assert (drawn / name).read_bytes() != (tmp_path / "other" / name).read_bytes()


def test_pictures_have_the_declared_size(drawn: Path, objects: Index) -> None:
    assert len(objects) == COUNT
    for row in (0, COUNT - 1):
        with Image.open(drawn / objects.table["image"][row].as_py()) as image:
            assert (image.mode, image.size) == ("RGB", (SIDE, SIDE))
    assert set(objects.table["width"].to_pylist() + objects.table["height"].to_pylist()) == {SIDE}


def test_boxes_masks_and_segment_maps_agree(drawn: Path, objects: Index) -> None:
    for row in objects.table.select(["segments", "objects"]).to_pylist():
        colors = np.asarray(Image.open(drawn / row["segments"])).astype(int)
        segments = colors[..., 0] + 256 * colors[..., 1] + 65536 * colors[..., 2]
        assert sorted({0} | {item["segment"] for item in row["objects"]}) == np.unique(segments).tolist()
        for item in row["objects"]:
            mask = coco_mask.decode({"size": [SIDE, SIDE], "counts": item["mask"]}).astype(bool)
            assert np.array_equal(mask, segments == item["segment"])
            y, x = np.nonzero(mask)
            assert item["box"] == [x.min(), y.min(), x.max() - x.min() + 1, y.max() - y.min() + 1]
            assert item["crowd"] is False


def test_shape_labels_are_the_categories_of_the_objects(objects: Index) -> None:
    assert objects.object_space is not None
    assert objects.object_space.names == LABELS.names[: len(OBJECT_SPACE)]
    for row in objects.table.select(["positives", "objects"]).to_pylist():
        shapes = {label for label in row["positives"] if label < len(OBJECT_SPACE)}
        assert shapes == {item["category"] for item in row["objects"]}
        assert row["positives"] == sorted(set(row["positives"]))


def test_a_picture_shows_the_colors_of_its_labels(drawn: Path, objects: Index) -> None:
    """Where a picture has one object, its light tone is that of its one color label."""
    single = [row for row in objects.table.to_pylist() if len(row["objects"]) == 1]
    assert len(single) >= 8
    for row in single:
        names = {LABELS.names[label] for label in row["positives"]}
        segments = np.asarray(Image.open(drawn / row["segments"]))[..., 0]
        # Most of its light tone: not the rim, not the dark tone of a texture, not a pixel shared with a neighbor.
        red, green, blue = np.percentile(np.asarray(Image.open(drawn / row["image"]))[segments == 1], 80, axis=0)
        tests = {
            "red": red > 2 * green and red > 2 * blue,
            "blue": blue > 1.5 * red and blue > 1.5 * green,
            "green": green > 1.5 * red and green > 1.5 * blue,
            "yellow": min(red, green) > 2 * blue and green > 0.7 * red,
            "white": min(red, green, blue) > 0.85 * max(red, green, blue),
        }
        for name in names & set(tests):
            assert tests[name], (row["image"], name)


def test_every_frequent_label_is_in_every_split(objects: Index, relations: Index) -> None:
    for index in (objects, relations):
        frequent = index.counts() >= 8
        for split, share in SPLITS.items():
            part = index.split(split)
            assert (part.counts()[frequent] > 0).all()
            assert abs(len(part) - share * COUNT) <= 0.03 * COUNT


def test_predicates_are_those_of_the_triplets(objects: Index, relations: Index) -> None:
    assert "triplets" not in objects.table.column_names
    assert relations.label_space == RELATIONS
    assert relations.table["objects"].equals(objects.table["objects"])
    assert relations.table["split"].to_pylist() == objects.table["split"].to_pylist()
    for row in relations.table.to_pylist():
        assert row["positives"] == sorted({triplet["predicate"] for triplet in row["triplets"]})
        for triplet in row["triplets"]:
            ends = {triplet["subject"], triplet["object"]}
            assert len(ends) == 2
            assert ends <= set(range(len(row["objects"])))
    counts = relations.counts()
    assert counts.max() > 20 * max(1, counts.min())


def test_the_csv_file_agrees(drawn: Path, objects: Index) -> None:
    with (drawn / "labels.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [row["image"] for row in rows] == objects.ids
    assert [row["split"] for row in rows] == objects.table["split"].to_pylist()
    for row, positives in zip(rows, objects.table["positives"].to_pylist(), strict=True):
        assert row["labels"].split("|") == [LABELS.names[label] for label in positives]


def test_the_coco_files_agree(drawn: Path, objects: Index) -> None:
    rows = objects.table.to_pylist()
    count = 0
    for split in SPLITS:
        value = json.loads((drawn / "annotations" / f"instances_{split}.json").read_text())
        names = {category["id"]: category["name"] for category in value["categories"]}
        assert tuple(names.values()) == OBJECT_SPACE.names
        assert [image["file_name"] for image in value["images"]] == [
            Path(row["image"]).name for row in rows if row["split"] == split
        ]
        for image in value["images"]:
            row = rows[image["id"]]
            assert row["image"] == f"images/{image['file_name']}"
            found = [item for item in value["annotations"] if item["image_id"] == image["id"]]
            count += len(found)
            assert [OBJECT_SPACE.id(names[item["category_id"]]) for item in found] == [
                item["category"] for item in row["objects"]
            ]
            for item, kept in zip(found, row["objects"], strict=True):
                assert item["bbox"] == kept["box"]
                assert item["segmentation"]["counts"].encode() == kept["mask"]
                assert item["area"] == coco_mask.area({"size": [SIDE, SIDE], "counts": kept["mask"]})
                attributes = set(item["attributes"].values()) - {"plain", "medium"}
                assert attributes <= {LABELS.names[label] for label in row["positives"]}
    assert count == sum(len(row["objects"]) for row in rows)


def test_the_psg_file_agrees(drawn: Path, relations: Index) -> None:
    value = json.loads((drawn / "psg_cls_basic.json").read_text())
    assert tuple(value["predicate_classes"]) == PREDICATES
    assert [record["relations"] for record in value["data"]] == relations.table["positives"].to_pylist()
    assert [record["file_name"] for record in value["data"]] == relations.ids
    for split in SPLITS:
        rows = relations.rows_of(split)
        assert value[f"{split}_image_ids"] == [value["data"][row]["image_id"] for row in rows]


def test_the_other_readers_read_the_same(drawn: Path, objects: Index, relations: Index) -> None:
    place = {Path(name).name: row for row, name in enumerate(objects.ids)}

    def rows(index: Index) -> list[int]:
        assert len(index) == COUNT
        return [place[path.name] for path in index.images()]

    table = read_table(drawn / "labels.csv")
    columns = table.label_space.positions_in(LABELS)
    assert np.array_equal(table.targets(), objects.targets()[rows(table)][:, columns])
    coco = read_coco(drawn, masks=True)
    assert np.array_equal(coco.targets(), objects.targets()[rows(coco)][:, : len(OBJECT_SPACE)])
    kept = objects.table["objects"].to_pylist()
    for row, items in zip(rows(coco), coco.table["objects"].to_pylist(), strict=True):
        assert [(item["box"], item["mask"]) for item in items] == [(item["box"], item["mask"]) for item in kept[row]]
    psg = read_psg(drawn / "psg_cls_basic.json")
    read, true = psg.targets(), relations.targets()[rows(psg)]
    # In this format a test image without relations is one whose relations are withheld.
    assert np.array_equal(read[read.min(axis=1) >= 0], true[read.min(axis=1) >= 0])
    assert (true[read.min(axis=1) < 0] == 0).all()
