"""The processes that train together."""

from __future__ import annotations

import os
from datetime import timedelta

import torch
from accelerate import PartialState

from cotag.errors import SettingError
from cotag.training.launch import launched

LIMIT = "COTAG_TIMEOUT_MINUTES"


def this_process() -> PartialState:
    """This process among those that a launcher such as torchrun or srun started: number, count and device.

    Accelerate decides at the first question; asked without being told of the CPU, it would take processes on CPUs
    for so many trainings of their own.
    """
    several = launched(os.environ)
    asked = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
    on_cpu = asked or (several and not torch.accelerator.is_available())
    return PartialState(cpu=on_cpu, timeout=timedelta(minutes=limit_minutes()))


def limit_minutes() -> float:
    """How long one process waits for another before training ends.

    Raises:
        SettingError: COTAG_TIMEOUT_MINUTES is no number above 0.
    """
    given = os.environ.get(LIMIT, "30")
    try:
        minutes = float(given)
    except ValueError:
        minutes = 0.0
    if not 0 < minutes < float("inf"):
        raise SettingError(f"{LIMIT} = {given!r}: must be a number of minutes above 0, such as 30")
    return minutes
