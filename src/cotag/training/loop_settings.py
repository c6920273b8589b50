"""How the loop runs, and how it chooses an epoch; nothing here needs torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StepSettings:
    """How a step is computed.

    Attributes:
        precision: in which the model computes: ``fp32``, ``bf16`` or ``fp16``.
        accumulate: batches whose gradients make one step.
        compile: images of a full batch, for which the model's forward is compiled; None for not.
        parallel: what several processes hold: ``ddp`` all of the weights, ``fsdp`` shares of them.
    """

    precision: str = "fp32"
    accumulate: int = 1
    compile: int | None = None
    parallel: str = "ddp"


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
        step: how each step is computed.
    """

    epochs: int
    warmup_epochs: float = 0.0
    clip_norm: float | None = None
    patience: int | None = None
    choose_by: str = "mAP"
    ema: float | None = None
    stop_after: int | None = None
    step: StepSettings = StepSettings()

    @property
    def last(self) -> int:
        """The last epoch that trains, if none is refused before."""
        return self.stop_after or self.epochs


def choosing_value(row: dict[str, float], choose_by: str) -> float:
    """What choosing compares, higher is better, of a row with epoch, val_mAP and val_loss."""
    if choose_by == "last":
        return row["epoch"]
    return row["val_mAP"] if choose_by == "mAP" else -row["val_loss"]
