"""The curves of schedules, to look at before a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cotag.errors import SettingError, suggestion
from cotag.evaluation.figures import run_curves
from cotag.recipe import Recipe
from cotag.registry import SCHEDULES
from cotag.training.schedules import Schedule, factor
from cotag.types.section import Section

# So many that a step is upright, and divisible by many shares.
STEPS = 720
USED = ("train.schedule", "train.schedule_args", "train.warmup_epochs", "train.epochs")
Curve = tuple[list[float], list[float]]


def schedule_curves(overrides: Sequence[str] = ()) -> dict[str, Curve]:
    """The factor of the learning rate over the share of training, as training takes it step by step.

    Args:
        overrides: of the settings in ``USED``, as ``key=value``: the schedule that they describe, ``cosine`` where none
            is named. Without them every schedule with its usual settings.

    Returns:
        name -> (shares in [0, 1), factors), of 720 steps.

    Raises:
        SettingError: another setting, or one that the schedule does not take.
    """
    if not overrides:
        return {name: _curve(SCHEDULES.build(name), 0) for name in SCHEDULES.names()}
    for override in overrides:
        key = override.partition("=")[0].strip()
        if key not in USED and not key.startswith("train.schedule_args."):
            raise SettingError(f"--set {key}: no schedule depends on it{suggestion(key, USED)}")
    given = Recipe.load(Recipe(), overrides).train
    schedule = SCHEDULES.build(given.schedule, **given.schedule_args)
    return {given.schedule: _curve(schedule, round(STEPS * given.warmup_epochs / given.epochs))}


def _curve(schedule: Schedule, warmup: int) -> Curve:
    return [step / STEPS for step in range(STEPS)], [factor(schedule, step, STEPS, warmup) for step in range(STEPS)]


def schedule_section(curves: Mapping[str, Curve]) -> Section:
    """All curves in one picture, with what each schedule is."""
    described = SCHEDULES.described()
    rows = [[name, described[name], y[0], max(y), y[-1]] for name, (_, y) in curves.items()]
    columns = ("schedule", "what it is", "first", "highest", "last")
    text = "What train.learning_rate is multiplied by at each step; a schedule in the legend hides and shows its line."
    figure = run_curves({"factor of the learning rate": curves}, "share of training")
    return Section("Schedules", text, columns, rows, figure)
