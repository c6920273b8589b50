"""The loop: epochs of steps, validation, checkpoints, early stop; on one device or many, by Accelerate."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from accelerate import Accelerator
from torch import nn

from cotag.errors import NonFiniteLoss, ResumeError, TrainingError, listing
from cotag.storage import write_text
from cotag.training.checkpoint import Checkpoints, TrainingState
from cotag.training.criterion import Criterion
from cotag.training.ema import ExponentialAverage
from cotag.training.processes import this_process
from cotag.training.schedules import Schedule, factor
from cotag.types.batch import Batch
from cotag.types.progress import Progress, Task

Evaluate = Callable[[nn.Module], dict[str, float]]


class EpochSource(Protocol):
    """Gives the batches of an epoch by its number."""

    def __len__(self) -> int: ...

    def epoch(self, number: int) -> Iterator[Batch]: ...


@dataclass(frozen=True)
class LoopSettings:
    """How the loop runs.

    Attributes:
        epochs: the most epochs.
        warmup_epochs: over which the learning rate rises.
        clip_norm: largest norm of the gradient; None for none.
        patience: epochs without a better choice after which training stops; None for never.
        choose_by: the epoch that is kept: ``mAP`` (highest) or ``loss`` (lowest) of what ``evaluate`` returns as
            val_mAP and val_loss, or ``last``.
        stop_after: the epoch after which training ends all the same, while the schedule is that of all ``epochs``;
            None for the last.
        ema: decay of the exponential average of the weights, which is then what is evaluated and kept; None for none.
    """

    epochs: int
    warmup_epochs: float = 0.0
    clip_norm: float | None = None
    patience: int | None = None
    choose_by: str = "mAP"
    ema: float | None = None
    stop_after: int | None = None

    @property
    def last(self) -> int:
        """The last epoch that trains, if none is refused before."""
        return self.stop_after or self.epochs


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
        this_process()
        self.accelerator = Accelerator()
        self.criterion = criterion.to(self.accelerator.device)
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        self.schedule, self.settings = schedule, settings
        self.evaluate, self.checkpoints, self.name_of = evaluate, checkpoints, name_of
        self.rates = [group["lr"] for group in optimizer.param_groups]
        self._best: dict[str, torch.Tensor] = {}
        plain = self.accelerator.unwrap_model(self.model)
        self.average = None if settings.ema is None else ExponentialAverage(plain, settings.ema)

    def fit(self, batches: EpochSource, label_hash: str, progress: Progress, resume: bool = False) -> TrainingState:
        """Train, and leave the model with the weights that validation chose.

        Args:
            batches: the images that train.
            label_hash: of the label space, kept in the checkpoints.
            resume: go on from the last checkpoint.

        Raises:
            NonFiniteLoss: the loss became infinite or NaN; the last checkpoint is kept.
            ResumeError, LabelSpaceError: there is nothing to resume from, or it is of other labels.
        """
        plain = self.accelerator.unwrap_model(self.model)
        if resume:
            if self.checkpoints is None:
                raise ResumeError("this training keeps no checkpoints; train without resume")
            state = self.checkpoints.load_last(plain, self.optimizer, label_hash, self.average, self.criterion)
            progress.say(f"resumed after epoch {state.epoch} of {self.settings.last}")
        else:
            state = TrainingState(label_hash)
            self._judge(state, 0, {}, progress)
        with progress.task("training", self.settings.last * len(batches)) as task:
            task.advance(state.epoch * len(batches))
            for epoch in range(state.epoch + 1, self.settings.last + 1):
                if self.settings.patience and state.epoch - state.best_epoch >= self.settings.patience:
                    progress.say(f"stopped early: no better epoch since {state.best_epoch}")
                    break
                started = time.monotonic()
                loss = self._epoch(batches, epoch, task)
                row = {"train_loss": loss, "learning_rate": self.optimizer.param_groups[-1]["lr"]}
                row["seconds"] = round(time.monotonic() - started, 2)
                self._judge(state, epoch, row, progress)
        self._load_best(plain)
        return state

    def _epoch(self, batches: EpochSource, epoch: int, task: Task) -> float:
        """One pass over the training images; the mean loss over samples."""
        self.model.train()
        self.criterion.begin_epoch(epoch)
        steps = self.settings.epochs * len(batches)
        warmup = round(self.settings.warmup_epochs * len(batches))
        total, samples = 0.0, 0.0
        for number, batch in enumerate(batches.epoch(epoch)):
            scale = factor(self.schedule, (epoch - 1) * len(batches) + number, steps, warmup)
            for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
                group["lr"] = rate * scale
            batch = batch.to(self.accelerator.device)
            loss = self.criterion.total(self.criterion(self.model(batch.images_BCHW), batch))
            value = float(loss.detach())
            if not math.isfinite(value):
                raise NonFiniteLoss(self._not_finite(value, epoch, self._named(batch)))
            self.optimizer.zero_grad(set_to_none=True)
            self.accelerator.backward(loss * self._share(batch))
            if self.settings.clip_norm is not None:
                self.accelerator.clip_grad_norm_(self.model.parameters(), self.settings.clip_norm)
            self.optimizer.step()
            if self.average is not None:
                self.average.update(self.accelerator.unwrap_model(self.model))
            total, samples = total + value * len(batch), samples + len(batch)
            task.advance(1, epoch=epoch, loss=f"{total / samples:.4f}")
        total, samples = self._summed([total, samples])
        if not samples:
            raise TrainingError("no image could be read for training; look at the paths and at data.bad_images")
        return total / samples

    def _share(self, batch: Batch) -> float:
        """The factor that makes the mean of the processes' gradients that of all they have together."""
        if self.accelerator.num_processes == 1:
            return 1.0
        own = self.criterion.units(batch)
        return own * self.accelerator.num_processes / max(1.0, self._summed([own])[0])

    def _summed(self, values: list[float]) -> list[float]:
        """Numbers summed over all processes."""
        if self.accelerator.num_processes == 1:
            return values
        numbers = torch.tensor(values, dtype=torch.float64, device=self.accelerator.device)
        found: list[float] = self.accelerator.reduce(numbers, "sum").tolist()
        return found

    def _judge(self, state: TrainingState, epoch: int, row: dict[str, float], progress: Progress) -> None:
        """Validate, keep the better weights, write the checkpoint."""
        plain = self.accelerator.unwrap_model(self.model)
        with nullcontext() if self.average is None else self.average.applied(plain):
            found = self.evaluate(plain)
            # Weights that are spoiled must not replace the last checkpoint.
            if not math.isfinite(found.get("val_loss", 0.0)):
                raise NonFiniteLoss(self._not_finite(found["val_loss"], epoch, "that choose"))
            state.epoch = epoch
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
        shown = "  ".join(f"{name} {number:.4g}" for name, number in {**row, **found}.items() if name != "seconds")
        if shown:
            told_best = better and self.settings.choose_by != "last"
            progress.say(f"epoch {epoch}: {shown}{'  best' if told_best else ''}")
        if self.checkpoints is not None and self.accelerator.is_main_process:
            self.checkpoints.save_last(plain, self.optimizer, state, self.average, self.criterion)
            write_history(self.checkpoints.folder.parent / "metrics.jsonl", state.history)

    def _keep_best(self, plain: nn.Module) -> None:
        if self.checkpoints is None:
            self._best = {key: tensor.detach().clone() for key, tensor in plain.state_dict().items()}
        elif self.accelerator.is_main_process:
            self.checkpoints.save_best(plain)

    def _load_best(self, plain: nn.Module) -> None:
        self.accelerator.wait_for_everyone()
        if self.checkpoints is not None:
            self.checkpoints.load_best(plain)
        elif self._best:
            plain.load_state_dict(self._best)

    def _named(self, batch: Batch) -> str:
        return listing([self.name_of(int(row)) for row in batch.rows_B], 8)

    def _not_finite(self, value: float, epoch: int, images: str) -> str:
        kept = f"; the last checkpoint is in {self.checkpoints.folder}" if self.checkpoints else ""
        return (
            f"epoch {epoch}: the loss became {value} on the images {images}; "
            f"lower train.learning_rate or set train.clip_norm{kept}"
        )


def choosing_value(row: dict[str, float], choose_by: str) -> float:
    """What choosing compares, higher is better, of a row with epoch, val_mAP and val_loss."""
    if choose_by == "last":
        return row["epoch"]
    return row["val_mAP"] if choose_by == "mAP" else -row["val_loss"]


def write_history(path: Path, history: list[dict[str, float]]) -> None:
    """Write one JSON object for each epoch."""
    write_text(path, "".join(json.dumps(row) + "\n" for row in history))
