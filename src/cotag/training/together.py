"""Many heads of one shape fitted in one pass on cached features, each as it would have been alone."""

from __future__ import annotations

import copy
import math
from collections.abc import Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cotag.data.holdings import Holdings
from cotag.errors import NonFiniteLoss, TrainingError
from cotag.training.checkpoint import TrainingState
from cotag.training.criterion import Criterion
from cotag.training.ema import ExponentialAverage
from cotag.training.head_fit import DECAYS, CachedHead, Chosen, HeadLoop, History, Judge, Part, joined
from cotag.training.label_counts import LabelCounts
from cotag.training.loop_settings import LoopSettings, choosing_value
from cotag.training.optim import Groups, parameter_groups
from cotag.training.schedules import factor
from cotag.training.stacked_batches import StackedBatch, StackedBatches, inputs
from cotag.training.stacked_criteria import StackedCriteria
from cotag.training.stacked_heads import StackedHeads, stack_key
from cotag.types.progress import Progress, Task


@dataclass(frozen=True)
class Fit:
    """One head to fit; the arguments of ``descend_head``."""

    head: nn.Module
    train: Part
    choose: Part
    weight_decay: float | str
    how: HeadLoop
    refit: bool


def together_key(fit: Fit) -> Hashable | None:
    """What fits must have in common to be fitted together, besides optimizer and loss; None: only alone."""
    shape = stack_key(fit.head)
    if shape is None:
        return None
    targets = (fit.train.targets_NK, fit.choose.targets_NK)
    images = [len(fit.train.targets_NK), len(fit.train.targets_NK) + len(fit.choose.targets_NK)]
    if fit.how.balance is not None:
        held = (Holdings.of_targets(targets[0]), Holdings.of_targets(np.concatenate(targets)))
        images = [fit.how.balance.plan(one).length for one in held]
    size = fit.how.batch_size
    return (shape, size, tuple(-(-count // size) for count in images), fit.how.loop, fit.refit)


def fit_together(fits: Sequence[Fit], judge: Judge, progress: Progress) -> list[Chosen | TrainingError]:
    """Fit heads together; each ends as ``descend_head`` alone would leave it, up to rounding.

    Each has initial weights, graph, vectors, images, order, learning rate and weight decay of its own; what differs
    in no fit is computed as one product of matrices. The optimizer is the same as alone, over each head's own part
    of the stacked weights.

    Args:
        fits: with the same ``together_key``, optimizer and loss; their heads' weights are set.
        judge: (logits_NK, targets_NK) -> val_mAP and val_loss.

    Returns:
        for each fit what its choosing images decided, or why it failed; a failure leaves the others as they are.
    """
    runs = [
        _Run(number, copy.deepcopy(fit.head), fit.train, fit.choose, fit.how, decay, fit.how.loop, keeps=not fit.refit)
        for number, fit in enumerate(fits)
        for decay in (DECAYS if fit.weight_decay == "auto" else (float(fit.weight_decay),))
    ]
    with progress.task(f"{len(runs)} heads together", max(run.loop.epochs for run in runs)) as task:
        _descend(runs, judge, task)
    found: list[Chosen | TrainingError] = []
    again: list[_Run] = []
    both: dict[tuple[int, int], Part] = {}
    for number, fit in enumerate(fits):
        own = [run for run in runs if run.number == number]
        failed = [run.error for run in own if run.error is not None]
        if failed:
            found.append(failed[0])
            continue
        best = max(own, key=lambda run: run.state.best_value)
        history: History = [{"weight_decay": run.weight_decay, **row} for run in own for row in run.state.history]
        found.append(Chosen(best.weight_decay, history, fit.choose.features.rows, best.logits_MK))
        if not fit.refit:
            fit.head.load_state_dict(best.kept)
        elif best.state.best_epoch:
            pair = (id(fit.train), id(fit.choose))
            both.setdefault(pair, joined(fit.train, fit.choose))
            again.append(_refitted(number, fit, best, both[pair]))
    if again:
        with progress.task(f"{len(again)} heads refitted", max(run.loop.epochs for run in again)) as task:
            _descend(again, judge, task)
    for run in again:
        if run.error is not None:
            found[run.number] = run.error
        else:
            fits[run.number].head.load_state_dict(run.kept)
    return found


@dataclass
class _Run:
    """One head on its way.

    Attributes:
        number: of its fit.
        head: a copy of the fit's, whose weights move.
        choose: the images that choose; None keeps the last epoch.
        keeps: whether the weights of the best epoch are kept.
        kept, logits_MK: of the best epoch.
        error: why it was given up.
        average: of its weights, where the loop's settings want one.
        criterion: its losses.
    """

    number: int
    head: nn.Module
    train: Part
    choose: Part | None
    how: HeadLoop
    weight_decay: float
    loop: LoopSettings
    keeps: bool
    state: TrainingState = field(init=False, default_factory=lambda: TrainingState(""))
    kept: dict[str, Tensor] = field(init=False, default_factory=dict)
    logits_MK: np.ndarray = field(init=False, default_factory=lambda: np.zeros((0, 0), dtype=np.float32))
    error: TrainingError | None = field(init=False, default=None)
    average: ExponentialAverage | None = field(init=False, default=None)
    criterion: Criterion = field(init=False)

    def __post_init__(self) -> None:
        self.criterion = self.how.make_criterion(CachedHead(self.head), LabelCounts.of(self.train.targets_NK))
        if self.loop.ema is not None:
            self.average = ExponentialAverage(CachedHead(self.head), self.loop.ema)

    def as_judged(self) -> AbstractContextManager[None]:
        """The head has the weights that are judged inside: their average, where there is one."""
        return nullcontext() if self.average is None else self.average.applied(CachedHead(self.head))

    def goes_on(self, epoch: int) -> bool:
        """Whether this epoch is still one of its own."""
        patience = self.loop.patience
        waited = bool(patience) and self.state.epoch - self.state.best_epoch >= (patience or 0)
        return self.error is None and epoch <= self.loop.epochs and not waited


def _refitted(number: int, fit: Fit, best: _Run, both: Part) -> _Run:
    """Once more with all images, for as many epochs as were chosen; as in ``descend_head``."""
    loop, schedule, epochs = fit.how.loop, fit.how.schedule, best.state.best_epoch
    share = max(0.0, epochs - loop.warmup_epochs) / max(1e-9, loop.epochs - loop.warmup_epochs)
    how = replace(fit.how, schedule=lambda done: schedule(done * share))
    again = LoopSettings(epochs, loop.warmup_epochs, loop.clip_norm, choose_by="last", ema=loop.ema)
    return _Run(number, copy.deepcopy(fit.head), both, None, how, best.weight_decay, again, keeps=True)


def _descend(runs: Sequence[_Run], judge: Judge, task: Task) -> None:
    """The epochs of all runs; a run that has fewer, or failed, leaves the others."""
    active = list(runs)
    stack = StackedHeads([run.head for run in active])
    optimizer, batches = _Optimizer(active), StackedBatches()
    _judge(active, 0, [{}] * len(active), judge)
    for epoch in range(1, max(run.loop.epochs for run in runs) + 1):
        going = [run for run in active if run.goes_on(epoch)]
        if not going:
            break
        if len(going) < len(active):
            active, stack = going, StackedHeads([run.head for run in going])
        rows = _epoch(
            active,
            stack,
            optimizer,
            batches.epoch([(run.train, run.how) for run in active], epoch),
            epoch,
            len(batches.order((active[0].train, active[0].how))),
        )
        _judge(active, epoch, rows, judge)
        task.advance(1, epoch=epoch, heads=len(active))


def _epoch(
    runs: Sequence[_Run], stack: StackedHeads, optimizer: _Optimizer, batches: Iterator[StackedBatch], epoch: int,
    steps: int,
) -> list[dict[str, float]]:  # fmt: skip
    """One pass of ``steps`` over each run's images; its mean loss over samples and its last learning rate."""
    total_R, samples_R, rates = torch.zeros(len(runs)), torch.zeros(len(runs)), []
    losses = StackedCriteria([run.criterion for run in runs], epoch)
    for number, batch in enumerate(batches):
        rates = optimizer.set_rates(runs, (epoch - 1) * steps + number, steps)
        loss_R = losses.totals(stack.logits(batch.features), batch, stack)
        loss_R.sum().backward()
        _give_gradients(stack, runs, loss_R.detach(), epoch)
        optimizer.step()
        for run in runs:
            if run.average is not None:
                run.average.update(CachedHead(run.head))
        total_R, samples_R = total_R + loss_R.detach() * batch.sizes_R, samples_R + batch.sizes_R
    means = (total_R / samples_R).tolist()
    return [{"train_loss": mean, "learning_rate": rate} for mean, rate in zip(means, rates, strict=True)]


class _Optimizer:
    """One optimizer for all runs, each with learning rates of its own."""

    def __init__(self, runs: Sequence[_Run]) -> None:
        groups: Groups = []
        owners = []
        for run in runs:
            for group in parameter_groups(CachedHead(run.head), run.how.learning_rate, 1.0, run.weight_decay):
                # One pass over memory in the place of ten; optimizers of other packages do not look at it.
                groups.append({**group, "fused": True})
                owners.append(id(run))
        self._optimizer = runs[0].how.make_optimizer(groups)
        self._groups: dict[int, list[tuple[dict[str, Any], float]]] = {}
        for owner, group in zip(owners, self._optimizer.param_groups, strict=True):
            self._groups.setdefault(owner, []).append((group, float(group["lr"])))

    def set_rates(self, runs: Sequence[_Run], step: int, steps: int) -> list[float]:
        """Set each run's learning rate for a step of ``steps`` in an epoch; gives them back."""
        found = []
        for run in runs:
            warmup = round(run.loop.warmup_epochs * steps)
            scale = factor(run.how.schedule, step, run.loop.epochs * steps, warmup)
            for group, start in self._groups[id(run)]:
                group["lr"] = start * scale
            found.append(self._groups[id(run)][-1][1] * scale)
        return found

    def step(self) -> None:
        """Move the heads that were given gradients, and take these away."""
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)


@torch.no_grad()
def _give_gradients(stack: StackedHeads, runs: Sequence[_Run], loss_R: Tensor, epoch: int) -> None:
    """Give each head its part of the stacked gradients, clipped; one whose loss is not finite gets none any more."""
    for run, value in zip(runs, loss_R.tolist(), strict=True):
        if not math.isfinite(value) and run.error is None:
            run.error = NonFiniteLoss(
                f"epoch {epoch}: the loss became {value}; lower train.learning_rate or set train.clip_norm"
            )
    gradients = stack.take_gradients()
    clip = runs[0].loop.clip_norm
    if clip is not None:
        norms = [torch.linalg.vector_norm(gradient.flatten(1), dim=1) for gradient in gradients.values()]
        scale_R = (clip / (torch.stack(norms).norm(dim=0) + 1e-6)).clamp(max=1.0)
        if bool((scale_R < 1).any()):
            for gradient in gradients.values():
                gradient.mul_(scale_R.view(-1, *[1] * (gradient.ndim - 1)))
    for place, run in enumerate(runs):
        for name, gradient in gradients.items():
            run.head.get_parameter(name).grad = gradient[place] if run.error is None else None


@torch.no_grad()
def _judge(runs: Sequence[_Run], epoch: int, rows: Sequence[dict[str, float]], judge: Judge) -> None:
    """Judge each run by the images that choose for it, and keep what is better."""
    for run, row in zip(runs, rows, strict=True):
        if run.error is None:
            with run.as_judged():
                _judge_one(run, epoch, row, judge)


def _judge_one(run: _Run, epoch: int, row: dict[str, float], judge: Judge) -> None:
    found: dict[str, float] = {}
    if run.choose is not None:
        logits_MK = CachedHead(run.head)(inputs(run.choose)).logits_BK.numpy()
        found = judge(logits_MK, run.choose.targets_NK)
    if not math.isfinite(found.get("val_loss", 0.0)):
        run.error = NonFiniteLoss(f"epoch {epoch}: the loss became {found['val_loss']} on the images that choose")
        return
    run.state.epoch = epoch
    run.state.history.append({"epoch": epoch, **row, **found})
    value = choosing_value({**found, "epoch": epoch}, run.loop.choose_by)
    if math.isnan(value):
        run.error = TrainingError("val_mAP is not a number: no image that chooses has a label")
    elif epoch == 0 or value > run.state.best_value:
        run.state.best_epoch, run.state.best_value = epoch, value
        if run.choose is not None:
            run.logits_MK = logits_MK
        # Without images that choose, the last epoch is the one that is kept.
        if run.keeps and (run.choose is not None or epoch == run.loop.epochs):
            run.kept = {key: weights.detach().clone() for key, weights in run.head.state_dict().items()}
