from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cotag.data.sampling import Balance, EpochPlan
from cotag.data.table import read_table
from cotag.errors import SettingError
from cotag.models.tagger import Tagger, build_tagger
from cotag.training.features import FeatureBatches, FeatureSet, Views, compute_features
from cotag.training.head_fit import HeadLoop, Part, joined
from cotag.training.loop_settings import LoopSettings
from cotag.training.schedules import constant
from cotag.training.stacked_batches import StackedBatches
from cotag.training.stored_rows import StoredRows, joined_rows, part_of
from cotag.types.index import Index
from cotag.types.labels import LabelSpace
from cotag.types.progress import Silent

# Rows that lie on disk

ARRAYS = [np.arange(8, dtype=np.float16).reshape(4, 2), np.arange(100, 106, dtype=np.float16).reshape(3, 2)]
PLACES = np.array([[1, 2], [0, 0], [0, 3], [1, 0], [0, 0]], dtype=np.int32)
PLAIN = np.array([[104, 105], [0, 1], [6, 7], [100, 101], [0, 1]], dtype=np.float16)


def stored() -> StoredRows:
    return StoredRows(ARRAYS, PLACES, (2,), np.float16)


def test_rows_on_disk_look_like_an_array() -> None:
    rows = stored()
    assert (rows.shape, rows.dtype, rows.ndim, len(rows), rows.nbytes) == ((5, 2), np.float16, 2, 5, 20)
    assert np.array_equal(np.asarray(rows), PLAIN)
    assert np.asarray(rows, dtype=np.float32).dtype == np.float32
    for numbers in (3, -1, slice(1, 4), [2, 0, 2], np.array([True, False, True, False, False]), np.array([], int)):
        assert np.array_equal(rows[numbers], PLAIN[numbers])


def test_parts_and_joins_read_nothing() -> None:
    part = part_of(stored(), np.array([4, 0]))
    both = joined_rows(stored(), part)
    assert isinstance(part, StoredRows)
    assert isinstance(both, StoredRows)
    assert np.array_equal(part[:], PLAIN[[4, 0]])
    assert np.array_equal(both[:], np.concatenate([PLAIN, PLAIN[[4, 0]]]))
    assert both.arrays[0] is ARRAYS[0]


def test_joined_with_a_plain_array_they_are_plain() -> None:
    assert np.array_equal(joined_rows(stored(), PLAIN), np.concatenate([PLAIN, PLAIN]))
    assert np.array_equal(part_of(PLAIN, np.array([1])), PLAIN[[1]])


# Augmented views


