"""How fast training goes: its input alone, its arithmetic alone, and both together."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import islice

import torch

from cotag.errors import SettingError
from cotag.models.recompute import recomputing
from cotag.recipe import Recipe
from cotag.registry import OPTIMIZERS, SCHEDULES
from cotag.run.bench.advice import compute_advice, input_advice, training_limit
from cotag.run.bench.input import Ready, loader_of, make_ready, single_stages
from cotag.run.bench.stages import Measured, Stage, goes_on, paced, rounds, settled
from cotag.run.fitting import loop_settings
from cotag.run.losses import whole_criterion
from cotag.training.accumulation import grouped
from cotag.training.optim import parameter_groups
from cotag.training.processes import this_process
from cotag.training.running_loss import RunningLoss
from cotag.training.step import Steps
from cotag.types.batch import Batch
from cotag.types.progress import Progress, Silent


def bench_train(
    data: str, recipe: str, overrides: Sequence[str], seconds: float = 30.0, progress: Progress | None = None
) -> Measured:
    """Time the loader alone, the steps alone on batches that are kept, and both together, as training does them.

    Args:
        seconds: that are spent measuring, about.

    Raises:
        SettingError: the recipe trains on cached features.
        CotagError: as a run.
    """
    settings = Recipe.load(recipe, overrides)
    if settings.train.mode == "features":
        raise SettingError(
            f"{recipe}: trains on features that are computed once, where only cotag bench input says what takes long; "
            "give --recipe finetune, or --set train.mode=end_to_end and an optimizer"
        )
    ready = make_ready(data, recipe, overrides, progress or Silent())
    loader = loader_of(ready)
    part = seconds / 6
    input_alone = Stage("input alone", paced(loader.epoch, part))
    batches = list(islice(loader.epoch(1), settings.train.accumulate))
    before = copy.deepcopy(ready.tagger)
    with recomputing(ready.tagger.backbone) if settings.train.recompute else nullcontext():
        steps = steps_of(ready, settings)
        computed = compute_stages(steps, batches, settings, part)
        losses = RunningLoss(lambda value, rows_B: None)
        together = paced(
            lambda number: steps_from(loader.epoch(number), settings),
            part,
            lambda step: steps.take(step, losses),
            lambda step: sum(len(batch) for batch, _ in step),
        )
    stages = [input_alone, *computed, Stage("input and compute together", together)]
    limit = training_limit(stages)
    if limit == "input":
        single, fast = single_stages(ready, part)
        stages += single
        advice = input_advice(ready.recipe, [*single, input_alone], fast)
    else:
        faster = other_precision(Ready(settings, ready.index, ready.roles, before), batches, computed[-1], part)
        advice = compute_advice(ready.recipe, this_process().device.type, computed, faster)
    title = f"Training: {data}, {recipe}, on {this_process().device}, batches of {settings.train.batch_size}"
    return Measured(title, stages, limit, advice)


def steps_from(batches: Iterator[Batch], recipe: Recipe) -> Iterator[list[tuple[Batch, bool]]]:
    """The batches of each step, as ``Steps.take`` takes them."""
    return (list(step) for step in grouped(batches, recipe.train.accumulate))


def steps_of(ready: Ready, recipe: Recipe) -> Steps:
    """What changes the weights, as the recipe's training has it."""
    given, tagger = recipe.train, ready.tagger
    tagger.norm_statistics = given.norm_statistics
    tagger.to(memory_format=torch.channels_last)
    decay = float(given.weight_decay)
    groups = parameter_groups(tagger, given.learning_rate, given.backbone_rate, decay, given.layer_decay)
    steps = Steps(
        tagger,
        whole_criterion(recipe, tagger, ready.index, ready.roles.train),
        OPTIMIZERS.build(given.optimizer, groups, **given.optimizer_args),
        SCHEDULES.build(given.schedule, **given.schedule_args),
        loop_settings(recipe),
    )
    steps.begin_epoch(1)
    # A rate of 0 leaves the weights as they are: the loss cannot run away while time is taken.
    for group in steps.optimizer.param_groups:
        group["lr"] = 0.0
    return steps


def compute_stages(steps: Steps, batches: Sequence[Batch], recipe: Recipe, seconds: float) -> list[Stage]:
    """Forward, backward and the change of the weights, each waited for; and whole steps as training makes them."""
    losses = RunningLoss(lambda value, rows_B: None)
    batch = batches[0].to(steps.accelerator.device)
    steps.accelerator.backward(steps.loss(batch))
    spent: list[tuple[float, float, float]] = []
    while goes_on(len(spent), sum(map(sum, spent)), seconds / 2):
        steps.optimizer.zero_grad(set_to_none=True)
        times = [settled()]
        loss = steps.loss(batch)
        times.append(settled())
        steps.accelerator.backward(loss)
        times.append(settled())
        steps.move()
        times.append(settled())
        spent.append((times[1] - times[0], times[2] - times[1], times[3] - times[2]))
    forward, backward, optimizer = (statistics.median(part) / len(batch) for part in zip(*spent, strict=True))

    def whole() -> None:
        for step in steps_from(iter(batches), recipe):
            steps.take(step, losses)

    return [
        Stage("forward and loss", forward),
        Stage("backward", backward),
        Stage("optimizer", optimizer),
        Stage("compute alone", rounds(whole, sum(len(batch) for batch in batches), seconds / 2)),
    ]


def other_precision(ready: Ready, batches: Sequence[Batch], now: Stage, seconds: float) -> float | None:
    """How many times as fast a step is in bf16; None where it is asked for already or the device does not have it."""
    if ready.recipe.train.precision != "fp32":
        return None
    given = ready.recipe.train.model_copy(update={"precision": "bf16", "compile": False, "recompute": False})
    try:
        steps = steps_of(ready, ready.recipe.model_copy(update={"train": given}))
    except SettingError:
        return None
    return now.seconds / compute_stages(steps, batches, ready.recipe, seconds)[-1].seconds
