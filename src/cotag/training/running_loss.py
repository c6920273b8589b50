"""The mean loss of an epoch so far, without making the device wait for whoever looks at it."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor


class RunningLoss:
    """Adds up the losses of batches and refuses one that is not finite.

    On a CPU a loss is looked at before its gradient is taken. On a GPU a look would stop the work that is queued
    there; so a loss is looked at once the next batch is under way, and ``settle`` looks at the last one. Until then
    the weights may have been changed by it: nothing may be saved or judged before ``settle``.

    Args:
        refuse: called with the value and the rows of the batch where it is infinite or NaN; has to raise.

    Attributes:
        total, samples: the sum of the losses, each times the images of its batch, and the number of these images.
    """

    def __init__(self, refuse: Callable[[float, Tensor], None]) -> None:
        self.refuse = refuse
        self.total, self.samples = 0.0, 0.0
        self._coming: tuple[Callable[[], float], Tensor, float] | None = None

    @property
    def mean(self) -> float:
        """Over the images that were looked at; NaN before the first."""
        return self.total / self.samples if self.samples else math.nan

    def add(self, loss: Tensor, rows_B: Tensor, images: float | None = None) -> None:
        """Take the loss of the batch of these rows, which lie on the CPU.

        Args:
            images: how many it stands for, where not for its own rows.
        """
        late, count = coming(loss.detach()), float(len(rows_B) if images is None else images)
        self.settle()
        if late is None:
            self._look(float(loss.detach()), rows_B, count)
        else:
            self._coming = (late, rows_B, count)

    def settle(self) -> None:
        """Look at the loss that was not looked at yet."""
        if self._coming is not None:
            (value, rows_B, images), self._coming = self._coming, None
            self._look(value(), rows_B, images)

    def _look(self, value: float, rows_B: Tensor, images: float) -> None:
        if not math.isfinite(value):
            self.refuse(value, rows_B)
        self.total, self.samples = self.total + value * images, self.samples + images


def coming(value: Tensor) -> Callable[[], float] | None:
    """Sends a number from a GPU on its way; gives what waits for it. None where there is nothing to wait for."""
    if value.device.type != "cuda":
        return None
    arrived = torch.empty((), dtype=value.dtype, pin_memory=True)
    arrived.copy_(value, non_blocking=True)
    done = torch.cuda.Event()
    done.record()

    def wait() -> float:
        done.synchronize()
        return float(arrived)

    return wait
