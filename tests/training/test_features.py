from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cotag.data.table import read_table
from cotag.errors import ImageError
from cotag.models.tagger import Tagger, build_tagger
from cotag.training import extraction
from cotag.training.features import FeatureBatches, FeatureSet, bank_about, bank_folder, compute_features
from cotag.types.index import Index
from cotag.types.labels import LabelSpace
from cotag.types.progress import Silent

Drawn = Callable[[int], Index]


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COTAG_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def drawn(draw: Callable[..., Path], tmp_path: Path) -> Drawn:
    """The Index of so many pictures, drawn for this test."""
    return lambda count: read_table(draw(tmp_path / "pictures", count, splits=False))


def tagger_of(pooling: str = "avg", seed: int = 0, image_size: int = 32, **settings: Any) -> Tagger:
    torch.manual_seed(seed)
    space = LabelSpace(("a", "b"))
    prepare = {"image_size": image_size, **settings}
    return build_tagger(space, "test_resnet", "linear", head_args={"pooling": pooling}, preprocessing=prepare).eval()


def folder_of(tagger: Tagger, reads: str = "avg") -> Path:
    return bank_folder(bank_about(tagger, reads))


def extract(tagger: Tagger, index: Index, rows: Any = None, bad_images: str = "stop", batch: int = 4) -> FeatureSet:
    rows = np.arange(len(index)) if rows is None else np.asarray(rows)
    return compute_features(tagger, index, rows, Silent(), bad_images, workers=0, batch_size=batch)


def by_hand(tagger: Tagger, index: Index, row: int) -> torch.Tensor:
    image = torch.from_numpy(tagger.preprocessing(Image.open(index.image(row)).convert("RGB")))[None]
    with torch.no_grad():
        found: torch.Tensor = tagger.features(image).map_BDHW
    return found[0]


def spoil(index: Index, row: int) -> None:
    index.image(row).write_bytes(b"no picture")


# What is kept


@pytest.mark.parametrize("pooling", ["avg", "max"])
def test_pooled_features_in_the_order_of_the_rows(drawn: Drawn, pooling: str) -> None:
    index, tagger = drawn(6), tagger_of(pooling, image_size=64)
    found = extract(tagger, index, [4, 0, 3, 1])
    assert found.rows.tolist() == [4, 0, 3, 1]
    assert found.features.dtype == np.float32
    for row, feature in zip(found.rows, found.features, strict=True):
        map_DHW = by_hand(tagger, index, int(row))
        wanted = map_DHW.mean((1, 2)) if pooling == "avg" else map_DHW.amax((1, 2))
        np.testing.assert_allclose(feature, wanted.numpy(), rtol=1e-4, atol=1e-5)


def test_maps_in_half_precision_for_a_head_that_reads_maps(drawn: Drawn) -> None:
    index, tagger = drawn(3), tagger_of("gem", image_size=64)
    found = extract(tagger, index)
    assert found.features.dtype == np.float16
    assert found.features.shape == (3, 96, 2, 2)
    np.testing.assert_allclose(found.features[1], by_hand(tagger, index, 1).numpy(), rtol=2e-3, atol=2e-3)


# Computed once


def test_the_second_call_computes_nothing(drawn: Drawn, monkeypatch: pytest.MonkeyPatch) -> None:
    index, tagger = drawn(6), tagger_of()
    first = extract(tagger, index)
    assert first.computed == 6
    monkeypatch.setattr(tagger.backbone, "forward", lambda images: pytest.fail("went through the backbone again"))
    second = extract(tagger, index, [5, 2])
    assert second.computed == 0
    assert np.array_equal(second.features, first.features[[5, 2]])


def test_only_what_is_new_or_changed_is_computed(drawn: Drawn) -> None:
    index, tagger = drawn(6), tagger_of()
    extract(tagger, index, [0, 1, 2])
    shutil.copy(index.image(5), index.image(1))
    found = extract(tagger, index)
    assert found.computed == 3
    np.testing.assert_allclose(found.features[1], by_hand(tagger, index, 1).mean((1, 2)).numpy(), rtol=1e-4, atol=1e-5)


