"""What every registered reader must do: a new one needs a line in SAMPLES."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import cotag
from cotag.data.contents import read_image
from cotag.data.images import decode
from cotag.errors import DataError
from cotag.registry import READERS


@dataclass(frozen=True)
class Sample:
    """A tiny data set: what to read, the file without which it cannot be read, and an image without labels."""

    data: str
    needed: Path | None = None
    unlabeled: str | None = None
    options: dict[str, Any] = field(default_factory=dict)


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 4), (200, 30, 60)).save(path)


def coco(root: Path) -> Sample:
    for name in "ab":
        picture(root / f"{name}.png")
    content = {
        "images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 9, "bbox": [0, 0, 2, 2]}],
        "categories": [{"id": 9, "name": "cat"}, {"id": 4, "name": "dog"}],
    }
    (root / "c.json").write_text(json.dumps(content))
    return Sample(f"coco:{root / 'c.json'}", root / "c.json", "2")


def voc(root: Path) -> Sample:
    main = root / "ImageSets" / "Main"
    main.mkdir(parents=True)
    for name in ("1", "2"):
        picture(root / "JPEGImages" / f"{name}.jpg")
    (main / "train.txt").write_text("1\n2\n")
    (main / "cat_train.txt").write_text("1 1\n2 -1\n")
    (main / "dog_train.txt").write_text("1 0\n2 -1\n")
    return Sample(f"voc:{root}", root, "2")


def psg(root: Path) -> Sample:
    for name in "ab":
        picture(root / f"{name}.png")
    content = {
        "data": [
            {"image_id": "1", "file_name": "a.png", "relations": [1, 0]},
            {"image_id": "2", "file_name": "b.png", "relations": []},
        ],
        "predicate_classes": ["on", "riding"],
    }
    (root / "p.json").write_text(json.dumps(content))
    return Sample(f"psg:{root / 'p.json'}", root / "p.json", "2")


def table(root: Path) -> Sample:
    for name in "ab":
        picture(root / f"{name}.png")
    (root / "t.csv").write_text("image,labels,split\na.png,dog|cat,train\nb.png,,test\n")
    return Sample(f"table:{root / 't.csv'}", root / "t.csv", "b.png")


def folder(root: Path) -> Sample:
    for name in ("cat/1.png", "dog/2.png", "none.png"):
        picture(root / name)
    return Sample(f"folder:{root}", root, "none.png")


def wds(root: Path) -> Sample:
    for name, labels in (("a", ["dog", "cat"]), ("b", [])):
        picture(root / f"{name}.png")
        (root / f"{name}.json").write_text(json.dumps({"labels": labels}))
    with tarfile.open(root / "train-0.tar", "w") as shard:
        for name in ("a.png", "a.json", "b.png", "b.json"):
            shard.add(root / name, name)
    return Sample(f"wds:{root / 'train-0.tar'}", root / "train-0.tar", "train-0.tar::b.png")


def scenes(root: Path) -> Sample:
    return Sample("scenes:objects", options={"images": 6, "size": 64, "out": str(root / "scenes")})


SAMPLES: dict[str, Callable[[Path], Sample]] = {
    "coco": coco,
    "voc": voc,
    "psg": psg,
    "table": table,
    "folder": folder,
    "wds": wds,
    "scenes": scenes,
}


@pytest.fixture(params=READERS.names())
def sample(request: pytest.FixtureRequest, tmp_path: Path) -> Sample:
    root = tmp_path / "data"
    root.mkdir()
    assert request.param in SAMPLES, f"reader {request.param!r} has no sample here; add one"
    return SAMPLES[request.param](root)


def test_the_labels_have_a_fixed_order(sample: Sample) -> None:
    first, second = (cotag.read(sample.data, **sample.options) for _ in range(2))
    assert first.label_space.hash == second.label_space.hash
    assert first.table.equals(second.table)
    assert len(first.label_space) >= 2


def test_images_are_references_below_the_root_to_files_that_are_there(sample: Sample) -> None:
    index = cotag.read(sample.data, **sample.options)
    assert len(index) >= 2
    assert all(decode(io.BytesIO(read_image(place, "")), "").size for place in index.images())
    assert not any(Path(reference).is_absolute() for reference in index.table["image"].to_pylist())


def test_an_image_without_labels_is_kept(sample: Sample) -> None:
    index = cotag.read(sample.data, **sample.options)
    if sample.unlabeled is None:
        pytest.skip("this reader draws its own pictures, which all have labels")
    assert index.targets()[index.ids.index(sample.unlabeled)].tolist() == [0] * len(index.label_space)


def test_a_missing_file_is_one_line_that_names_it(sample: Sample) -> None:
    if sample.needed is None:
        pytest.skip("this reader needs no file")
    if sample.needed.is_dir():
        shutil.rmtree(sample.needed)
    else:
        sample.needed.unlink()
    with pytest.raises(DataError) as caught:
        cotag.read(sample.data, **sample.options)
    assert str(caught.value).startswith(f"{sample.needed}: there is no such f")
    assert "\n" not in str(caught.value)


def test_a_saved_index_is_the_same(sample: Sample, tmp_path: Path) -> None:
    index = cotag.read(sample.data, **sample.options)
    index.save(tmp_path / "index.arrow")
    loaded = cotag.read(str(tmp_path / "index.arrow"))
    assert loaded.table.equals(index.table)
    assert loaded.label_space == index.label_space
    assert loaded.object_space == index.object_space
    assert loaded.notes == index.notes
    assert [path.resolve() for path in loaded.images()] == [path.resolve() for path in index.images()]


def test_a_subset_of_the_rows_keeps_all_columns(sample: Sample) -> None:
    index = cotag.read(sample.data, **sample.options)
    last = index.subset([len(index) - 1])
    assert last.table.to_pylist() == index.table.to_pylist()[-1:]
