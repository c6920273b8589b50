"""The images of an epoch: exact in expectation, the same for any number of processes and workers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch

from cotag.data.augmentations import build_augmentations
from cotag.data.holdings import Holdings
from cotag.data.loader import BatchOrder, ImageRows, Loader
from cotag.data.sampling import Balance, EpochPlan
from cotag.data.table import read_table
from cotag.data.transforms import Preprocessing
from cotag.errors import SettingError
from cotag.registry import SAMPLERS
from cotag.types.index import Index

FACTORS = np.array([0.25, 1.0, 2.5, 0.0, 3.75, 0.5, 1.0])
PLAN = EpochPlan(FACTORS, 9)
INFREQUENT = np.array([False, True])
TARGETS = np.array([[1, 0]] * 12 + [[1, 1]] * 3 + [[0, 1]], dtype=np.int8)


def balance(name: str = "over", epoch: str = "natural", **settings: float) -> Balance:
    return Balance(name, SAMPLERS.build(name, **settings), INFREQUENT, epoch)


def test_every_image_is_taken_floor_or_ceiling_times_and_an_epoch_is_always_as_long() -> None:
    for epoch in range(200):
        drawn, _ = PLAN.draw(3, epoch)
        counts = np.bincount(drawn, minlength=len(FACTORS))
        assert len(drawn) == 9
        assert (counts >= np.floor(FACTORS)).all()
        assert (counts <= np.ceil(FACTORS)).all()


def test_the_mean_over_epochs_is_what_was_wanted() -> None:
    epochs = 4000
    total = sum(np.bincount(PLAN.draw(1, epoch)[0], minlength=len(FACTORS)) for epoch in range(epochs))
    # The spread of a mean of 4,000 coins is at most 0.008.
    np.testing.assert_allclose(total / epochs, FACTORS, atol=0.03)


def test_images_are_drawn_each_for_itself_over_epochs() -> None:
    plan = EpochPlan(np.full(400, 0.5), 200)
    together = np.mean([np.isin([0, 1], plan.draw(0, epoch)[0]).all() for epoch in range(2000)])
    # Drawn in a fixed order, neighbors would never come together.
    assert together == pytest.approx(0.25, abs=0.04)


def test_seed_and_epoch_decide_alone() -> None:
    first, again = PLAN.draw(1, 2), PLAN.draw(1, 2)
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))
    assert not np.array_equal(first[0], PLAN.draw(1, 3)[0])
    assert not np.array_equal(first[0], PLAN.draw(2, 2)[0])


def test_repetitions_are_counted_in_the_order_of_the_epoch() -> None:
    drawn, repetitions = PLAN.draw(0, 5)
    seen: Counter[int] = Counter()
    for row, repetition in zip(drawn.tolist(), repetitions.tolist(), strict=True):
        assert repetition == seen[row]
        seen[row] += 1
    assert max(repetitions) >= 2


def test_equal_images_are_spread_over_the_epoch() -> None:
    plan = EpochPlan(np.full(50, 4.0), 200)
    drawn, _ = plan.draw(0, 0)
    assert (drawn[1:] == drawn[:-1]).mean() < 0.1


def test_a_plan_of_a_million_images_keeps_its_length() -> None:
    factors = np.random.default_rng(0).random(1_000_000)
    plan = EpochPlan(factors * (500_001 / factors.sum()), 500_001)
    assert len(plan.draw(0, 0)[0]) == 500_001


# The length of an epoch


def test_the_natural_length_is_what_the_sampler_gives() -> None:
    plan = balance(times=2.6).plan(Holdings.of_targets(TARGETS))
    # 12 images once, 4 images 2.6 times: 22.4, which is rounded.
    assert plan.length == 22
    assert plan.factors_N.sum() == pytest.approx(22)
    assert plan.factors_N[-1] / plan.factors_N[0] == pytest.approx(2.6)


def test_an_epoch_may_be_as_long_as_without_a_sampler() -> None:
    plan = balance(epoch="same", times=2.6).plan(Holdings.of_targets(TARGETS))
    assert plan.length == plan.factors_N.sum() == pytest.approx(16)
    assert plan.factors_N[-1] / plan.factors_N[0] == pytest.approx(2.6)


@pytest.mark.parametrize(("batch_size", "processes"), [(4, 1), (3, 2), (4, 3), (30, 2)])
def test_the_length_in_batches_is_known_before(batch_size: int, processes: int) -> None:
    order = BatchOrder(np.arange(7), batch_size, True, 0, 1 % processes, processes, PLAN)
    assert len(order) == len(list(order)) == -(-9 // (batch_size * processes))


# Processes, workers, repetitions


@pytest.mark.parametrize("processes", [1, 2, 3, 4])
def test_processes_share_the_rows_that_one_would_take(processes: int) -> None:
    rows = np.array([10, 20, 30, 40, 50, 60, 70])
    whole = BatchOrder(rows, 12, True, 7, plan=EpochPlan(FACTORS * 4, 36))
    whole.epoch = 3
    wanted = Counter(chain(*whole))
    shares = [BatchOrder(rows, 12 // processes, True, 7, rank, processes, whole.plan) for rank in range(processes)]
    found: Counter[tuple[int, int, int]] = Counter()
    for share in shares:
        share.epoch = 3
        found.update(chain(*share))
    assert found == wanted
    assert len({len(share) for share in shares}) == 1
    assert sum(found.values()) == 36


@pytest.fixture
def index(draw: Callable[..., Path], tmp_path: Path) -> Index:
    return read_table(draw(tmp_path / "pictures", 6, splits=False))


def loaded(index: Index, workers: int, epoch: int, batch_size: int = 4) -> list[tuple[list[int], torch.Tensor]]:
    images = ImageRows(index, Preprocessing(16), build_augmentations(["crop", "color"]), 5)
    plan = EpochPlan(np.array([1.0, 3.0, 0.5, 0.5, 2.0, 1.0]), 8)
    batches = Loader(images, BatchOrder(np.arange(6), batch_size, True, 5, plan=plan), workers=workers)
    return [(batch.rows_B.tolist(), batch.images_BCHW) for batch in batches.epoch(epoch)]


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_changes_nothing(index: Index, workers: int) -> None:
    for epoch in (1, 2):
        for (rows, images), (others, same) in zip(loaded(index, 0, epoch), loaded(index, workers, epoch), strict=True):
            assert rows == others
            assert torch.equal(images, same)


def test_repetitions_of_an_image_are_augmented_differently(index: Index) -> None:
    ((rows, images),) = loaded(index, 0, 1, batch_size=8)
    repeated = [image for row, image in zip(rows, images, strict=True) if row == 1]
    assert len(repeated) == 3
    assert not any(torch.equal(repeated[a], repeated[b]) for a, b in ((0, 1), (0, 2), (1, 2)))
    ((others, again),) = loaded(index, 0, 1, batch_size=8)
    assert others == rows
    assert torch.equal(images, again)


def test_a_first_repetition_is_augmented_as_without_a_sampler(index: Index) -> None:
    images = ImageRows(index, Preprocessing(16), build_augmentations(["crop", "color"]), 5)
    (plain,) = Loader(images, BatchOrder(np.arange(6), 6), workers=0).epoch(1)
    ((rows, sampled),) = loaded(index, 0, 1, batch_size=8)
    first = rows.index(1)
    assert torch.equal(sampled[first], plain.images_BCHW[1])


# What is refused


def test_labels_without_an_image_are_refused_or_ignored() -> None:
    held = Holdings.of_targets(np.array([[1, 0, 0], [1, 1, 0], [1, 0, 0]], dtype=np.int8))
    names, infrequent = ("cat", "dog", "sea"), np.array([False, True, True])
    asked = Balance("over", SAMPLERS.build("over"), infrequent)
    with pytest.raises(SettingError, match=r"over: 1 of the labels .* have no image that trains \(sea\); set balance"):
        asked.check(held, names)
    asked.check(held, names, "ignore")
    with pytest.raises(SettingError, match=r"2 of the labels|1 of the labels"):
        Balance("over", SAMPLERS.build("over"), np.array([False, False, True])).check(held, names, "ignore")
    with pytest.raises(SettingError, match=r"class_aware: 1 of the labels .* \(sea\)"):
        Balance("class_aware", SAMPLERS.build("class_aware"), infrequent).check(held, names)
    # Taking fewer images of frequent labels asks nothing of the others.
    Balance("under", SAMPLERS.build("under"), infrequent).check(held, names)


def test_a_sampler_that_would_change_nothing_is_refused() -> None:
    held = Holdings.of_targets(TARGETS)
    with pytest.raises(SettingError, match=r"repeat_factor: would take each of the 16 images once"):
        balance("repeat_factor", threshold=0.01).check(held, ("cat", "dog"))
    balance("repeat_factor", threshold=0.5).check(held, ("cat", "dog"))
