"""Samplers with several processes: what all of them show together is what one shows."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest

from cotag.data.holdings import Holdings
from cotag.data.loader import BatchOrder
from cotag.data.sampling import Balance
from cotag.registry import SAMPLERS

IMAGES, LABELS, INFREQUENT = 150, 5, np.array([False, False, False, True, True])


@pytest.mark.parametrize("processes", [2, 3, 8])
@pytest.mark.parametrize("name", SAMPLERS.names())
def test_the_label_histogram_of_an_epoch_is_that_of_one_process(name: str, processes: int) -> None:
    random = np.random.default_rng(1)
    targets_NK = (random.random((IMAGES, LABELS)) < [0.6, 0.5, 0.3, 0.05, 0.02]).astype(np.int8)
    plan = Balance(name, SAMPLERS.build(name), INFREQUENT).plan(Holdings.of_targets(targets_NK))

    def shown(rank: int, processes: int, batch_size: int) -> list[int]:
        order = BatchOrder(np.arange(IMAGES), batch_size, True, 3, rank, processes, plan)
        order.epoch = 2
        return [row for _, row, _ in chain(*order)]

    whole = shown(0, 1, 6 * processes)
    shares = [shown(rank, processes, 6) for rank in range(processes)]
    # A last step of fewer rows than processes repeats some of them, as a process without a batch would hold up all.
    last = len(whole) % (6 * processes)
    repeated = processes - last if 0 < last < processes else 0
    assert sum(map(len, shares)) == len(whole) + repeated
    assert len({-(-len(share) // 6) for share in shares}) == 1
    histogram = np.bincount(whole, minlength=IMAGES) @ targets_NK
    together = np.bincount(list(chain(*shares)), minlength=IMAGES) @ targets_NK
    assert histogram.sum() > 0
    assert np.abs(together - histogram).max() <= repeated
    assert set(chain(*shares)) == set(whole)
