"""How parts of the work are timed, on a clock that the test moves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cotag.errors import DataError
from cotag.run.bench import stages
from cotag.run.bench.stages import Measured, Stage, goes_on, paced, rounds


class Clock:
    """Time that passes only where it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(stages, "time", found)
    return found


def test_rounds_take_the_median_and_not_the_first(clock: Clock) -> None:
    costs = iter([100.0, 2.0, 9.0, 2.0, 1.0, 2.0])

    def work() -> None:
        clock.now += next(costs)

    assert rounds(work, 4, 14.5) == 2.0 / 4


@pytest.mark.parametrize(
    ("made", "spent", "wanted"),
    [(0, 0.0, True), (1, 1.9, True), (3, 2.0, False), (1, 2.5, True), (1, 6.0, False), (2, 5.9, True), (3, 5.9, False)],
)
def test_how_long_it_goes_on(made: int, spent: float, wanted: bool) -> None:
    assert goes_on(made, spent, 2.0) is wanted


def test_the_pace_of_batches_leaves_the_first_out(clock: Clock) -> None:
    taken: list[int] = []

    def epoch(number: int) -> Iterator[list[int]]:
        for place in range(3):
            clock.now += 50.0 if (number, place) == (1, 0) else 2.0
            yield [number] * (4 if place < 2 else 1)

    def work(batch: list[int]) -> None:
        clock.now += 1.0
        taken.append(batch[0])

    # 3 s for each batch of 4, 4 and 1 images; by windows 3/4, 6/5, 6/5, 6/8 ... of which the middle counts.
    found = paced(epoch, 30.0, work)
    assert 3 / 4 <= found <= 3
    assert max(taken) >= 4
    assert len(taken) == 11


def test_epochs_without_batches_are_refused() -> None:
    with pytest.raises(DataError, match="no image could be read"):
        paced(lambda number: iter(()), 0.1)


def test_what_is_printed() -> None:
    found = Measured("Input", [Stage("reading", 0.002), Stage("optimizer", 0.0)], "reading", ["a faster disk"])
    assert found.section().rows == [["reading", 2.0, 500.0], ["optimizer", 0.0, None]]
    assert found.section().text == "the limit: reading\na faster disk"
    assert found.to_json()["stages"][0] == {"name": "reading", "seconds": 0.002, "images_per_second": 500.0}
