"""The processes that train together."""

from __future__ import annotations

import os

import torch
from accelerate import PartialState


def this_process() -> PartialState:
    """This process among those that a launcher such as torchrun started: number, count and device.

    Accelerate decides at the first question; asked without being told of the CPU, it would take processes on CPUs
    for so many trainings of their own.
    """
    launched = "LOCAL_RANK" in os.environ
    asked = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
    return PartialState(cpu=asked or (launched and not torch.accelerator.is_available()))
