from __future__ import annotations

from collections.abc import Iterator

import pytest

from cotag.training import timing
from cotag.training.accumulation import grouped, steps_of
from cotag.training.timing import Timed


class Clock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


def test_waiting_for_batches_and_the_rest_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(timing, "time", clock)

    def batches() -> Iterator[int]:
        for number in range(3):
            clock.now += 2.0
            yield number
        clock.now += 0.5

    timed = Timed(batches())
    for place, number in enumerate(timed):
        assert place == number
        clock.now += 0.25
    assert timed.seconds == {"seconds": 7.25, "seconds_data": 6.5, "seconds_compute": 0.75}
    assert timed.told(2) == {"data": "3250ms", "compute": "375ms"}


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 6])
def test_groups_hold_every_batch_once_and_know_their_last(count: int) -> None:
    for accumulate in (1, 2, 3, 7):
        groups = [list(group) for group in grouped(iter(range(count)), accumulate)]
        assert [batch for group in groups for batch, _ in group] == list(range(count))
        assert [[last for _, last in group] for group in groups] == [
            [False] * (len(group) - 1) + [True] for group in groups
        ]
        assert len(groups) == steps_of(count, accumulate)
        assert all(len(group) == accumulate for group in groups[:-1])
