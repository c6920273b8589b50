"""Scenes on disk: pictures, segment maps, saved indexes, and the same labels as CSV, COCO and PSG files."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cotag.data.scenes.allot import allot
from cotag.data.scenes.draw import picture
from cotag.data.scenes.labels import labels_of
from cotag.data.scenes.layout import make_scene
from cotag.data.scenes.relations import box_of, relations_of
from cotag.data.scenes.scene import Scene
from cotag.data.scenes.vocabulary import LABELS, OBJECT_SPACE, PREDICATES, RELATIONS, SPLITS, THEMED, VERSION
from cotag.storage import whole_folder
from cotag.types.index import Index
from cotag.types.progress import Progress, Silent

MARKER = "scenes.json"


@dataclass(frozen=True)
class Record:
    """What is written of one scene.

    Attributes:
        name: the file name of its picture and its segment map.
        labels: label ids, ascending.
        theme: the label id of its theme.
        objects: as in an Index, back to front.
        areas: pixels of each object's visible mask.
        attributes: color, texture and size of each object.
        triplets: (subject, predicate, object).
    """

    name: str
    labels: list[int]
    theme: int
    objects: list[dict[str, Any]]
    areas: list[int]
    attributes: list[dict[str, str]]
    triplets: list[tuple[int, int, int]]

    @property
    def predicates(self) -> list[int]:
        """The predicates that occur, ascending."""
        return sorted({predicate for _, predicate, _ in self.triplets})


def settings_of(images: int, size: int, seed: int) -> dict[str, int]:
    """What a folder of scenes depends on, as it stands in the folder."""
    return {"cotag_scenes": VERSION, "images": images, "size": size, "seed": seed}


def write_scenes(
    folder: str | os.PathLike[str], images: int, size: int, seed: int, progress: Progress | None = None
) -> None:
    """Draw scenes and write them to a folder, whole or not at all.

    ``images/`` and ``segments/`` hold PNG files; ``objects.arrow``, ``relations.arrow`` and ``themes.arrow`` the
    views as saved indexes (every theme is known there); ``labels.csv`` (image, labels separated by a bar, split),
    ``annotations/instances_<split>.json`` (COCO, with compressed RLE masks) and ``psg_cls_basic.json`` the first two
    for other programs.

    Args:
        images: how many, 1 or more.
        size: pixels of a picture's side.
        seed: 0 or more.

    Raises:
        StorageError: the folder could not be written; nothing half-written remains.
    """
    with whole_folder(folder) as temporary:
        for name in ("images", "segments", "annotations"):
            (temporary / name).mkdir()
        records = []
        with (progress or Silent()).task("drawing scenes", images) as task:
            for image in range(images):
                records.append(_draw(temporary, image, size, seed))
                task.advance()
        splits = allot(_present(records))
        for view, index in _indexes(records, splits, size, temporary).items():
            index.save(temporary / f"{view}.arrow")
        _write_csv(temporary / "labels.csv", records, splits)
        for split in SPLITS:
            rows = [row for row, name in enumerate(splits) if name == split]
            _dump(temporary / "annotations" / f"instances_{split}.json", _coco(records, rows, size))
        _dump(temporary / "psg_cls_basic.json", _psg(records, splits))
        _dump(temporary / MARKER, settings_of(images, size, seed))


def _draw(folder: Path, image: int, size: int, seed: int) -> Record:
    scene = make_scene(seed, image, size)
    name = f"{image:06d}.png"
    _save(picture(scene), folder / "images" / name)
    map_HWC = np.zeros((size, size, 3), dtype=np.uint8)
    # A scene has fewer than 256 objects, so the ids fit in R of R + 256 G + 65536 B.
    map_HWC[..., 0] = scene.segments
    _save(map_HWC, folder / "segments" / name)
    return record_of(scene, name)


def _save(pixels_HWC: np.ndarray, path: Path) -> None:
    Image.fromarray(pixels_HWC).save(path, compress_level=4)


def record_of(scene: Scene, name: str) -> Record:
    """What is written of a scene whose picture has the file name ``name``."""
    from pycocotools import mask as coco_mask

    objects, areas, attributes = [], [], []
    for number, placed in enumerate(scene.objects, start=1):
        mask = scene.segments == number
        left, top, right, bottom = box_of(mask)
        objects.append(
            {
                "category": OBJECT_SPACE.id(placed.thing.shape),
                "box": [left, top, right - left, bottom - top],
                "mask": coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"],
                "crowd": False,
                "segment": number,
            }
        )
        areas.append(int(mask.sum()))
        thing = placed.thing
        attributes.append({"color": thing.color, "texture": thing.texture, "size": thing.size})
    return Record(name, labels_of(scene), THEMED.id(scene.theme), objects, areas, attributes, relations_of(scene))


def _present(records: list[Record]) -> np.ndarray:
    """Labels and predicates of all scenes side by side; bool (N, K)."""
    present = np.zeros((len(records), len(LABELS) + len(RELATIONS)), dtype=bool)
    for row, record in enumerate(records):
        present[row, record.labels] = True
        present[row, [len(LABELS) + predicate for predicate in record.predicates]] = True
    return present


def _indexes(records: list[Record], splits: list[str], size: int, root: Path) -> dict[str, Index]:
    columns = {
        "image": [f"images/{record.name}" for record in records],
        "split": splits,
        "width": [size] * len(records),
        "height": [size] * len(records),
        "objects": [record.objects for record in records],
        "segments": [f"segments/{record.name}" for record in records],
    }
    labels = {"positives": [record.labels for record in records]}
    themes = {"positives": [[*record.labels, record.theme] for record in records]}
    relations = {
        "positives": [record.predicates for record in records],
        "triplets": [
            [{"subject": a, "predicate": predicate, "object": b} for a, predicate, b in record.triplets]
            for record in records
        ],
    }
    return {
        "objects": Index.build({**columns, **labels}, LABELS, root, OBJECT_SPACE),
        "relations": Index.build({**columns, **relations}, RELATIONS, root, OBJECT_SPACE),
        "themes": Index.build({**columns, **themes}, THEMED, root, OBJECT_SPACE),
    }


def _write_csv(path: Path, records: list[Record], splits: list[str]) -> None:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(("image", "labels", "split"))
        for record, split in zip(records, splits, strict=True):
            writer.writerow((f"images/{record.name}", "|".join(LABELS.names[k] for k in record.labels), split))


def _coco(records: list[Record], rows: list[int], size: int) -> dict[str, Any]:
    """One split as COCO instances; image ids are row numbers, and an object's color and so on its attributes."""
    source_ids = OBJECT_SPACE.source_ids or ()
    annotations: list[dict[str, Any]] = []
    for row in rows:
        record = records[row]
        for place, (item, area, attributes) in enumerate(
            zip(record.objects, record.areas, record.attributes, strict=True)
        ):
            annotations.append(
                {
                    "id": 1 + row * 100 + place,
                    "image_id": row,
                    "category_id": source_ids[item["category"]],
                    "bbox": item["box"],
                    "area": area,
                    "segmentation": {"size": [size, size], "counts": item["mask"].decode("ascii")},
                    "iscrowd": 0,
                    "attributes": attributes,
                }
            )
    return {
        "images": [{"id": row, "file_name": records[row].name, "width": size, "height": size} for row in rows],
        "annotations": annotations,
        "categories": [
            {"id": number, "name": name, "supercategory": "shape"}
            for number, name in zip(source_ids, OBJECT_SPACE.names, strict=True)
        ],
    }


def _psg(records: list[Record], splits: list[str]) -> dict[str, Any]:
    """The relations of all scenes as ``psg_cls_basic.json`` has them."""
    value: dict[str, Any] = {
        f"{split}_image_ids": [str(row) for row, name in enumerate(splits) if name == split] for split in SPLITS
    }
    value["predicate_classes"] = list(PREDICATES)
    value["data"] = [
        {"image_id": str(row), "file_name": f"images/{record.name}", "relations": record.predicates}
        for row, record in enumerate(records)
    ]
    return value


def _dump(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value) + "\n", encoding="utf-8")
