from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cotag.data import loader as loader_module
from cotag.data import square_cache
from cotag.data.augmentations import build_augmentations
from cotag.data.loader import BatchOrder, ImageRows, Loader
from cotag.data.square_cache import SquareCache
from cotag.data.table import read_table
from cotag.data.transforms import Preprocessing
from cotag.types.batch import Batch
from cotag.types.index import Index

PREPARE = Preprocessing(16)


@pytest.fixture
def index(draw: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    """Eight pictures that count as old enough to be kept."""
    monkeypatch.setattr(square_cache, "SETTLED", -60.0)
    return read_table(draw(tmp_path / "pictures", 8, splits=False))


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was decoded, by name."""
    found: list[str] = []
    true = loader_module.prepare_bytes

    def noting(data: bytes, where: str, *rest: Any) -> np.ndarray:
        found.append(Path(where.split(" ")[0]).name)
        return true(data, where, *rest)

    monkeypatch.setattr(loader_module, "prepare_bytes", noting)
    return found


def batches(index: Index, cache: SquareCache | None, augment: tuple[str, ...] = (), **settings: Any) -> Loader:
    prepare = settings.pop("prepare", PREPARE)
    images = ImageRows(index, prepare, build_augmentations(augment), 5, cache)
    return Loader(images, BatchOrder(np.arange(len(index)), 3, True, 5), **{"workers": 0, **settings})


def pixels(found: list[Batch]) -> torch.Tensor:
    return torch.cat([batch.images_BCHW for batch in found])


def kept_in(cache: SquareCache) -> list[Path]:
    return sorted(path for path in cache.folder.glob("??/*") if not path.name.startswith("."))


@pytest.mark.parametrize("augment", [(), ("flip",)])
@pytest.mark.parametrize("workers", [0, 2])
def test_kept_pictures_are_the_same_to_the_byte(
    index: Index, tmp_path: Path, augment: tuple[str, ...], workers: int
) -> None:
    plain = batches(index, None, augment)
    kept = batches(index, SquareCache(tmp_path / "kept", PREPARE), augment, workers=workers)
    for epoch in (0, 1, 2, 1):
        assert torch.equal(pixels(list(kept.epoch(epoch))), pixels(list(plain.epoch(epoch)))), epoch
    assert len(kept_in(SquareCache(tmp_path / "kept", PREPARE))) >= 8


def test_pictures_are_decoded_once_mirrored_and_not(index: Index, tmp_path: Path, decoded: list[str]) -> None:
    cache = SquareCache(tmp_path / "kept", PREPARE)
    plain = batches(index, cache)
    list(plain)
    assert len(decoded) == 8
    list(plain.epoch(1))
    list(batches(index, SquareCache(tmp_path / "kept", PREPARE)))
    assert len(decoded) == 8
    flipped = batches(index, cache, ("flip",))
    for epoch in range(12):
        list(flipped.epoch(epoch))
    assert len(decoded) == 16
    assert cache.count() == len(kept_in(cache)) == 16


def test_what_changes_pictures_before_they_are_resized_is_never_kept(
    index: Index, tmp_path: Path, decoded: list[str]
) -> None:
    cache = SquareCache(tmp_path / "kept", PREPARE)
    for augment in (("crop",), ("flip", "color"), ("color", "flip"), ("flip", "flip")):
        list(batches(index, cache, augment))
    assert len(decoded) == 32
    assert kept_in(cache) == []


def test_another_preprocessing_has_another_folder(tmp_path: Path) -> None:
    folders = [
        SquareCache(tmp_path, prepare).folder
        for prepare in (
            PREPARE,
            Preprocessing(17),
            Preprocessing(16, "crop"),
            Preprocessing(16, interpolation="bilinear"),
            Preprocessing(16, decode="fast"),
            Preprocessing(16, "letterbox"),
            Preprocessing(16, "letterbox", mean=(0.1, 0.2, 0.3)),
        )
    ]
    assert len(set(folders)) == 7
    # What comes after the square does not count.
    assert SquareCache(tmp_path, Preprocessing(16, mean=(0.1, 0.2, 0.3), std=(1, 1, 1))).folder == folders[0]


def test_a_picture_that_changed_is_prepared_anew(index: Index, tmp_path: Path, decoded: list[str]) -> None:
    cache = SquareCache(tmp_path / "kept", PREPARE)
    list(batches(index, cache))
    index.image(3).write_bytes(index.image(2).read_bytes())  # type: ignore[union-attr]
    decoded.clear()
    found = list(batches(index, cache))
    assert decoded == ["p03.png"]
    assert torch.equal(pixels(found), pixels(list(batches(index, None))))
    decoded.clear()
    list(batches(index, cache))
    assert decoded == []


def test_a_picture_that_changed_just_now_is_not_kept(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(square_cache, "SETTLED", 60.0)
    cache = SquareCache(tmp_path / "kept", PREPARE)
    list(batches(index, cache))
    assert kept_in(cache) == []


@pytest.mark.parametrize("damage", ["pixel", "stamp", "sum", "cut", "longer", "empty", "folder"])
def test_a_damaged_square_is_made_again_and_never_used(
    index: Index, tmp_path: Path, decoded: list[str], damage: str
) -> None:
    cache = SquareCache(tmp_path / "kept", PREPARE)
    list(batches(index, cache))
    for path in kept_in(cache):
        data = bytearray(path.read_bytes())
        assert len(data) == cache.bytes
        if damage in ("pixel", "stamp", "sum"):
            data[{"pixel": 300, "stamp": 3, "sum": 17}[damage]] ^= 1
        data = {"cut": data[:-1], "longer": data + b"x", "empty": bytearray()}.get(damage, data)
        path.unlink()
        path.mkdir() if damage == "folder" else path.write_bytes(data)
    decoded.clear()
    assert torch.equal(pixels(list(batches(index, cache))), pixels(list(batches(index, None))))
    assert len(decoded) == 16
    decoded.clear()
    list(batches(index, cache))
    assert len(decoded) == (8 if damage == "folder" else 0)


def test_a_picture_that_vanished_is_bad_though_it_was_kept(index: Index, tmp_path: Path) -> None:
    cache = SquareCache(tmp_path / "kept", PREPARE)
    list(batches(index, cache))
    index.image(3).unlink()  # type: ignore[union-attr]
    found = batches(index, cache, bad_images="skip")
    assert sum(len(batch) for batch in found) == 7
    assert list(found.skipped.reasons) == [3]


def test_where_nothing_can_be_written_pictures_are_prepared_each_time(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = SquareCache(tmp_path / "kept", PREPARE)
    tried: list[str] = []

    def full(self: Path, target: Any) -> None:
        tried.append(str(target))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    found = [pixels(list(batches(index, cache))) for _ in range(2)]
    assert torch.equal(found[0], pixels(list(batches(index, None))))
    assert torch.equal(found[1], found[0])
    # It is not tried again and again, and nothing is left.
    assert len(tried) == 1
    assert [name for _, _, names in os.walk(cache.folder) for name in names] == ["about.json"]


def test_processes_may_share_a_folder(index: Index, tmp_path: Path) -> None:
    first, second = (batches(index, SquareCache(tmp_path / "kept", PREPARE), workers=2) for _ in range(2))
    for ours, theirs in zip(first, second, strict=True):
        assert torch.equal(ours.images_BCHW, theirs.images_BCHW)
    assert torch.equal(pixels(list(first)), pixels(list(batches(index, None))))
    assert SquareCache(tmp_path / "kept", PREPARE).count() == 8
