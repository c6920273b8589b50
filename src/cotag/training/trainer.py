"""The loop: epochs of steps, validation, checkpoints, early stop; on one device or many, by Accelerate."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Protocol

import torch
from torch import nn

from cotag.errors import NonFiniteLoss, TrainingError, listing
from cotag.training.accumulation import grouped, steps_of
from cotag.training.agreement import agree_on_buffers
from cotag.training.checkpoint import Checkpoints, TrainingState
from cotag.training.criterion import Criterion
from cotag.training.interruption import Interruption, Left
from cotag.training.loop_settings import LoopSettings, choosing_value
from cotag.training.running_loss import RunningLoss
from cotag.training.safekeeping import Safekeeping
from cotag.training.schedules import Schedule
from cotag.training.step import Steps
from cotag.training.timing import Timed
from cotag.training.tracking import Tracking
from cotag.types.batch import Batch
from cotag.types.progress import Progress, Task

Evaluate = Callable[[nn.Module], dict[str, float]]


class EpochSource(Protocol):
    """Gives the batches of an epoch by its number; ``skipped``, if it has that, is what it could not read."""

    def __len__(self) -> int: ...

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """Those from the one at place ``start`` on, each with its place where places may be left out."""


class Trainer:
    """Fits a model.

    Args:
        model: takes images and returns an Output.
        criterion: named losses and their weights.
        optimizer: over the model's parameters, each group at its starting learning rate.
        schedule: the learning rate's factor over training.
        settings: of the loop.
        evaluate: the numbers of the images that choose; ``val_mAP`` and ``val_loss`` where these choose.
        checkpoints: where to keep the last and the best state; None keeps the best in memory only.
        name_of: an image's name by row, for the message about a loss that is not finite.
    """

    def __init__(
        self,
        model: nn.Module,
        criterion: Criterion,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        settings: LoopSettings,
        evaluate: Evaluate,
        checkpoints: Checkpoints | None = None,
        name_of: Callable[[int], str] = str,
    ) -> None:
        self.steps = Steps(model, criterion, optimizer, schedule, settings)
        self.settings = settings
        self.evaluate, self.checkpoints, self.name_of = evaluate, checkpoints, name_of
        self._best: dict[str, torch.Tensor] = {}

    def fit(
        self, batches: EpochSource, label_hash: str, progress: Progress, resume: bool = False,
        tracking: Tracking | None = None,
    ) -> TrainingState:  # fmt: skip
        """Train, and leave the model with the weights that validation chose.

        Args:
            batches: the images that train.
            label_hash: of the label space, kept in the checkpoints.
            resume: go on from the last checkpoint.
            tracking: hears of steps and epochs.

        SIGTERM and Ctrl-C are obeyed after the step at which they come, once a checkpoint is written.

        Raises:
            NonFiniteLoss: the loss became infinite or NaN; the last checkpoint is kept.
            ResumeError, LabelSpaceError: there is nothing to resume from, or it is of other labels.
            Terminated, KeyboardInterrupt: a signal asked for it.
        """
        length = steps_of(len(batches), self.settings.step.accumulate)
        self._tracking = tracking or Tracking()
        with Interruption() as interruption, self._tracking.open(self.steps.accelerator, length):
            skipped = getattr(batches, "skipped", None)
            self._keeping = Safekeeping(self.steps, self.checkpoints, interruption, skipped)
            state = self._begun(length, label_hash, progress, resume)
            with progress.task("training", self.settings.last * length) as task:
                task.advance(state.epoch * length + state.unfinished.step)
                while state.epoch < self.settings.last:
                    if self.settings.patience and state.epoch - state.best_epoch >= self.settings.patience:
                        progress.say(f"stopped early: no better epoch since {state.best_epoch}")
                        break
                    epoch, row = state.epoch + 1, self._epoch(batches, state, length, task)
                    self._judge(state, epoch, row, progress)
        self._load_best(self.steps.plain)
        return state

    def _begun(self, length: int, label_hash: str, progress: Progress, resume: bool) -> TrainingState:
        """Where training begins, of epochs of ``length`` steps: at a checkpoint, or judged before the first epoch."""
        if resume:
            state = self._keeping.resumed(label_hash, progress)
            within = f" and {state.unfinished.step} of {length} steps" if state.unfinished.step else ""
            progress.say(f"resumed after epoch {state.epoch} of {self.settings.last}{within}")
            return state
        self._keeping.clear()
        state = TrainingState(label_hash)
        self._judge(state, 0, {}, progress)
        return state

    def _epoch(self, batches: EpochSource, state: TrainingState, length: int, task: Task) -> dict[str, float]:
        """One pass of ``length`` steps over the training images, or the rest of it; its mean loss, and its times."""
        steps, epoch, done = self.steps, state.epoch + 1, state.unfinished
        steps.begin_epoch(epoch, done.skipped_steps)
        losses = RunningLoss(lambda value, rows_B: self._refuse(value, epoch, self._named(rows_B)))
        losses.total, losses.samples = done.total, done.samples
        timed = Timed(batches.epoch(epoch, done.place), done.seconds, done.waited)
        for number, group in enumerate(grouped(timed, self.settings.step.accumulate), done.step):
            steps.set_rate((epoch - 1) * length + number, length)
            steps.take(done.passed(group), losses)
            done.step = number + 1
            task.advance(1, epoch=epoch, loss=f"{losses.mean:.4f}", **timed.told(number + 1))
            self._tracking.step((epoch - 1) * length + done.step, losses.mean, steps.rate)
            self._keeping.after_step(state, losses, timed)
        self._keeping.note(state, losses, timed)
        total, samples = steps.summed([losses.total, losses.samples])
        if not samples:
            raise TrainingError("no image could be read for training; look at the paths and at data.bad_images")
        row = {"train_loss": total / samples, "learning_rate": steps.rate, **timed.seconds}
        return {**row, "skipped_steps": steps.skipped} if self.settings.step.precision == "fp16" else row

    def _judge(self, state: TrainingState, epoch: int, row: dict[str, float], progress: Progress) -> None:
        """Validate, keep the better weights, write the checkpoint."""
        try:
            found, better = self._chosen(state, epoch, row)
        except Left:
            self._keeping.leave(state)
            # Whoever installed a handler of its own lets training go on.
            self._judge(state, epoch, row, progress)
            return
        shown = "  ".join(f"{name} {number:.4g}" for name, number in {**row, **found}.items())
        if shown:
            told_best = better and self.settings.choose_by != "last"
            progress.say(f"epoch {epoch}: {shown}{'  best' if told_best else ''}")
        self._tracking.epoch(state.history[-1])
        self._keeping.after_epoch(state)

    def _chosen(self, state: TrainingState, epoch: int, row: dict[str, float]) -> tuple[dict[str, float], bool]:
        """Validate, end the epoch, and keep the weights if they are better; the numbers, and whether they are."""
        self.steps.gather()
        plain = self.steps.plain
        with nullcontext() if self.steps.average is None else self.steps.average.applied(plain):
            agree_on_buffers(plain)
            with self.steps.accelerator.autocast(), self._keeping.may_leave():
                found = self.evaluate(plain)
            # Weights that are spoiled must not replace the last checkpoint.
            if not math.isfinite(found.get("val_loss", 0.0)):
                self._refuse(found["val_loss"], epoch, "that choose")
            state.end_epoch(epoch)
            state.history.append({"epoch": epoch, **row, **found})
            value = choosing_value({**found, "epoch": epoch}, self.settings.choose_by)
            if math.isnan(value):
                raise TrainingError(
                    "val_mAP is not a number: no image that chooses has a label; give others by data.choose, "
                    "or set train.choose_by=loss"
                )
            better = epoch == 0 or value > state.best_value
            if better:
                state.best_epoch, state.best_value = epoch, value
                self._keep_best(plain)
        return found, better

    def _keep_best(self, plain: nn.Module) -> None:
        if self.checkpoints is None:
            self._best = {key: tensor.detach().clone() for key, tensor in plain.state_dict().items()}
        elif self.steps.accelerator.is_main_process:
            self.checkpoints.save_best(plain)

    def _load_best(self, plain: nn.Module) -> None:
        self.steps.accelerator.wait_for_everyone()
        if self.checkpoints is not None:
            self.checkpoints.load_best(plain)
        elif self._best:
            plain.load_state_dict(self._best)

    def _named(self, rows_B: torch.Tensor) -> str:
        return listing([self.name_of(int(row)) for row in rows_B], 8)

    def _refuse(self, value: float, epoch: int, images: str) -> None:
        kept = f"; the last checkpoint is in {self.checkpoints.folder}" if self.checkpoints else ""
        raise NonFiniteLoss(
            f"epoch {epoch}: the loss became {value} on the images {images}; "
            f"lower train.learning_rate or set train.clip_norm{kept}"
        )