def test_copies_of_an_image_are_computed_once(drawn: Drawn) -> None:
    index, tagger = drawn(5), tagger_of()
    for row in (1, 4):
        shutil.copy(index.image(2), index.image(row))
    found = extract(tagger, index)
    assert found.computed == 3
    assert found.rows.tolist() == [0, 1, 2, 3, 4]
    assert np.array_equal(found.features[[1, 4]], found.features[[2, 2]])
    assert not np.array_equal(found.features[0], found.features[1])


def test_an_image_of_another_data_set_is_known_by_its_bytes(drawn: Drawn, tmp_path: Path) -> None:
    index, tagger = drawn(3), tagger_of()
    extract(tagger, index)
    shutil.copytree(index.root, tmp_path / "moved")
    moved = Index(index.table, index.label_space, tmp_path / "moved")
    assert extract(tagger, moved).computed == 0


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"pooling": "max"},
        {"pooling": "gem"},
        {"image_size": 33},
        {"resize": "crop"},
        {"interpolation": "nearest"},
        {"mean": (0.1, 0.2, 0.3)},
    ],
    ids=str,
)
def test_another_backbone_or_preprocessing_has_another_folder(other: dict[str, Any]) -> None:
    first, second = (folder_of(tagger, str(tagger.head.reads)) for tagger in (tagger_of(), tagger_of(**other)))
    assert first != second
    again = tagger_of()
    again.head = tagger_of(seed=3).head
    assert folder_of(again) == first


def test_another_architecture_has_another_folder() -> None:
    other = build_tagger(LabelSpace(("a",)), "test_efficientnet", "linear", preprocessing={"image_size": 32})
    folder = folder_of(other)
    assert folder.name.startswith("test_efficientnet-avg-")
    assert folder != folder_of(tagger_of())


# Interruptions and damage


def parts_of(tagger: Tagger) -> list[Path]:
    return sorted(folder_of(tagger).glob("part-*"))


class Stopped(BaseException):
    """Stands for Ctrl-C."""


def test_interrupted_it_goes_on_from_what_was_computed(drawn: Drawn, monkeypatch: pytest.MonkeyPatch) -> None:
    index, tagger = drawn(11), tagger_of()
    monkeypatch.setattr(extraction, "PART_IMAGES", 4)
    forward, passes = tagger.backbone.forward, []

    def stopping(images: torch.Tensor) -> Any:
        passes.append(len(images))
        if len(passes) == 4:
            raise Stopped
        return forward(images)

    with monkeypatch.context() as patch:
        patch.setattr(tagger.backbone, "forward", stopping)
        with pytest.raises(Stopped):
            extract(tagger, index, batch=2)
    # One part was complete; the batch that waited for its part was kept too.
    assert [len(np.load(part / "digests.npy")) for part in parts_of(tagger)] in ([4, 2], [2, 4])
    found = extract(tagger, index, batch=2)
    assert found.computed == 5
    assert len(parts_of(tagger)) == 4
    np.testing.assert_allclose(found.features, extract(tagger, index).features)


def test_parts_have_their_size(drawn: Drawn, monkeypatch: pytest.MonkeyPatch) -> None:
    index, tagger = drawn(10), tagger_of()
    whole = extract(tagger, index).features
    shutil.rmtree(folder_of(tagger))
    monkeypatch.setattr(extraction, "PART_IMAGES", 3)
    found = extract(tagger, index, batch=2)
    assert sorted(len(np.load(part / "features.npy")) for part in parts_of(tagger)) == [2, 4, 4]
    np.testing.assert_allclose(found.features, whole, rtol=1e-4, atol=1e-5)


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def garble(path: Path) -> None:
    path.write_bytes(b"\x00" * path.stat().st_size)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def shorten(path: Path) -> None:
    np.save(path, np.load(path)[:-1])


