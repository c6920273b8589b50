"""Several batches to one step, so that a step sees more images than fit into memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

T = TypeVar("T")


def steps_of(batches: int, accumulate: int) -> int:
    """The number of steps that so many batches make.

    >>> steps_of(10, 4)
    3
    """
    return -(-batches // accumulate)


def grouped(batches: Iterator[T], accumulate: int) -> Iterator[Iterator[tuple[T, bool]]]:
    """The batches of each step, and of each batch whether it is the step's last; the last step may have fewer.

    A batch is fetched before the one ahead of it is given out, as it may be the end: processes share their gradients
    in a step's last batch alone. All batches of a step must be taken before the next step is asked for.

    >>> [list(step) for step in grouped(iter("abc"), 2)]
    [[('a', False), ('b', True)], [('c', True)]]
    """
    if accumulate == 1:
        yield from (iter([(batch, True)]) for batch in batches)
        return
    coming = next(batches, None)

    def one_step() -> Iterator[tuple[T, bool]]:
        nonlocal coming
        for place in range(1, accumulate + 1):
            if coming is None:
                return
            batch, coming = coming, next(batches, None)
            yield batch, place == accumulate or coming is None

    while coming is not None:
        yield one_step()
