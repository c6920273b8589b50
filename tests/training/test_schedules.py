from __future__ import annotations

from itertools import pairwise

import pytest

from cotag.errors import SettingError
from cotag.registry import SCHEDULES
from cotag.training.schedules import constant, cosine, factor


@pytest.mark.parametrize("name", SCHEDULES.names())
def test_every_schedule_begins_at_one_and_never_rises_or_falls_below_zero(name: str) -> None:
    schedule = SCHEDULES.build(name)
    values = [schedule(done / 50) for done in range(51)]
    assert values[0] == pytest.approx(1)
    assert all(0 <= later <= earlier for earlier, later in pairwise(values))


def test_cosine_by_hand() -> None:
    assert [cosine()(done) for done in (0, 0.5, 1)] == pytest.approx([1, 0.5, 0])
    assert cosine()(1 / 3) == pytest.approx(0.75)
    assert [cosine(0.2)(done) for done in (0, 0.5, 1, 1.5)] == pytest.approx([1, 0.6, 0.2, 0.2])
    assert [constant()(done) for done in (0, 0.5, 1)] == [1, 1, 1]


@pytest.mark.parametrize("floor", [-0.1, 1.1])
def test_a_floor_that_cannot_be_is_refused(floor: float) -> None:
    with pytest.raises(SettingError, match=f"floor = {floor}"):
        cosine(floor)


def test_the_rate_rises_linearly_and_then_follows_the_schedule() -> None:
    found = [factor(cosine(), step, steps=8, warmup=3) for step in range(8)]
    assert found[:4] == pytest.approx([0.25, 0.5, 0.75, 1])
    assert found[4:] == pytest.approx([cosine()(done / 5) for done in (1, 2, 3, 4)])


def test_without_a_rise_the_schedule_is_over_all_steps() -> None:
    assert [factor(cosine(), step, 4, 0) for step in range(4)] == pytest.approx([cosine()(s / 4) for s in range(4)])


def test_a_rise_over_all_steps() -> None:
    assert [factor(cosine(), step, 3, 3) for step in range(3)] == pytest.approx([0.25, 0.5, 0.75])