@pytest.mark.parametrize("damage", [halve, garble, empty, shorten, Path.unlink])
@pytest.mark.parametrize("name", ["features.npy", "digests.npy"])
def test_a_damaged_part_is_computed_anew(
    drawn: Drawn, monkeypatch: pytest.MonkeyPatch, name: str, damage: Callable[[Path], None]
) -> None:
    monkeypatch.setattr(extraction, "PART_IMAGES", 2)
    index, tagger = drawn(4), tagger_of()
    first = extract(tagger, index, batch=2)
    damage(parts_of(tagger)[0] / name)
    second = extract(tagger, index, batch=2)
    assert second.computed == 2
    assert np.array_equal(second.features, first.features)
    assert extract(tagger, index).computed == 0


# Bad images


def test_a_bad_image_stops_and_what_was_computed_stays(drawn: Drawn) -> None:
    index, tagger = drawn(8), tagger_of()
    spoil(index, 6)
    with pytest.raises(ImageError, match=r"\(row 6\): is no image of a known format .*; or set data.bad_images=skip"):
        extract(tagger, index, batch=2)
    assert extract(tagger, index, range(6)).computed == 0


def test_a_bad_image_and_its_copies_are_skipped_and_counted(drawn: Drawn) -> None:
    index, tagger = drawn(6), tagger_of()
    for row in (1, 4):
        spoil(index, row)
    index.image(3).unlink()
    found = extract(tagger, index, bad_images="skip")
    assert found.rows.tolist() == [0, 2, 5]
    assert found.computed == 3
    assert sorted(found.skipped) == [1, 3, 4]
    assert "(row 1): is no image" in found.skipped[1]
    assert found.skipped[3] == f"{index.image(3)} (row 3): No such file or directory"
    assert found.skipped[4].startswith(f"{index.image(4)} (row 4): is a copy of {index.image(1)} (row 1): is no image")
    again = extract(tagger, index, bad_images="skip")
    assert again.computed == 0
    assert again.skipped == found.skipped


def test_missing_images_stop_with_their_number(drawn: Drawn) -> None:
    index, tagger = drawn(5), tagger_of()
    for row in (2, 3):
        index.image(row).unlink()
    with pytest.raises(ImageError) as caught:
        extract(tagger, index)
    assert str(caught.value).startswith(f"{index.image(2)} (row 2): No such file or directory; 2 of 5 images cannot be")


def test_no_image_at_all_is_an_error_even_when_skipping(drawn: Drawn) -> None:
    index, tagger = drawn(2), tagger_of()
    for row in range(2):
        spoil(index, row)
    with pytest.raises(ImageError, match=r"none of the 2 images can be read; the first: .*\(row 0\): is no image"):
        extract(tagger, index, bad_images="skip")


# The parts of a set, and its batches


def test_the_part_of_some_rows() -> None:
    whole = FeatureSet(np.arange(6.0).reshape(3, 2), np.array([7, 2, 5]), {4: "bad"}, 3)
    part = whole.of(np.array([7, 4, 5]))
    assert part.rows.tolist() == [7, 5]
    assert part.features.tolist() == [[0, 1], [4, 5]]


def test_batches_of_features() -> None:
    part = FeatureSet(np.arange(10.0, dtype=np.float32).reshape(5, 2), np.array([7, 2, 5, 9, 4]), {}, 0)
    targets = np.array([[1, 0], [-1, 1], [0, -1], [1, 1], [0, 0]], dtype=np.int8)
    batches = list(FeatureBatches(part, targets, 2))
    assert [batch.rows_B.tolist() for batch in batches] == [[7, 2], [5, 9], [4]]
    assert batches[0].images_BCHW.tolist() == [[0, 1], [2, 3]]
    assert batches[0].targets_BK.tolist() == [[1, 0], [0, 1]]
    assert batches[0].known_BK.tolist() == [[True, True], [False, True]]
    shuffled = FeatureBatches(part, targets, 2, shuffle=True, seed=1)
    orders = [[row for batch in shuffled.epoch(epoch) for row in batch.rows_B.tolist()] for epoch in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[2]) == [2, 4, 5, 7, 9]
    assert len(shuffled) == 3
