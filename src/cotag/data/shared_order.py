"""Judging shared by several processes: each takes whole batches of the one order."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cotag.data.loader import BatchOrder, Place


class WholeBatches(BatchOrder):
    """Every ``processes``-th batch of the rows in order, so that each has the pictures that it has with one process.

    A network's sums may depend on the pictures that are computed together; so the scores are the same to the bit.

    Args:
        rows: the row numbers to go through.
        batch_size: rows in a batch; the last batch may be smaller.
        rank, processes: process ``rank`` of ``processes`` takes batch ``rank`` first; it may have none.
    """

    def __init__(self, rows: np.ndarray, batch_size: int, rank: int = 0, processes: int = 1) -> None:
        super().__init__(rows, batch_size)
        self.first, self.step = rank, processes

    def __iter__(self) -> Iterator[list[Place]]:
        for number, batch in enumerate(super().__iter__()):
            if number % self.step == self.first:
                yield batch

    def __len__(self) -> int:
        return len(range(self.first, super().__len__(), self.step))
