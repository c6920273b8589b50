"""The precision that a model computes in while it trains, through Accelerate's mixed precision."""

from __future__ import annotations

from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn

from cotag.errors import SettingError, suggestion
from cotag.training.processes import this_process

# Accelerate's names of them.
PRECISIONS = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


def accelerator_of(precision: str) -> Accelerator:
    """Accelerate for a training in a precision; weights, their updates and losses stay in float32.

    Args:
        precision: ``fp32``, ``bf16``, or ``fp16``, whose gradients are scaled up so that small ones are not lost.

    Raises:
        SettingError: it is another, or the device does not have it.
    """
    if precision not in PRECISIONS:
        raise SettingError(f"train.precision = {precision!r} is not known{suggestion(precision, PRECISIONS)}")
    device = this_process().device
    # There Accelerate would train in float32 and say nothing.
    if precision == "fp16" and device.type == "cpu":
        raise SettingError("train.precision = fp16: needs a GPU; choose bf16 or fp32 on a CPU")
    found = AcceleratorState._shared_state.get("_mixed_precision")
    # It keeps one precision for the whole process, where several trainings may follow each other.
    if found not in (None, PRECISIONS[precision]):
        AcceleratorState._reset_state()
    try:
        return Accelerator(mixed_precision=PRECISIONS[precision])
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise SettingError(
            f"train.precision = {precision}: {device} does not have it ({reason}); choose fp32"
        ) from None


def as_it_was(model: nn.Module) -> nn.Module:
    """The model without the autocast that Accelerate put into its ``forward``: after training it is as before it.

    Training opens an autocast of its own where it needs one.
    """
    for name in ("forward", "_original_forward"):
        model.__dict__.pop(name, None)
    return model
