"""The panoptic scene graph files of scenes, read through the reader of such files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cotag
from cotag.data.psg import read_psg
from cotag.data.scenes.psg_files import MARKER, PSG_SPLITS, is_written, write_psg
from cotag.data.scenes.reader import read_scenes
from cotag.data.scenes.salience import MOST, NAMES
from cotag.data.scenes.vocabulary import LABELS, OBJECT_SPACE
from cotag.errors import DataError, SettingError
from cotag.types.index import Index

COUNT, SIDE, SEED = 150, 64, 3


@pytest.fixture(scope="session")
def folder(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the drawn scenes, with the files of panoptic scene graphs."""
    copy = tmp_path_factory.mktemp("psg") / "scenes"
    shutil.copytree(drawn, copy)
    write_psg(copy)
    return copy


@pytest.fixture(scope="session")
def whole(folder: Path) -> Index:
    return read_psg(folder / "psg" / "psg.json")


def test_the_layout_is_that_of_the_challenge(folder: Path) -> None:
    value = json.loads((folder / "psg" / "psg_cls_basic.json").read_text())
    assert set(value) == {"data", "predicate_classes", "train_image_ids", "val_image_ids", "test_image_ids"}
    assert len(value["predicate_classes"]) == 56
    listed = [name for split in PSG_SPLITS for name in value[f"{split}_image_ids"]]
    assert sorted(listed) == sorted(record["image_id"] for record in value["data"])
    for record in value["data"]:
        assert set(record) == {"image_id", "file_name", "relations"}
        withheld = record["image_id"] in value["test_image_ids"]
        assert record["relations"] == [] if withheld else 1 <= len(record["relations"]) <= MOST


def test_both_files_hold_the_same_relations_but_for_the_test_images(folder: Path, whole: Index) -> None:
    basic = read_psg(folder / "psg" / "psg_cls_basic.json")
    assert basic.label_space == whole.label_space
    assert basic.ids == whole.ids
    judging = whole.rows_of("test")
    assert np.array_equal(judging, basic.rows_of("test"))
    assert (basic.targets(judging) == -1).all()
    rest = np.setdiff1d(np.arange(len(whole)), judging)
    assert np.array_equal(basic.targets(rest), whole.targets(rest))
    assert (whole.targets() >= 0).all()
    assert basic.label_space.groups is not None
    assert basic.label_space.groups.count("evaluated") == 50


def test_images_without_relations_are_left_out_and_the_others_are_those_of_the_other_views(
    folder: Path, whole: Index
) -> None:
    relations = Index.load(folder / "relations.arrow")
    rows = np.array([int(name) for name in whole.ids])
    assert [path.name for path in whole.images()] == [relations.images()[row].name for row in rows]
    left_out = np.setdiff1d(np.arange(COUNT), rows)
    assert len(left_out) > 0
    for row in left_out:
        # Alone, or of two things that are only far apart or of different size.
        told = {relations.label_space.names[label] for label in relations.table["positives"][int(row)].as_py()}
        assert told <= {"far from", "larger than", "near", "level with", "left of", "pointing at"}
    assert (whole.targets().sum(1) >= 1).all()


def test_objects_and_triplets_are_those_of_the_scene(folder: Path, whole: Index) -> None:
    relations = Index.load(folder / "relations.arrow").table.to_pylist()
    assert whole.object_space is not None
    assert whole.object_space.names[: len(OBJECT_SPACE)] == OBJECT_SPACE.names
    for row in whole.table.to_pylist():
        scene = relations[int(row["id"])]
        things, ground = row["objects"][:-1], row["objects"][-1]
        assert [(one["category"], one["box"]) for one in things] == [
            (one["category"], one["box"]) for one in scene["objects"]
        ]
        assert whole.object_space.groups is not None
        assert whole.object_space.groups[ground["category"]] == "stuff"
        assert row["positives"] == sorted({one["predicate"] for one in row["triplets"]})
        assert len(row["triplets"]) == len(row["positives"])
        for one in row["triplets"]:
            assert len({one["subject"], one["object"]}) == 2
            assert max(one["subject"], one["object"]) < len(things)


