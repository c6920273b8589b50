from __future__ import annotations

import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch

from cotag.errors import SettingError
from cotag.registry import SCHEDULES
from cotag.training.schedules import (
    Schedule,
    constant,
    cosine,
    cosine_restarts,
    cyclic,
    factor,
    linear,
    multi_step,
    one_cycle,
    step,
)

RISING = ("cosine_restarts", "cyclic", "one_cycle")
FROM_BELOW = ("cyclic", "one_cycle")


@pytest.mark.parametrize("name", SCHEDULES.names())
def test_every_schedule_stays_between_zero_and_one_and_reaches_one(name: str) -> None:
    schedule = SCHEDULES.build(name)
    values = [schedule(done / 50) for done in range(51)]
    assert all(0 <= value <= 1 for value in values)
    assert max(values) == pytest.approx(1)
    falls = all(later <= earlier for earlier, later in pairwise(values))
    assert falls == (name not in RISING)
    assert name in FROM_BELOW or values[0] == pytest.approx(1)


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


def test_the_warm_up_cosine_by_hand() -> None:
    """Two of ten steps rise; of the eight that follow, step s has half of 1 + cos(pi s / 8)."""
    third = [1 / 3, 2 / 3]
    # cos of 0, 22.5, 45 ... degrees, written out.
    cosines = [1, 0.92387953, 0.70710678, 0.38268343, 0, -0.38268343, -0.70710678, -0.92387953]
    wanted = third + [0.5 * (1 + value) for value in cosines]
    assert [factor(cosine(), step, 10, 2) for step in range(10)] == pytest.approx(wanted, abs=1e-8)
    floored = third + [0.1 + 0.9 * 0.5 * (1 + value) for value in cosines]
    assert [factor(cosine(0.1), step, 10, 2) for step in range(10)] == pytest.approx(floored, abs=1e-8)


@pytest.mark.parametrize("schedule", [one_cycle(0.3, 25), cyclic(0.2, 0.1), cosine()])
def test_the_rise_ends_where_the_schedule_begins(schedule: Schedule) -> None:
    found = [factor(schedule, step, 100, 9) for step in range(10)]
    assert found == pytest.approx([schedule(0) * (step + 1) / 10 for step in range(10)])


def test_without_a_rise_the_schedule_is_over_all_steps() -> None:
    assert [factor(cosine(), step, 4, 0) for step in range(4)] == pytest.approx([cosine()(s / 4) for s in range(4)])


def test_a_rise_over_all_steps() -> None:
    assert [factor(cosine(), step, 3, 3) for step in range(3)] == pytest.approx([0.25, 0.5, 0.75])


# Against those of torch, step by step


