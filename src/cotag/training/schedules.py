"""Schedules: the learning rate as a factor of its start, over the share of training that is done.

A share may be written as a fraction, ``5/30`` for epoch 5 of 30. Where ``train.warmup_epochs`` is set, shares are of
what follows the warm-up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

from cotag.errors import SettingError, suggestion

Schedule = Callable[[float], float]
Share = float | str
# A change at a share holds from that very step: 3 x 0.1 is above 0.3 in floating point. No training has so many steps.
TINY = 1e-9
CYCLES = ("triangular", "triangular2", "exp_range")


def constant() -> Schedule:
    """Always 1."""
    return lambda done: 1.0


def cosine(floor: float = 0.0) -> Schedule:
    """Half a cosine from 1 to ``floor``, a share of the start in [0, 1]."""
    _require_share("floor", floor)
    return lambda done: _half_cosine(1.0, floor, done)


def cosine_restarts(first: Share = 0.1, growth: int = 2, floor: float = 0.0) -> Schedule:
    """Half a cosine from 1 to ``floor`` again and again: over the share ``first``, then ``growth`` times longer each.

    Args:
        first: length of the first period as a share of training, above 0 and at most 1.
        growth: factor of each period's length to the one before, a whole number from 1.
        floor: as a share of the start, in [0, 1].

    Source: Loshchilov, Hutter, SGDR: stochastic gradient descent with warm restarts, ICLR 2017, eq. 5.
    """
    _require_share("floor", floor)
    length = _share("first", first)
    if isinstance(growth, bool) or growth != int(growth) or growth < 1:
        raise SettingError(f"schedule_args.growth = {growth}: must be a whole number from 1")

    def at(done: float) -> float:
        if growth == 1:
            begun, lasts = length * math.floor(done / length + TINY), length
        else:
            begun, lasts = 0.0, length
            while done + TINY >= begun + lasts:
                begun, lasts = begun + lasts, lasts * growth
        return _half_cosine(1.0, floor, (done - begun) / lasts)

    return at


def linear(floor: float = 0.0) -> Schedule:
    """A straight line from 1 to ``floor``, a share of the start in [0, 1]."""
    _require_share("floor", floor)
    return lambda done: 1.0 + (floor - 1.0) * min(1.0, max(0.0, done))


def step(every: Share = 0.4, gamma: float = 0.1) -> Schedule:
    """Times ``gamma`` each time that the share ``every`` of training is done.

    Args:
        every: above 0 and at most 1; 0.4 for every 40 of 100 epochs.
        gamma: above 0 and at most 1.
    """
    length = _share("every", every)
    _require_gamma(gamma)
    return lambda done: gamma ** math.floor(done / length + TINY)


def multi_step(milestones: Sequence[Share] = (0.5, 0.75), gamma: float = 0.1) -> Schedule:
    """Times ``gamma`` at each of ``milestones``.

    Args:
        milestones: rising shares of training, above 0 and at most 1.
        gamma: above 0 and at most 1.
    """
    if isinstance(milestones, str) or not isinstance(milestones, Sequence):
        raise SettingError(f"schedule_args.milestones = {milestones!r}: must be a list, such as [0.5, 0.75]")
    shares = [_share("milestones", milestone) for milestone in milestones]
    if sorted(set(shares)) != shares:
        raise SettingError(f"schedule_args.milestones = {list(milestones)}: must rise")
    _require_gamma(gamma)
    return lambda done: gamma ** sum(done + TINY >= share for share in shares)


def one_cycle(warmup: Share = 0.3, start_divisor: float = 25.0, final_divisor: float = 1e4) -> Schedule:
    """Up to 1 over the share ``warmup`` and down again, both along half a cosine.

    Args:
        warmup: above 0 and under 1.
        start_divisor: the factor begins at 1 over this, 1 or more.
        final_divisor: it ends at its beginning over this, 1 or more.

    Source: Smith, Topin, Super-convergence, 2018; the divisors as in torch.optim.lr_scheduler.OneCycleLR.
    Differs: momentum stays as it is; ``train.learning_rate`` is the peak.
    """
    peak = _share("warmup", warmup)
    if peak == 1:
        raise SettingError("schedule_args.warmup = 1: must be under 1")
    for name, divisor in (("start_divisor", start_divisor), ("final_divisor", final_divisor)):
        if divisor < 1:
            raise SettingError(f"schedule_args.{name} = {divisor}: must be 1 or more")
    start = 1.0 / start_divisor
    end = start / final_divisor

    def at(done: float) -> float:
        if done < peak:
            return _half_cosine(start, 1.0, done / peak)
        return _half_cosine(1.0, end, (done - peak) / (1.0 - peak))

    return at


def cyclic(period: Share = 0.2, floor: float = 0.1, shape: str = "triangular", end: float | None = None) -> Schedule:
    """Straight up from ``floor`` to 1 and straight down again, over and over.

    Args:
        period: length of one rise and fall as a share of training, above 0 and at most 1.
        floor: as a share of the peak, in [0, 1].
        shape: ``triangular``; ``triangular2``, where each peak is half as far above the floor as the one before; or
            ``exp_range``, where the distance to the floor shrinks all the time.
        end: of ``exp_range``, what is left of that distance when training ends, above 0 and at most 1; 0.1 where not
            given.

    Source: Smith, Cyclical learning rates for training neural networks, WACV 2017, section 3.
    Differs: rise and fall are equally long; ``end`` is of the whole training where the paper's gamma is of one step.
    """
    length = _share("period", period)
    _require_share("floor", floor)
    if shape not in CYCLES:
        raise SettingError(f"schedule_args.shape {shape!r} is not known{suggestion(shape, CYCLES)}")
    if end is not None and shape != "exp_range":
        raise SettingError(f"schedule_args.end = {end}: shape {shape} does not use it; leave it out, or take exp_range")
    left = 0.1 if end is None else end
    if not 0 < left <= 1:
        raise SettingError(f"schedule_args.end = {end}: must be above 0 and at most 1")

    def at(done: float) -> float:
        cycle = math.floor(done / length + TINY)
        height = max(0.0, 1 - abs(2 * (done / length - cycle) - 1))
        scale = {"triangular": 1.0, "triangular2": 0.5**cycle, "exp_range": left**done}[shape]
        return floor + (1 - floor) * height * scale

    return at


def factor(schedule: Schedule, step: int, steps: int, warmup: int) -> float:
    """The factor of step number ``step`` of ``steps``: linear from near 0 over ``warmup`` steps, then the schedule.

    The schedule runs over what follows the warm-up, and its first value is reached exactly at the end of the warm-up:
    with ``cosine`` this is the warm-up cosine.
    """
    if step < warmup:
        return schedule(0.0) * (step + 1) / (warmup + 1)
    return schedule((step - warmup) / max(1, steps - warmup))


def _half_cosine(first: float, last: float, done: float) -> float:
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, done))))


def _share(name: str, given: Share) -> float:
    """A share of training above 0 and at most 1, from a number or a fraction as text."""
    try:
        found = float(Fraction(str(given)))
    except (ValueError, ZeroDivisionError):
        found = math.nan
    if not 0 < found <= 1:
        raise SettingError(f"schedule_args.{name} = {given}: must be above 0 and at most 1, such as 0.4 or 5/30")
    return found


def _require_share(name: str, given: float) -> None:
    if not 0 <= given <= 1:
        raise SettingError(f"schedule_args.{name} = {given}: must be from 0 to 1")


def _require_gamma(gamma: float) -> None:
    if not 0 < gamma <= 1:
        raise SettingError(f"schedule_args.gamma = {gamma}: must be above 0 and at most 1")