def test_segment_maps_have_every_pixel_in_a_segment_of_the_record(folder: Path, whole: Index) -> None:
    labels = Index.load(folder / "objects.arrow").table["positives"].to_pylist()
    channels = set()
    for row in whole.table.to_pylist():
        colors = np.asarray(Image.open(folder / row["segments"])).astype(int)
        segments = colors[..., 0] + 256 * colors[..., 1] + 65536 * colors[..., 2]
        before = np.asarray(Image.open(folder / "segments" / Path(row["segments"]).name))[..., 0]
        for place, item in enumerate(row["objects"]):
            wanted = 0 if place == len(row["objects"]) - 1 else place + 1
            assert np.array_equal(segments == item["segment"], before == wanted)
        channels |= {channel for channel in range(3) if colors[..., channel].any()}
        assert whole.object_space is not None
        ground = whole.object_space.names[row["objects"][-1]["category"]]
        assert (ground in {LABELS.names[label] for label in labels[int(row["id"])]}) == (ground != "plain background")
    assert channels == {0, 1, 2}


def test_areas_and_boxes_of_segments(folder: Path) -> None:
    for record in json.loads((folder / "psg" / "psg.json").read_text())["data"][:40]:
        colors = np.asarray(Image.open(folder / record["pan_seg_file_name"])).astype(int)
        segments = colors[..., 0] + 256 * colors[..., 1] + 65536 * colors[..., 2]
        for segment, annotation in zip(record["segments_info"], record["annotations"], strict=True):
            assert segment["area"] == (segments == segment["id"]).sum()
            assert annotation["category_id"] == segment["category_id"]


def test_relations_have_a_long_tail_and_the_splits_their_shares(whole: Index) -> None:
    groups = np.array(whole.label_space.groups)
    counts = whole.counts()[groups == "evaluated"]
    assert counts.max() >= 60
    assert (counts <= 1).sum() >= 10
    for split, share in PSG_SPLITS.items():
        assert abs(len(whole.split(split)) - share * len(whole)) <= 2
        assert (whole.split(split).counts()[whole.counts() >= 10] > 0).all()


def test_the_view_writes_the_files_once_and_reads_them(folder: Path, whole: Index, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(folder, again)
    shutil.rmtree(again / "psg")
    first = read_scenes("psg", images=COUNT, size=SIDE, seed=SEED, out=str(again))
    assert first.table.equals(whole.table)
    assert f"{COUNT - len(whole)} of {COUNT} scenes are left out, since they show no relation" in first.notes
    written = (again / "psg" / "psg.json").stat().st_mtime_ns
    withheld = cotag.read("scenes:psg", images=COUNT, size=SIDE, seed=SEED, out=str(again), withheld="true")
    assert (withheld.targets(withheld.rows_of("test")) == -1).all()
    assert (again / "psg" / "psg.json").stat().st_mtime_ns == written
    assert filecmp_equal(again / "psg", folder / "psg")
    assert cotag.read(f"psg:{again}/psg/psg_cls_basic.json").table.equals(withheld.table)


def filecmp_equal(one: Path, other: Path) -> bool:
    names = sorted(str(path.relative_to(one)) for path in one.rglob("*.*"))
    return names == sorted(str(path.relative_to(other)) for path in other.rglob("*.*")) and all(
        (one / name).read_bytes() == (other / name).read_bytes() for name in names
    )


def test_files_of_another_version_are_written_anew(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "psg" / MARKER).write_text('{"cotag_scenes_psg": 0}')
    (copy / "psg" / "psg.json").write_text("{}")
    assert not is_written(copy)
    assert len(read_scenes("psg", images=COUNT, size=SIDE, seed=SEED, out=str(copy))) > 100
    assert is_written(copy)


def test_what_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingError) as caught:
        read_scenes("relations", images=3, size=64, withheld=True)
    assert str(caught.value) == (
        "scenes:relations: withheld=true hides the relations of test images; read scenes:psg with it"
    )
    with pytest.raises(DataError, match="none of these scenes shows two things that are related; draw more images"):
        read_scenes("psg", images=1, size=64, seed=0, out=str(tmp_path / "one"))
    assert not (tmp_path / "one" / "psg").exists()


def test_names_are_the_predicates_of_the_file(whole: Index) -> None:
    assert whole.label_space.names == NAMES
    assert whole.label_space.source_ids == tuple(range(56))
