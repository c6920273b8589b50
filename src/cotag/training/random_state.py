"""The random numbers that training may draw: where their generators stand, to go on from there."""

from __future__ import annotations

import random
from typing import Any, cast

import numpy as np
import torch

# Name, keys, position, whether a number is left, and that number.
Legacy = tuple[str, np.ndarray, int, int, float]


def random_state() -> dict[str, Any]:
    """The state of torch's generators (of the CPU and of every GPU), of numpy's global one and of Python's.

    Only tensors, numbers and tuples, which ``torch.load`` reads with ``weights_only``.
    """
    name, keys, position, has_gauss, gauss = cast(Legacy, np.random.get_state(legacy=True))  # noqa: NPY002
    state: dict[str, Any] = {
        "cpu": torch.get_rng_state(),
        "numpy": (name, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, gauss),
        "python": random.getstate(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def restore_random(state: dict[str, Any]) -> None:
    """Put all generators where they stood; of GPUs those that there are."""
    torch.set_rng_state(state["cpu"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    random.setstate(state["python"])
    if torch.cuda.is_available():
        for device, of_device in enumerate(state.get("cuda", [])[: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(of_device, device)