def of_torch(make: Callable[[torch.optim.Optimizer], Any], steps: int) -> list[float]:
    """The learning rates of a scheduler, from its first to its last step."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler, found = make(optimizer), []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scheduler.step()
    return found


S = torch.optim.lr_scheduler


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (step(0.4), lambda o: S.StepLR(o, 40, 0.1)),
        (step(0.1, 0.5), lambda o: S.StepLR(o, 10, 0.5)),
        (step("7/100", 0.9), lambda o: S.StepLR(o, 7, 0.9)),
        (multi_step([0.07, 0.29, 0.58, 1.0], 0.3), lambda o: S.MultiStepLR(o, [7, 29, 58, 100], 0.3)),
        (linear(0.25), lambda o: S.LinearLR(o, 1.0, 0.25, 100)),
        (constant(), lambda o: S.ConstantLR(o, 1.0)),
        (cosine(), lambda o: S.CosineAnnealingLR(o, 100)),
        (cyclic(0.2, 0.1), lambda o: S.CyclicLR(o, 0.1, 1.0, 10, cycle_momentum=False)),
        (
            cyclic("7/50", 0.0, "triangular2"),
            lambda o: S.CyclicLR(o, 0.0, 1.0, 7, None, "triangular2", cycle_momentum=False),
        ),
        (
            cyclic(0.5, 0.2, "exp_range", 0.3),
            lambda o: S.CyclicLR(o, 0.2, 1.0, 25, None, "exp_range", 0.3**0.01, cycle_momentum=False),
        ),
        (cosine(0.1), lambda o: S.CosineAnnealingLR(o, 100, 0.1)),
        (cosine_restarts(0.1, 1), lambda o: S.CosineAnnealingWarmRestarts(o, 10)),
        (cosine_restarts(0.07, 2, 0.2), lambda o: S.CosineAnnealingWarmRestarts(o, 7, 2, 0.2)),
        (cosine_restarts("3/100", 3), lambda o: S.CosineAnnealingWarmRestarts(o, 3, 3)),
    ],
)
def test_equals_the_scheduler_of_torch(ours: Schedule, theirs: Callable[[torch.optim.Optimizer], Any]) -> None:
    assert [ours(done / 100) for done in range(100)] == pytest.approx(of_torch(theirs, 100), abs=1e-12)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (cosine(0.1), lambda o: S.CosineAnnealingLR(o, 80, 0.1)),
        (multi_step([0.5]), lambda o: S.MultiStepLR(o, [40])),
        (cosine_restarts(0.5, 1), lambda o: S.CosineAnnealingWarmRestarts(o, 40)),
    ],
)
def test_with_a_warm_up_equals_the_sequence_of_torch(
    ours: Schedule, theirs: Callable[[torch.optim.Optimizer], Any]
) -> None:
    def sequence(optimizer: torch.optim.Optimizer) -> Any:
        rise = S.LinearLR(optimizer, 1 / 21, 1.0, 20)
        return S.SequentialLR(optimizer, [rise, theirs(optimizer)], [20])

    wanted = of_torch(sequence, 100)
    assert [factor(ours, step, 100, 20) for step in range(100)] == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize(("warmup", "start", "final"), [(0.3, 25.0, 1e4), (0.2, 10.0, 100.0)])
def test_one_cycle_equals_that_of_torch(warmup: float, start: float, final: float) -> None:
    # That of torch has its peak at step warmup * total - 1 and its end at step total - 1.
    total = 101
    share = (warmup * 100 + 1) / total
    wanted = of_torch(lambda o: S.OneCycleLR(o, 1.0, total, pct_start=share, div_factor=start, final_div_factor=final,
                                             cycle_momentum=False), total)  # fmt: skip
    ours = one_cycle(warmup, start, final)
    assert [ours(done / 100) for done in range(101)] == pytest.approx(wanted, rel=1e-9)


# At the very step


@pytest.mark.parametrize("batches", [1, 7, 1479, 5173, 10**6 + 3])
@pytest.mark.parametrize(
    ("schedule", "epochs", "changes"),
    [
        (step(0.4), 100, [40, 80]),
        (step(0.1), 30, [3, 6, 9, 12, 15, 18, 21, 24, 27]),
        (step("5/30"), 30, [5, 10, 15, 20, 25]),
        (step(0.5), 40, [20]),
        (multi_step([0.3, 0.7, 0.9]), 70, [21, 49, 63]),
        (multi_step(["1/3", "2/3"]), 30, [10, 20]),
    ],
)
def test_a_new_value_holds_from_the_first_step_of_its_epoch(
    schedule: Schedule, epochs: int, changes: list[int], batches: int
) -> None:
    steps = epochs * batches
    for number, epoch in enumerate(changes):
        first = epoch * batches
        assert factor(schedule, first - 1, steps, 0) == pytest.approx(0.1**number)
        assert factor(schedule, first, steps, 0) == pytest.approx(0.1 ** (number + 1))


@pytest.mark.parametrize("growth", [1, 2])
def test_a_restart_is_at_the_very_step(growth: int) -> None:
    schedule = cosine_restarts(0.1, growth)
    for tenth in (1, 3, 7) if growth == 2 else range(1, 10):
        assert schedule(tenth / 10) == pytest.approx(1)
        assert schedule(tenth / 10 - 1e-6) < 1e-6


def test_cyclic_by_hand() -> None:
    at = (0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1)
    rise = [0, 0.5, 1, 0.5, 0, 0.5, 1, 0.5, 0]
    assert [cyclic(0.5, 0)(done) for done in at] == pytest.approx(rise)
    assert [cyclic(0.5, 0.2)(done) for done in at] == pytest.approx([0.2 + 0.8 * value for value in rise])
    halved = [0, 0.5, 1, 0.5, 0, 0.25, 0.5, 0.25, 0]
    assert [cyclic(0.5, 0, "triangular2")(done) for done in at] == pytest.approx(halved)
    shrinking = [value * 0.0625**done for value, done in zip(rise, at, strict=True)]
    assert shrinking[2] == 0.5
    assert [cyclic(0.5, 0, "exp_range", 0.0625)(done) for done in at] == pytest.approx(shrinking)


def test_all_others_by_hand() -> None:
    assert [linear(0.2)(done) for done in (0, 0.25, 0.5, 1)] == pytest.approx([1, 0.8, 0.6, 0.2])
    assert [step(0.4, 0.5)(done) for done in (0, 0.39, 0.4, 0.79, 0.8, 1)] == [1, 1, 0.5, 0.5, 0.25, 0.25]
    assert [multi_step([0.3, 0.6], 0.1)(done) for done in (0, 0.3, 0.59, 0.6)] == pytest.approx([1, 0.1, 0.1, 0.01])
    # Periods of 0.1 and 0.2: half of the second is at 0.2.
    restarts = [cosine_restarts(0.1, 2)(done) for done in (0, 0.05, 0.1, 0.2, 0.3)]
    assert restarts == pytest.approx([1, 0.5, 1, 0.5, 1])


def test_one_cycle_by_hand() -> None:
    schedule = one_cycle(0.2, 10, 100)
    assert [schedule(done) for done in (0, 0.1, 0.2, 0.6, 1)] == pytest.approx([0.1, 0.55, 1, 0.5005, 0.001])


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("step", {"every": 0}, "every = 0: must be above 0 and at most 1"),
        ("step", {"every": 40}, "every = 40: must be above 0 and at most 1, such as 0.4 or 5/30"),
        ("step", {"every": "5/0"}, "every = 5/0: must be"),
        ("step", {"every": "half"}, "every = half: must be"),
        ("step", {"gamma": 0}, "gamma = 0: must be above 0 and at most 1"),
        ("multi_step", {"milestones": 0.5}, r"milestones = 0.5: must be a list"),
        ("multi_step", {"milestones": [0.5, 0.4]}, r"milestones = \[0.5, 0.4\]: must rise"),
        ("multi_step", {"milestones": [0.5, 30]}, "milestones = 30: must be above 0"),
        ("multi_step", {"gamma": 1.5}, "gamma = 1.5: must be"),
        ("linear", {"floor": -1}, "floor = -1: must be from 0 to 1"),
        ("cosine_restarts", {"first": 2}, "first = 2: must be"),
        ("cosine_restarts", {"growth": 0}, "growth = 0: must be a whole number from 1"),
        ("cosine_restarts", {"growth": 1.5}, "growth = 1.5: must be a whole number from 1"),
        ("cosine_restarts", {"floor": 2}, "floor = 2: must be from 0 to 1"),
        ("cyclic", {"period": 0}, "period = 0: must be above 0"),
        ("cyclic", {"floor": 1.5}, "floor = 1.5: must be from 0 to 1"),
        ("cyclic", {"shape": "triangle"}, "shape 'triangle' is not known; did you mean triangular"),
        ("cyclic", {"end": 0.5}, "end = 0.5: shape triangular does not use it"),
        ("cyclic", {"shape": "exp_range", "end": 0}, "end = 0: must be above 0 and at most 1"),
        ("one_cycle", {"warmup": 1}, "warmup = 1: must be under 1"),
        ("one_cycle", {"start_divisor": 0.5}, "start_divisor = 0.5: must be 1 or more"),
        ("one_cycle", {"final_divisor": 0}, "final_divisor = 0: must be 1 or more"),
    ],
)
def test_wrong_settings_are_refused(name: str, given: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError, match=rf"schedule_args\.{said}"):
        SCHEDULES.build(name, **given)