@pytest.fixture
def index(draw: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    """Six pictures and an empty cache."""
    monkeypatch.setenv("COTAG_CACHE", str(tmp_path / "cache"))
    return read_table(draw(tmp_path / "pictures", 6, splits=False))


def tagger_of(pooling: str = "avg") -> Tagger:
    torch.manual_seed(0)
    space, prepare = LabelSpace(("a", "b")), {"image_size": 48}
    return build_tagger(space, "test_resnet", "linear", head_args={"pooling": pooling}, preprocessing=prepare).eval()


def extract(index: Index, views: Views, rows: Any = range(6), pooling: str = "avg") -> FeatureSet:
    return compute_features(tagger_of(pooling), index, np.asarray(rows), Silent(), workers=0, views=views)


CROPS = ("crop", "color")


def test_views_are_different_and_come_again(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = extract(index, Views(3, CROPS, 5))
    assert (found.views, found.computed) == (4, 24)
    plain = extract(index, Views())
    assert plain.computed == 0
    assert np.array_equal(plain.features, found.features)
    sets = [np.asarray(rows) for rows in map(found.view, range(4))]
    for first in range(4):
        for second in range(first):
            assert (np.abs(sets[first] - sets[second]).max(1) > 1e-3).all()
    assert np.array_equal(found.view(5), found.view(1))
    again = extract(index, Views(3, CROPS, 5))
    assert again.computed == 0
    monkeypatch.setenv("COTAG_CACHE", str(tmp_path / "other"))
    anew = extract(index, Views(3, CROPS, 5))
    assert anew.computed == 24
    for view in range(4):
        assert np.array_equal(found.view(view), again.view(view))
        np.testing.assert_allclose(found.view(view), anew.view(view), rtol=1e-4, atol=1e-6)


def test_further_views_are_computed_alone(index: Index) -> None:
    extract(index, Views(2, CROPS, 5))
    assert extract(index, Views(3, CROPS, 5)).computed == 6
    assert extract(index, Views(3, CROPS, 6)).computed == 18
    assert extract(index, Views(3, CROPS[::-1], 5)).computed == 18
    assert extract(index, Views(1, CROPS, 5)).computed == 0


def test_only_some_images_have_views_and_the_others_are_themselves(index: Index) -> None:
    said = Said()
    rows, views = np.arange(6), Views(2, CROPS, 5, frozenset({1, 4}))
    found = compute_features(tagger_of(), index, rows, said, workers=0, views=views)
    assert found.computed == 6 + 2 * 2
    # Stated beforehand, with all views.
    assert said.lines[0].startswith("features: 10 images x 96, ")
    for view in (1, 2):
        differs = np.abs(found.view(view) - found.features).max(1) > 1e-3
        assert differs.tolist() == [row in (1, 4) for row in range(6)]
    whole = extract(index, Views(2, CROPS, 5))
    assert whole.computed == 2 * 4
    assert np.array_equal(whole.view(1)[[1, 4]], found.view(1)[[1, 4]])


class Said(Silent):
    """Keeps the news."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)


def test_a_view_belongs_to_the_image_not_to_its_row(index: Index, tmp_path: Path) -> None:
    first = extract(index, Views(2, CROPS), [0])
    shutil.copy(index.image(0), index.image(3))
    shutil.rmtree(tmp_path / "cache")
    second = extract(index, Views(2, CROPS), [3])
    assert second.computed == 3
    for view in range(3):
        np.testing.assert_allclose(first.view(view), second.view(view), rtol=1e-4, atol=1e-6)


def test_an_image_that_cannot_be_read_is_left_out_of_all_views(index: Index) -> None:
    index.image(2).write_bytes(b"no picture")
    rows = np.arange(6)
    found = compute_features(tagger_of(), index, rows, Silent(), "skip", workers=0, views=Views(2, CROPS))
    assert found.rows.tolist() == [0, 1, 3, 4, 5]
    assert [len(found.view(view)) for view in range(3)] == [5, 5, 5]
    assert list(found.skipped) == [2]


@pytest.mark.parametrize("pooling", ["avg", "gem"])
def test_each_epoch_takes_the_next_view(index: Index, pooling: str) -> None:
    train = extract(index, Views(2, CROPS), [5, 1, 3], pooling).of(np.array([3, 5]))
    choose = extract(index, Views(), [0], pooling)
    both = joined(Part(train, np.zeros((2, 2), np.int8)), Part(choose, np.ones((1, 2), np.int8)))
    assert isinstance(both.features.features, StoredRows if pooling == "gem" else np.ndarray)
    assert both.features.rows.tolist() == [3, 5, 0]
    batches = FeatureBatches(both.features, both.targets_NK, 8)
    for epoch in range(4):
        (batch,) = batches.epoch(epoch)
        wanted = np.concatenate([np.asarray(train.view(epoch)), np.asarray(choose.features)])
        assert np.array_equal(batch.images_BCHW.numpy(), wanted)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ((-1, CROPS), "data.views = -1: must be 0 or more"),
        ((2, ()), "data.views = 2: without data.augment all views are the same"),
        ((0, CROPS), "data.augment: is used by no view; set data.views"),
    ],
)
def test_views_that_make_no_sense(settings: tuple[int, tuple[str, ...]], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        Views(*settings)


def test_an_unknown_augmentation(index: Index) -> None:
    with pytest.raises(SettingError, match="did you mean crop"):
        extract(index, Views(1, ("crob",)))


def test_a_repeated_image_is_seen_in_the_next_view_each_time() -> None:
    features = np.arange(4, dtype=np.float32)[:, None]
    part = FeatureSet(features, np.array([9, 8, 7, 6]), {}, 0, (features + 10, features + 20))
    plan = EpochPlan(np.array([4.0, 1.0, 0.0, 2.0]), 7)
    batches = FeatureBatches(part, np.zeros((4, 1), dtype=np.int8), 3, True, 5, plan)
    seen: dict[int, list[float]] = {}
    for batch in batches.epoch(1):
        for row, value in zip(batch.rows_B.tolist(), batch.images_BCHW[:, 0].tolist(), strict=True):
            seen.setdefault(row, []).append(value)
    # Epoch 1 begins with view 1, and after view 2 comes view 0.
    assert seen == {9: [10, 20, 0, 10], 8: [11], 6: [13, 23]}
    stacked = StackedBatches()
    how = HeadLoop(LoopSettings(1), None, None, constant(), 3, 0.1, 5, _Planned(plan))  # type: ignore[arg-type]
    together = list(stacked.epoch([(Part(part, batches.targets_NK), how)], 1))
    alone = list(batches.epoch(1))
    assert [one.features[0].tolist() for one in together] == [one.images_BCHW.tolist() for one in alone]


class _Planned(Balance):
    """A balance with a plan that was made elsewhere."""

    def __init__(self, plan: EpochPlan) -> None:
        object.__setattr__(self, "plan", lambda held: plan)
