"""One step of training: the learning rate, the loss, its gradient, the new weights and their average."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from torch import nn

from cotag.training.criterion import Criterion
from cotag.training.ema import ExponentialAverage
from cotag.training.loop_settings import LoopSettings
from cotag.training.processes import this_process
from cotag.training.schedules import Schedule, factor
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
    """

    def __init__(
        self,
        model: nn.Module,
        criterion: Criterion,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        settings: LoopSettings,
    ) -> None:
        this_process()
        self.accelerator = Accelerator()
        self.criterion = criterion.to(self.accelerator.device)
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        self.schedule, self.settings = schedule, settings
        self._rates = [group["lr"] for group in optimizer.param_groups]
        self.average = None if settings.ema is None else ExponentialAverage(self.plain, settings.ema)

    @property
    def plain(self) -> nn.Module:
        """The model without what Accelerate wraps around it."""
        found: nn.Module = self.accelerator.unwrap_model(self.model)
        return found

    @property
    def rate(self) -> float:
        """The learning rate of the last group, the head's."""
        return float(self.optimizer.param_groups[-1]["lr"])

    def begin_epoch(self, epoch: int) -> None:
        """Make model and losses ready for an epoch, from 1."""
        self.model.train()
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
        return self.criterion.total(self.criterion(self.model(batch.images_BCHW), batch))

    def update(self, loss: torch.Tensor, batch: Batch) -> None:
        """Change the weights by the gradient of the loss of a batch."""
        self.optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(loss * self._share(batch))
        if self.settings.clip_norm is not None:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.settings.clip_norm)
        self.optimizer.step()
        if self.average is not None:
            self.average.update(self.plain)

    def _share(self, batch: Batch) -> float:
        """The factor that makes the mean of the processes' gradients that of all they have together."""
        if self.accelerator.num_processes == 1:
            return 1.0
        own = self.criterion.units(batch)
        return own * self.accelerator.num_processes / max(1.0, self.summed([own])[0])

    def summed(self, values: list[float]) -> list[float]:
        """Numbers summed over all processes."""
        if self.accelerator.num_processes == 1:
            return values
        numbers = torch.tensor(values, dtype=torch.float64, device=self.accelerator.device)
        found: list[float] = self.accelerator.reduce(numbers, "sum").tolist()
        return found
