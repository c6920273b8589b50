"""Judging shared by processes: whole batches, each once."""

from __future__ import annotations

import numpy as np
import pytest

from cotag.data.loader import BatchOrder
from cotag.data.shared_order import WholeBatches


@pytest.mark.parametrize("processes", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [0, 1, 4, 10, 24])
def test_every_batch_of_one_process_is_taken_once(count: int, processes: int) -> None:
    rows = np.arange(count)[::-1] * 3
    wanted = list(BatchOrder(rows, 4))
    shares = [WholeBatches(rows, 4, rank, processes) for rank in range(processes)]
    assert [len(list(share)) for share in shares] == [len(share) for share in shares]
    assert sorted(batch for share in shares for batch in share) == sorted(wanted)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
