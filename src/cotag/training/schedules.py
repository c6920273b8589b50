"""Schedules: the learning rate as a factor of its start, over the share of training that is done."""

from __future__ import annotations

import math
from collections.abc import Callable

from cotag.errors import SettingError

Schedule = Callable[[float], float]


def constant() -> Schedule:
    """Always 1."""
    return lambda done: 1.0


def cosine(floor: float = 0.0) -> Schedule:
    """Half a cosine from 1 to ``floor``, a share of the start in [0, 1]."""
    if not 0 <= floor <= 1:
        raise SettingError(f"schedule_args.floor = {floor}: must be from 0 to 1")
    return lambda done: floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, done))))


def factor(schedule: Schedule, step: int, steps: int, warmup: int) -> float:
    """The factor of step number ``step`` of ``steps``: linear from near 0 over ``warmup`` steps, then the schedule.

    The schedule runs over what follows the warm-up, so that its first value is reached exactly at its end.
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return schedule((step - warmup) / max(1, steps - warmup))
