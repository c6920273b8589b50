from __future__ import annotations

import io
import uuid
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import cotag
from cotag.data import parquet_cells, table_file
from cotag.data.contents import read_image
from cotag.data.loader import BatchOrder, ImageRows, Loader
from cotag.data.scan import scan
from cotag.data.transforms import Preprocessing
from cotag.errors import DataError, FormatError, ImageError, SettingError
from cotag.types.index import Index


def picture(value: int) -> bytes:
    pixels = np.random.default_rng(value).integers(0, 255, (20, 24, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def write(path: Path, numbers: range, structs: bool = False, group: int = 3, **more: list[Any]) -> Path:
    """A table of pictures; the labels of each are its number's."""
    cells: list[Any] = [picture(number) for number in numbers]
    if structs:
        cells = [{"bytes": cell, "path": f"{number}.png"} for number, cell in zip(numbers, cells, strict=True)]
    labels = [["odd"] if number % 2 else ["even", "two"] for number in numbers]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        pa.table({"name": [f"n{n}" for n in numbers], "labels": labels, "image": cells, **more}), path, group
    )
    return path


def batches(index: Index, **settings: Any) -> Loader:
    order = BatchOrder(np.arange(len(index)), 3, shuffle=True, seed=1)
    return Loader(ImageRows(index, Preprocessing(8)), order, **{"workers": 0, **settings})


@pytest.mark.parametrize("structs", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_pictures_in_cells_are_those_of_files(tmp_path: Path, structs: bool, workers: int) -> None:
    index = cotag.read(write(tmp_path / "a.parquet", range(8), structs), id="name")
    assert index.table["image"].to_pylist()[4] == "a.parquet::image/4"
    assert index.ids == [f"n{number}" for number in range(8)]
    assert index.label_space.names == ("even", "odd", "two")
    for number in range(8):
        (tmp_path / f"{number}.png").write_bytes(picture(number))
    columns = {"image": [f"{number}.png" for number in range(8)], "positives": index.table["positives"]}
    files = Index.build(columns, index.label_space, tmp_path)
    for ours, theirs in zip(batches(index, workers=workers), batches(files), strict=True):
        assert np.array_equal(ours.images_BCHW, theirs.images_BCHW)
        assert np.array_equal(ours.targets_BK, theirs.targets_BK)
    assert np.array_equal(scan(index).digests_N2, scan(files).digests_N2)


def test_several_files_are_one_table_with_the_splits_of_their_names(tmp_path: Path) -> None:
    for split, number, rows in (("train", 0, range(4)), ("train", 1, range(4, 8)), ("test", 0, range(8, 10))):
        write(tmp_path / "data" / f"{split}-{number:05d}-of-00002.parquet", rows, structs=True)
    index = cotag.read(f"table:{tmp_path}/data/*.parquet", ignore="name")
    assert index.splits() == {"test": 2, "train": 8}
    assert index.ids[0] == "test-00000-of-00002.parquet::image/0"
    assert [read_image(place, "") for place in index.images()] == [picture(n) for n in (8, 9, *range(8))]
    part = cotag.read(f"table:{tmp_path}/data/train-{{00000..00001}}-of-00002.parquet", ignore="name")
    assert len(part) == 8
    with pytest.raises(DataError, match=r"train-00002-of-00002\.parquet: there is no such file"):
        cotag.read(f"table:{tmp_path}/data/train-{{00000..00002}}-of-00002.parquet")


def test_files_of_several_kinds_and_what_else_is_wrong_is_one_line(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", range(2))
    write(tmp_path / "b.parquet", range(2), more=["x", "y"])
    with pytest.raises(DataError, match=r"b\.parquet: has other columns than a\.parquet \(more\)"):
        cotag.read(f"table:{tmp_path}/*.parquet")
    with pytest.raises(SettingError, match="holds the pictures themselves; leave it out"):
        cotag.read(tmp_path / "a.parquet", images=tmp_path)
    with pytest.raises(DataError, match="no column 'nmae'; read with id=COLUMN; did you mean name"):
        cotag.read(tmp_path / "a.parquet", id="nmae")
    write(tmp_path / "c.parquet", range(2), split=["train", "tset"])
    write(tmp_path / "d.parquet", range(2, 4), split=["train", "test"])
    with pytest.raises(DataError, match=r"c\.parquet row 2: column 'split': split 'tset' is not known"):
        cotag.read(f"table:{tmp_path}/[dc].parquet")


def test_a_file_that_is_cut_short_is_refused_and_in_the_epoch_its_pictures_are_bad(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", range(6))
    index = cotag.read(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(FormatError, match=r"a\.parquet: is not a whole Parquet file \(.*\); write it again") as caught:
        cotag.read(path)
    assert "\n" not in str(caught.value)
    found = batches(index, bad_images="skip")
    assert list(found) == []
    assert sorted(found.skipped.reasons) == list(range(6))
    assert "cannot be read, the file is damaged or cut short" in found.skipped.reasons[2]


def test_damaged_bytes_are_a_bad_picture(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", range(6))
    index = cotag.read(path)
    data = bytearray(path.read_bytes())
    about = pq.ParquetFile(path).metadata.row_group(1).column(2)
    start = about.dictionary_page_offset or about.data_page_offset
    data[start : start + about.total_compressed_size] = bytes(about.total_compressed_size)
    path.write_bytes(data)
    found = batches(index, bad_images="skip")
    assert sorted(row for batch in found for row in batch.rows_B.tolist()) == [0, 1, 2]
    assert sorted(found.skipped.reasons) == [3, 4, 5]


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("image/9", "has no such cell"),
        ("photo/0", "has no such cell"),
        ("image/x", "has no such cell"),
        ("name/0", "holds no bytes"),
        ("image/2", "is empty (0 bytes)"),
    ],
)
def test_a_reference_that_leads_to_no_picture(tmp_path: Path, part: str, said: str) -> None:
    cells = [picture(0), picture(1), None]
    pq.write_table(pa.table({"name": ["a", "b", "c"], "image": cells}), tmp_path / "a.parquet")
    with pytest.raises(ImageError) as caught:
        read_image(f"{tmp_path}/a.parquet::{part}", "x")
    assert str(caught.value).startswith("x: ")
    assert said in str(caught.value)
    with pytest.raises(ImageError, match=r"^x: there is no such file"):
        read_image(f"{tmp_path}/b.parquet::{part}", "x")


def test_row_groups_are_read_once_in_order_and_are_kept_within_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = cotag.read(write(tmp_path / "a.parquet", range(9)), ignore="name")
    read: list[int] = []
    column = parquet_cells.ParquetPictures.column
    monkeypatch.setattr(
        parquet_cells.ParquetPictures,
        "column",
        lambda self, name, group: read.append(group) or column(self, name, group),
    )
    places = index.images()
    assert [read_image(place, "") for place in places] == [picture(number) for number in range(9)]
    assert read == [0, 1, 2]
    monkeypatch.setattr(parquet_cells, "KEPT", 1)
    parquet_cells._groups.clear()
    for number in (0, 1, 4, 2):
        read_image(places[number], "")
    assert read[3:] == [0, 1, 0]
    assert len(parquet_cells._groups) == 1
    # What another file says under the same name is read anew.
    write(tmp_path / "a.parquet", range(1, 10))
    assert read_image(places[0], "") == picture(1)


def test_large_row_groups_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.parquet", range(6), structs=True)
    assert cotag.read(path).notes == ()
    monkeypatch.setattr(table_file, "LARGE_GROUP", 1000.0)
    (note,) = cotag.read(path).notes
    assert "in random order one is read for each picture" in note


def test_a_file_behind_an_address(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", range(4), structs=True)
    address = f"memory://{uuid.uuid4().hex}/a.parquet"
    with fsspec.open(address, "wb") as handle:
        handle.write((tmp_path / "a.parquet").read_bytes())
    assert [read_image(f"{address}::image/{row}", "") for row in (3, 0)] == [picture(3), picture(0)]
