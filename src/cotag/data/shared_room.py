"""Memory in which workers leave batches for the process that trains."""

from __future__ import annotations

import math

import torch
from torch.utils.data import get_worker_info


def room(shape: tuple[int, ...]) -> torch.Tensor:
    """Room for the pictures of a batch; in a worker in memory shared with the process that will use them."""
    if get_worker_info() is None:
        return torch.empty(shape, dtype=torch.uint8)
    storage = torch.UntypedStorage._new_shared(math.prod(shape))
    return torch.empty(0, dtype=torch.uint8).set_(storage).view(shape)
