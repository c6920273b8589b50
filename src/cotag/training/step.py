"""One step of training: the learning rate, the loss, its gradient, the new weights and their average."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext

import torch
from torch import nn

from cotag.training.checkpoint import Stateful
from cotag.training.compiling import Compiled
from cotag.training.criterion import Criterion
from cotag.training.ema import ExponentialAverage
from cotag.training.loop_settings import LoopSettings
from cotag.training.optim import unfuse
from cotag.training.precision import accelerator_of, as_it_was
from cotag.training.running_loss import RunningLoss
from cotag.training.schedules import Schedule, factor
from cotag.training.sharding import Sharded
from cotag.types.batch import Batch


class Steps:
    """Changes a model's weights, batch by batch; on one device or many, by Accelerate.

    Args:
        model: takes images and returns an Output.
        criterion: named losses and their weights.
        optimizer: over the model's parameters, each group at its starting learning rate.
        schedule: the learning rate's factor over training.
        settings: of the loop.

    Attributes:
        average: of the weights, where ``settings.ema`` asks for one.
        skipped: steps of this epoch that fp16 left out, as their scaled gradients were too large for it.

    Raises:
        SettingError: this device does not have ``settings.step.precision``.
    """

    def __init__(
        self,
        model: nn.Module,
        criterion: Criterion,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        settings: LoopSettings,
    ) -> None:
        self.accelerator = accelerator_of(settings.step.precision)
        self.criterion = criterion.to(self.accelerator.device)
        self._sharded = Sharded(model, optimizer) if settings.step.parallel == "fsdp" else None
        if self._sharded is None:
            self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        else:
            self.model, self.optimizer = self._sharded.model, self.accelerator.prepare(optimizer)
        # Neither scaled gradients nor, of all optimizers, weights in shares have a fused update.
        if self.accelerator.scaler is not None or self._sharded is not None:
            unfuse(optimizer)
        self.schedule, self.settings = schedule, settings
        self._rates = [group["lr"] for group in optimizer.param_groups]
        as_it_was(self.plain)
        self.skipped = 0
        self._compute = Compiled(self.model, settings.step.compile) if settings.step.compile else self.model
        self.average = None if settings.ema is None else ExponentialAverage(self.plain, settings.ema)

    @property
    def plain(self) -> nn.Module:
        """The model without what several processes need; where they hold shares as ``gather`` left it."""
        if self._sharded is not None:
            return self._sharded.whole
        found: nn.Module = self.accelerator.unwrap_model(self.model)
        return found

    def gather(self) -> None:
        """Have ``plain`` up to date where processes hold shares; all have to call this."""
        if self._sharded is not None:
            self._sharded.gather()

    def scatter(self) -> None:
        """Take over what ``plain`` was loaded with where processes hold shares."""
        if self._sharded is not None:
            self._sharded.scatter()

    @property
    def kept_optimizer(self) -> Stateful:
        """Whose state a checkpoint keeps; where processes hold shares all have to call this, and get it whole."""
        found: Stateful = self.optimizer if self._sharded is None else self._sharded.kept_optimizer()
        return found

    @property
    def rate(self) -> float:
        """The learning rate of the last group, the head's."""
        return float(self.optimizer.param_groups[-1]["lr"])

    def begin_epoch(self, epoch: int, skipped: int = 0) -> None:
        """Make model and losses ready for an epoch, from 1, of which so many steps were skipped already."""
        if self._sharded is not None:
            self._sharded.rest()
        self.model.train()
        self.skipped = skipped
        self.criterion.begin_epoch(epoch)

    def set_rate(self, number: int, length: int) -> None:
        """The learning rate of a step.

        Args:
            number: of the step, from 0 over all epochs.
            length: steps of an epoch.
        """
        warmup = round(self.settings.warmup_epochs * length)
        scale = factor(self.schedule, number, self.settings.epochs * length, warmup)
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * scale

    def loss(self, batch: Batch) -> torch.Tensor:
        """The loss of a batch of this device, with its gradient's graph."""
        with self.accelerator.autocast():
            output = self._compute(batch.images_BCHW)
        return self.criterion.total(self.criterion(output, batch))

    def take(self, batches: Iterable[tuple[Batch, bool]], losses: RunningLoss) -> None:
        """One step: change the weights by the gradient of the mean loss over all entries of some batches.

        Args:
            batches: on the CPU, each with whether it is the last of the step.
            losses: takes the loss of each.
        """
        self.optimizer.zero_grad(set_to_none=True)
        units, several = 0.0, self.settings.step.accumulate > 1
        for batch, last in batches:
            with nullcontext() if last else self.accelerator.no_sync(self.model):
                loss = self.loss(batch.to(self.accelerator.device))
                share, images = self._share(batch)
                losses.add(loss * share, batch.rows_B, images)
                if several:
                    own = self.criterion.units(batch)
                    # Whatever is known in the others: the sum is divided at the end. By the labels, only that it is
                    # not too large for fp16.
                    self.accelerator.backward(loss * (own / batch.known_BK.shape[1]))
                    units += own / batch.known_BK.shape[1]
                else:
                    self.accelerator.backward(loss * share)
        if several:
            self._divide(units)
        self.move()

    def _divide(self, units: float) -> None:
        """Make the sum of the gradients of all units of a step their mean, over all processes."""
        number = self.accelerator.num_processes
        total = self.summed([units])[0]
        gradients = [p.grad for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        if gradients and total:
            torch._foreach_mul_(gradients, number / total)

    def move(self) -> None:
        """Change the weights by their gradients, and the average by the weights."""
        if self.settings.clip_norm is not None:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.settings.clip_norm)
        self.optimizer.step()
        if self.optimizer.step_was_skipped:
            self.skipped += 1
        elif self.average is not None:
            self.average.update(self.plain)

    def _share(self, batch: Batch) -> tuple[float, float]:
        """What makes the mean over the processes that of all that they have together, of gradients and of losses.

        Returns:
            The factor of this process's loss, and the number of images that it then stands for.
        """
        if self.accelerator.num_processes == 1:
            return 1.0, float(len(batch))
        own, number = self.criterion.units(batch), self.accelerator.num_processes
        units, images = self.summed([own, float(len(batch))])
        # Where nothing is known a penalty is left, which each process has whole.
        return own * number / units if units else 1.0, images / number

    def summed(self, values: list[float]) -> list[float]:
        """Numbers summed over all processes."""
        if self.accelerator.num_processes == 1:
            return values
        numbers = torch.tensor(values, dtype=torch.float64, device=self.accelerator.device)
        found: list[float] = self.accelerator.reduce(numbers, "sum").tolist()
        return found
