"""Splits: each label in each split in its share, whatever comes later."""

from __future__ import annotations

import numpy as np

from cotag.data.scenes.allot import allot
from cotag.data.scenes.vocabulary import SPLITS


def test_every_label_is_in_every_split_in_its_share() -> None:
    rng = np.random.default_rng(0)
    targets_NK = rng.random((1500, 12)) < np.geomspace(0.5, 0.008, 12)
    assert targets_NK.sum(axis=0).min() >= 8
    splits = np.array(allot(targets_NK))
    for name, share in SPLITS.items():
        counts_K = targets_NK[splits == name].sum(axis=0)
        assert counts_K.min() >= 1
        assert (np.abs(counts_K - share * targets_NK.sum(axis=0)) <= 2.5).mean() >= 0.75
        assert abs((splits == name).mean() - share) < 0.01


def test_the_first_do_not_depend_on_those_that_follow() -> None:
    targets_NK = np.random.default_rng(1).random((300, 9)) < 0.2
    assert allot(targets_NK)[:70] == allot(targets_NK[:70])


def test_scenes_without_labels_are_shared_out_too() -> None:
    splits = allot(np.zeros((100, 3), dtype=bool))
    assert {name: splits.count(name) for name in SPLITS} == {"train": 70, "val": 10, "test": 20}
