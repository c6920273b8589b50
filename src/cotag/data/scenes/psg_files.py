"""Scenes as panoptic scene graph files, in the layout of the PSG classification challenge."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cotag.data.scenes.allot import allot
from cotag.data.scenes.salience import NAMES, salient
from cotag.data.scenes.vocabulary import BACKGROUNDS, LABELS, OBJECT_SPACE, SPLITS, background_label
from cotag.errors import DataError
from cotag.storage import whole_folder
from cotag.types.index import Index
from cotag.types.progress import Progress, Silent

PSG_VERSION = 1
PSG_FOLDER = "psg"
MARKER = "version.json"
WITHHELD, WHOLE = "psg_cls_basic.json", "psg.json"
# More images choose than in the other views: the rarest of 50 relations must be among them.
PSG_SPLITS = {"train": 0.6, "val": 0.2, "test": 0.2}
STUFF = tuple(background_label(kind) for kind in BACKGROUNDS)


def is_written(folder: Path) -> bool:
    """Whether a folder of scenes has the files that this version writes."""
    try:
        found: dict[str, int] = json.loads((folder / PSG_FOLDER / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return found == {"cotag_scenes_psg": PSG_VERSION}


def write_psg(folder: str | os.PathLike[str], progress: Progress | None = None) -> None:
    """Write the folder ``psg`` into a folder of scenes, whole or not at all.

    ``psg_cls_basic.json`` has the relations of each image, those of the test images withheld, as the challenge gives
    them out; ``psg.json`` everything: objects, segments and triplets, the test images' too, for judging; ``panoptic/``
    the segment maps that it names, with the background as a segment of its own. Images of which no relation is told
    are left out. The splits are 60, 20 and 20 %, others than those of the other views.

    Args:
        folder: what ``write_scenes`` wrote; its pictures stay where they are.

    Raises:
        DataError: no image has a relation.
        StorageError: the files could not be written; nothing half-written remains.
    """
    folder = Path(folder)
    records = [record for record in _records(folder) if record["relations"]]
    if not records:
        raise DataError(f"{folder}: none of these scenes shows two things that are related; draw more images")
    present = np.zeros((len(records), len(NAMES)), dtype=bool)
    for row, record in enumerate(records):
        present[row, [predicate for _, _, predicate in record["relations"]]] = True
    splits = allot(present, PSG_SPLITS)
    with whole_folder(folder / PSG_FOLDER) as temporary:
        (temporary / "panoptic").mkdir()
        with (progress or Silent()).task("segment maps", len(records)) as task:
            for record in records:
                _write_map(folder / record.pop("map"), temporary / "panoptic", record)
                task.advance()
        ids = {
            f"{split}_image_ids": [r["image_id"] for r, name in zip(records, splits, strict=True) if name == split]
            for split in SPLITS
        }
        names = {"predicate_classes": list(NAMES)}
        classes = {"thing_classes": list(OBJECT_SPACE.names), "stuff_classes": list(STUFF)}
        _dump(temporary / WITHHELD, {**ids, **names, "data": [*map(_basic, records, splits)]})
        _dump(temporary / WHOLE, {**ids, **names, **classes, "data": records})
        _dump(temporary / MARKER, {"cotag_scenes_psg": PSG_VERSION})


def _basic(record: dict[str, Any], split: str) -> dict[str, Any]:
    told = [] if split == "test" else sorted({predicate for _, _, predicate in record["relations"]})
    return {"image_id": record["image_id"], "file_name": record["file_name"], "relations": told}


def _records(folder: Path) -> Iterator[dict[str, Any]]:
    """The records of ``psg.json``, of all images; with the path of the segment map of the other views."""
    labels_of = Index.load(folder / "objects.arrow").table["positives"].to_pylist()
    table = Index.load(folder / "relations.arrow").table.select(
        ["image", "width", "height", "segments", "objects", "triplets"]
    )
    told = _annotations(folder)
    for row, (scene, labels) in enumerate(zip(table.to_pylist(), labels_of, strict=True)):
        objects, annotated = scene["objects"], told.get(row, [])
        words = [
            frozenset({OBJECT_SPACE.names[item["category"]], *one["attributes"].values()})
            for item, one in zip(objects, annotated, strict=True)
        ]
        triplets = [(one["subject"], one["predicate"], one["object"]) for one in scene["triplets"]]
        covered = sum(one["area"] for one in annotated)
        things = [_thing(item, one["area"]) for item, one in zip(objects, annotated, strict=True)]
        ground = _ground(labels, scene["width"], scene["height"], covered)
        yield {
            "image_id": str(row),
            "file_name": scene["image"],
            "pan_seg_file_name": f"{PSG_FOLDER}/panoptic/{Path(scene['segments']).name}",
            "width": scene["width"],
            "height": scene["height"],
            "segments_info": [segment for segment, _ in (*things, ground)],
            "annotations": [annotation for _, annotation in (*things, ground)],
            "relations": [[a, b, predicate] for a, predicate, b in salient(words, triplets)],
            "map": scene["segments"],
        }


def _annotations(folder: Path) -> dict[int, list[dict[str, Any]]]:
    """The COCO annotations of each image, in the order of its objects."""
    found: dict[int, list[dict[str, Any]]] = {}
    for split in SPLITS:
        value = json.loads((folder / "annotations" / f"instances_{split}.json").read_text(encoding="utf-8"))
        for annotation in value["annotations"]:
            found.setdefault(annotation["image_id"], []).append(annotation)
    return found


Segment = tuple[dict[str, Any], dict[str, Any]]


def _thing(item: dict[str, Any], area: int) -> Segment:
    """An object as a segment and as an annotation with its box, by corners."""
    left, top, width, height = item["box"]
    color = 1 + item["category"] + (256 + 65536) * item["segment"]
    box = [left, top, left + width, top + height]
    segment = {"id": color, "category_id": item["category"], "iscrowd": 0, "isthing": 1, "area": area}
    return segment, {"bbox": box, "bbox_mode": 0, "category_id": item["category"]}


def _ground(labels: list[int], width: int, height: int, covered: int) -> Segment:
    """The background as the last segment; what is left of hidden things belongs to it."""
    names = {LABELS.names[label] for label in labels}
    kind = next((place for place, name in enumerate(STUFF) if name in names), STUFF.index(background_label("plain")))
    category = len(OBJECT_SPACE) + kind
    segment = {"id": 1 + category, "category_id": category, "iscrowd": 0, "isthing": 0}
    return (
        {**segment, "area": width * height - covered},
        {"bbox": [0, 0, width, height], "bbox_mode": 0, "category_id": category},
    )


def _write_map(source: Path, folder: Path, record: dict[str, Any]) -> None:
    """The segment map of the other views with the ids of the record: R + 256 G + 65536 B."""
    with Image.open(source) as image:
        places_HW = np.asarray(image)[..., 0]
    *things, ground = [segment["id"] for segment in record["segments_info"]]
    ids_HW = np.array([ground, *things])[places_HW]
    map_HWC = np.stack([ids_HW & 255, ids_HW >> 8 & 255, ids_HW >> 16], axis=-1).astype(np.uint8)
    Image.fromarray(map_HWC).save(folder / source.name, compress_level=4)


def _dump(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value) + "\n", encoding="utf-8")
