from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cotag
from cotag.data import tar_shards
from cotag.data.contents import read_image
from cotag.data.loader import BatchOrder, ImageRows, Loader
from cotag.data.tar_shards import read_member
from cotag.data.transforms import Preprocessing
from cotag.errors import DataError, FormatError, ImageError
from cotag.types.index import Index


def picture(value: int, kind: str = "PNG") -> bytes:
    pixels = np.random.default_rng(value).integers(0, 255, (20, 24, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def write_shard(path: Path, members: Sequence[tuple[str, bytes]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as shard:
        for name, data in members:
            about = tarfile.TarInfo(name)
            about.size = len(data)
            shard.addfile(about, io.BytesIO(data))
    return path


def samples(first: int, count: int) -> list[tuple[str, bytes]]:
    found = []
    for number in range(first, first + count):
        labels = ["cat"] if number % 2 else ["dog", "red"]
        found += [
            (f"{number:04d}.png", picture(number)),
            (f"{number:04d}.json", json.dumps({"labels": labels}).encode()),
        ]
    return found


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Two shards that train with 3 samples each, and one that tests with 2."""
    folder = tmp_path / "shards"
    write_shard(folder / "train-000.tar", samples(0, 3))
    write_shard(folder / "train-001.tar", samples(3, 3))
    write_shard(folder / "test-000.tar", samples(6, 2))
    return folder


def batches(index: Index, **settings: object) -> Loader:
    order = BatchOrder(np.arange(len(index)), 3, shuffle=True, seed=1)
    return Loader(ImageRows(index, Preprocessing(8)), order, **{"workers": 0, **settings})  # type: ignore[arg-type]


def test_samples_become_rows_with_labels_and_splits(shards: Path) -> None:
    index = cotag.read(f"wds:{shards}")
    assert index.label_space.names == ("cat", "dog", "red")
    assert index.splits() == {"test": 2, "train": 6}
    assert index.ids[0] == "test-000.tar::0006.png"
    assert index.targets()[:3].tolist() == [[0, 1, 1], [1, 0, 0], [0, 1, 1]]
    assert [read_image(place, "") for place in index.images()] == [picture(n) for n in (6, 7, 0, 1, 2, 3, 4, 5)]
    assert cotag.read(shards).table.equals(index.table)


@pytest.mark.parametrize("workers", [0, 2])
def test_pictures_in_shards_are_those_of_files(shards: Path, tmp_path: Path, workers: int) -> None:
    index = cotag.read(f"wds:{shards}")
    for number in range(8):
        (tmp_path / f"{number}.png").write_bytes(picture(number))
    columns = {"image": [f"{n}.png" for n in (6, 7, 0, 1, 2, 3, 4, 5)], "positives": index.table["positives"]}
    files = Index.build(columns, index.label_space, tmp_path)
    index.save(tmp_path / "index.arrow")
    for one in (index, Index.load(tmp_path / "index.arrow")):
        for ours, theirs in zip(batches(one, workers=workers), batches(files), strict=True):
            assert np.array_equal(ours.images_BCHW, theirs.images_BCHW)
            assert np.array_equal(ours.targets_BK, theirs.targets_BK)


def test_a_pattern_names_shards_and_all_of_them_must_be_there(shards: Path) -> None:
    assert len(cotag.read(f"wds:{shards}/train-{{000..001}}.tar")) == 6
    assert len(cotag.read(f"wds:{shards}/t*-000.tar")) == 5
    one = cotag.read(f"wds:{shards}/train-001.tar")
    assert one.table["image"].to_pylist()[0] == "train-001.tar::0003.png"
    with pytest.raises(DataError, match=r"train-002\.tar: there is no such file"):
        cotag.read(f"wds:{shards}/train-{{000..002}}.tar")
    with pytest.raises(DataError, match=r"end in \.tar and are not compressed"):
        cotag.read(f"wds:{shards}/train-000.tar.gz")


@pytest.mark.parametrize(
    ("ending", "content", "options", "expected"),
    [
        ("cls", b"1\n", {"names": "names.txt"}, [0, 1, 0]),
        ("cls", b"2 0", {"names": "names.txt"}, [1, 0, 1]),
        ("txt", b"cat|red\n", {}, [1, 1]),
        ("txt", b"cat;red", {"separator": ";"}, [1, 1]),
        ("txt", b"red\ncat", {"names": "names.txt"}, [0, 1, 1]),
        ("json", b'{"tags": "cat"}', {"key": "tags"}, [1]),
        ("json", b'{"labels": [1, 2]}', {"names": "names.txt"}, [0, 1, 1]),
        ("json", b'{"labels": {"cat": 1, "red": 0, "dog": null}}', {}, [1, -1, 0]),
    ],
)
def test_labels_of_every_kind(
    tmp_path: Path, ending: str, content: bytes, options: dict[str, str], expected: list[int]
) -> None:
    (tmp_path / "names.txt").write_text("dog\ncat\nred\n")
    options = {key: str(tmp_path / value) if key == "names" else value for key, value in options.items()}
    write_shard(tmp_path / "a.tar", [("./x/1.jpg", picture(1, "JPEG")), (f"./x/1.{ending}", content)])
    index = cotag.read(f"wds:{tmp_path / 'a.tar'}", **options)
    assert index.targets().tolist() == [expected]
    assert index.ids == ["a.tar::x/1.jpg"]
    assert read_image(index.image(0), "") == picture(1, "JPEG")


@pytest.mark.parametrize(
    ("members", "options", "said"),
    [
        ([("1.jpg", b"x"), ("1.cls", b"0")], {}, "label 0 is a number; read with names=FILE"),
        ([("1.jpg", b"x"), ("1.cls", b"cat")], {}, "its .cls holds 'cat'; it must hold numbers"),
        ([("1.jpg", b"x"), ("1.json", b'{"tags": []}')], {}, "has no 'labels'; read with key=NAME; it has 'tags'"),
        ([("1.jpg", b"x"), ("1.json", b'{"labels": [')], {}, "its .json cannot be read"),
        ([("1.jpg", b"x"), ("1.json", b'{"labels": {"a": 2}}')], {}, "allowed: 1 (present), 0 (absent)"),
        ([("1.jpg", b"x"), ("1.json", b'{"labels": [0.5]}')], {}, "it must hold names or numbers"),
        ([("1.jpg", b"x"), ("1.json", b'{"labels": [""]}')], {}, "holds an empty label name"),
        ([("1.jpg", b"x"), ("1.json", b"{}"), ("1.txt", b"a")], {}, "read with labels=ENDING"),
        ([("1.jpg", b"x"), ("1.png", b"x"), ("1.txt", b"a")], {}, "has jpg, png; read with image=ENDING"),
        ([("1.jpg", b"x"), ("2.txt", b"a")], {}, "sample '1' has no labels; 2 samples lack their picture or labels"),
        ([("1.txt", b"a"), ("1.txt", b"b"), ("1.jpg", b"x")], {}, "holds '1.txt' 2 times"),
        ([("1.jpg", b"x"), ("1.txt", b"a")], {"labels": "text"}, "labels='text' is not known; did you mean txt?"),
        ([], {}, "holds no file"),
    ],
)
def test_what_is_wrong_is_one_line(
    tmp_path: Path, members: list[tuple[str, bytes]], options: dict[str, str], said: str
) -> None:
    shard = write_shard(tmp_path / "a.tar", members)
    with pytest.raises(cotag.errors.CotagError) as caught:  # type: ignore[attr-defined]
        cotag.read(f"wds:{shard}", **options)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_samples_without_labels_may_be_left_out(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "a.tar", [("1.png", picture(1)), ("2.png", picture(2)), ("2.txt", b"cat")])
    index = cotag.read(f"wds:{shard}", missing="skip")
    assert index.ids == ["a.tar::2.png"]
    assert any("1 samples lack their picture or labels and are left out" in note for note in index.notes)


def test_a_file_that_is_no_tar_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"no tar file" * 99)
    with pytest.raises(FormatError, match=r"a\.tar: is no tar file"):
        cotag.read(f"wds:{tmp_path / 'a.tar'}")


# Shards that are cut short


def test_of_a_shard_that_is_cut_in_a_picture_this_picture_is_bad_and_the_end_is_told(tmp_path: Path) -> None:
    members = []
    for number in range(4):
        members += [(f"{number}.txt", b"cat"), (f"{number}.png", picture(number))]
    shard = write_shard(tmp_path / "a.tar", members)
    whole = cotag.read(f"wds:{shard}")
    last = Path(shard).read_bytes().index(picture(2))
    shard.write_bytes(shard.read_bytes()[: last + 100])
    index = cotag.read(f"wds:{shard}")
    assert index.ids == whole.ids[:3]
    assert any("a.tar: is cut short after '2.png'" in note for note in index.notes)
    found = batches(index, bad_images="skip")
    assert sorted(row for batch in found for row in batch.rows_B.tolist()) == [0, 1]
    assert "bytes are missing, as the shard is cut short" in found.skipped.reasons[2]
    # It may also be cut once it was indexed.
    told = batches(whole, bad_images="skip")
    assert sorted(row for batch in told for row in batch.rows_B.tolist()) == [0, 1]
    assert sorted(told.skipped.reasons) == [2, 3]


def test_a_shard_that_is_cut_between_members_is_told(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "a.tar", samples(0, 3))
    with tarfile.open(shard) as opened:
        end = opened.getmember("0002.png").offset
    shard.write_bytes(shard.read_bytes()[:end])
    index = cotag.read(f"wds:{shard}")
    assert len(index) == 2
    assert any("has no end after '0001.json'" in note for note in index.notes)
    with open(shard, "ab") as handle:  # noqa: PTH123
        handle.write(b"damage" * 200)
    assert any("has no end after '0001.json'" in note for note in cotag.read(f"wds:{shard}").notes)


def test_a_whole_shard_has_no_notes(shards: Path) -> None:
    assert cotag.read(f"wds:{shards}").notes == ()


# The table of places


def test_the_table_is_kept_and_made_again_when_the_shard_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COTAG_CACHE", str(tmp_path / "cache"))
    shard = write_shard(tmp_path / "a.tar", samples(0, 3))
    cotag.read(f"wds:{shard}")
    walks = []
    walk = tar_shards.Walk
    monkeypatch.setattr(tar_shards, "Walk", lambda place: walks.append(place) or walk(place))

    def read(name: str) -> bytes:
        tar_shards._opened.clear()
        return read_member(str(shard), name, name)

    assert read("0001.png") == picture(1)
    assert walks == []
    (table,) = (tmp_path / "cache" / "shards").iterdir()
    damaged = bytearray(table.read_bytes())
    damaged[40] ^= 1
    table.write_bytes(damaged)
    assert read("0001.png") == picture(1)
    assert len(walks) == 1
    # Another shard in its place, also while it is open.
    write_shard(shard, samples(1, 4))
    assert read_member(str(shard), "0004.png", "") == picture(4)
    assert len(walks) == 2
    (table,) = (tmp_path / "cache" / "shards").iterdir()
    with pytest.raises(ImageError, match=r"^x: the shard has no such member"):
        read_member(str(shard), "0000.png", "x")


def test_without_a_cache_folder_shards_are_read_all_the_same(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("COTAG_CACHE", str(tmp_path / "file"))
    index = cotag.read(f"wds:{shards}")
    assert read_image(index.image(0), "") == picture(6)


def test_a_shard_that_vanished_is_a_bad_picture(shards: Path) -> None:
    index = cotag.read(f"wds:{shards}")
    tar_shards._opened.clear()
    (shards / "train-001.tar").unlink()
    found = batches(index, bad_images="skip")
    assert sum(len(batch) for batch in found) == 5
    assert "there is no such shard" in found.skipped.reasons[5]


def test_members_whose_hashes_are_close_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_shards, "_key", lambda name: (2**62 + int(name), int(name) % 2))
    shard = write_shard(tmp_path / "a.tar", [(str(number), str(number).encode()) for number in range(64)])
    assert [read_member(str(shard), str(number), "") for number in range(64)] == [b"%d" % n for n in range(64)]
    monkeypatch.setattr(tar_shards, "_key", lambda name: (2**62 + 5, 2))
    with pytest.raises(ImageError, match="has no such member"):
        read_member(str(shard), "5", "x")
